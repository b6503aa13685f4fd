//! HTTP/1.1 load on loopback addresses. One thread. Prints one JSON object; exits with 1 if any answer was
//! not exactly what the stub sends: status 200, whole body, the text of `protocol::text` with `chunks` tokens.
//!
//!   loadgen mode=closed  url=http://127.0.0.1:PORT/PATH body=@FILE header='name: value' chunks=100
//!                        conns=64 duration=5 warmup=1      as many requests as fit, each connection one at a time
//!   loadgen mode=open    … rate=200 duration=5 warmup=1    constant rate; latency counts from the scheduled moment
//!   loadgen mode=streams … streams=50 repeat=1 ramp=0      each of the streams `repeat` times, begun over `ramp` s
//!
//! For all: timeout=60 (seconds for one answer). A stream is checked token by token; an unstreamed answer must
//! contain the text. `transit` is the time from the stub's stamp in a chunk to reading it here.

mod client;
mod load;
mod report;
mod sse;

use anyhow::{Context, bail};
use client::Target;
use load::Load;
use protocol::args::Args;
use protocol::clock::now_ns;
use report::Report;
use std::process::ExitCode;
use std::time::Duration;
use tokio::task::LocalSet;

fn target(args: &Args, streaming: bool) -> anyhow::Result<Target> {
    let url = args.get("url").context("url= is missing")?;
    let rest = url.strip_prefix("http://").context("url= must begin with http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !host.starts_with("127.0.0.1:") {
        bail!("only 127.0.0.1:PORT is loaded, not `{host}`");
    }
    let body = match args.get("body").unwrap_or("") {
        file if file.starts_with('@') => {
            std::fs::read(&file[1..]).with_context(|| format!("read `{}`", &file[1..]))?
        }
        text => text.as_bytes().to_vec(),
    };
    let mut head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n",
        body.len()
    );
    for header in args.all("header") {
        head += &format!("{header}\r\n");
    }
    let request = [head.as_bytes(), b"\r\n", &body].concat();
    let timeout = Duration::from_secs_f64(args.number("timeout", 60.0)?);
    Ok(Target::new(host.to_owned(), request, streaming, args.number("chunks", 100.0)? as u64, timeout))
}

fn load(args: &Args) -> anyhow::Result<Load> {
    Ok(match args.get("mode").unwrap_or("closed") {
        "closed" => Load::Closed { conns: args.number("conns", 64.0)? as u64 },
        "open" => Load::Open { rate: args.number("rate", 200.0)? },
        "streams" => Load::Streams {
            streams: args.number("streams", 50.0)? as u64,
            repeat: args.number("repeat", 1.0)? as u64,
            ramp_s: args.number("ramp", 0.0)?,
        },
        mode => bail!("there is no mode `{mode}`"),
    })
}

fn run() -> anyhow::Result<bool> {
    let args = Args::from_process()?;
    let load = load(&args)?;
    let target = target(&args, matches!(load, Load::Streams { .. }))?;
    let seconds =
        |key, default| Ok::<u64, std::io::Error>((args.number(key, default)?.min(300.0) * 1e9) as u64);
    let from_ns = now_ns() + seconds("warmup", 1.0)?;
    // Streams are bounded by their count: all of them are measured.
    let window = match load {
        Load::Streams { .. } => 0..u64::MAX,
        Load::Closed { .. } | Load::Open { .. } => from_ns..from_ns + seconds("duration", 5.0)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = Report::new(window.clone())?;
    let report = LocalSet::new().block_on(&runtime, load::run(load, target, report, window))?;
    println!("{}", report.json());
    Ok(report.is_clean())
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}
