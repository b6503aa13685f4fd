//! `tollgate serve`.

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{ConfigFile, runtime};
use crate::config::{Config, Environment};
use crate::server::{self, Server};
use crate::telemetry;

pub(super) fn serve(file: &ConfigFile) -> anyhow::Result<()> {
    let config = Config::load(file.config.as_deref(), &Environment::of_process())?;
    telemetry::log::init(&config.log)?;
    let runtime = runtime().context("cannot start the runtime")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = server::signals(stop.clone())?;
        let server = Server::start(config).await?;
        tracing::info!(address = %server.address(), tls = server.tls(), "serving");
        let served = server.run(stop).await;
        signals.abort();
        served
    })
}
