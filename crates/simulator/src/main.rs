//! The simulator as a program of its own.

use std::io;
use std::net::SocketAddr;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tollgate_simulator::Simulator;

/// A provider simulator for tests and benchmarks.
#[derive(Parser)]
#[command(name = "tollgate-simulator")]
struct Args {
    /// The loopback address to listen on.
    #[arg(long, default_value = "127.0.0.1:9200")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let simulator = Simulator::bind(args.listen)?;
    announce(&simulator);
    let shutdown = CancellationToken::new();
    let serving = simulator.serve(shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
    serving.await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the url is what a script that starts this program reads")]
fn announce(simulator: &Simulator) {
    println!("{}", simulator.url());
}
