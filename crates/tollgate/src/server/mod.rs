//! The server: everything wired together, listening, and shut down in order.

mod front;
mod health;
mod listen;
mod tls;
mod unread;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use control::{Control, ControlConfig, Ports};
use gateway::{Gateway, GatewayConfig};
use journal::{RecordSink, Sinks};
use metrics_exporter_prometheus::PrometheusHandle;
use policy::Live;
use store::SqliteStore;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounting::{Accounting, AuditTrail, Records};
use crate::config::{Config, ConfigProblem, OtlpHeaders, TlsFiles};
use crate::data::DataFolder;
use crate::first_start;
use crate::telemetry::circuits::CircuitGauges;
use crate::telemetry::metrics::{self, MetricsSink};
use crate::telemetry::minute::LastMinute;
use crate::telemetry::otlp::{self, Exporter, OtlpSink};
use front::Front;
use health::Health;

/// How often old samples of histograms are folded.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// How long answers whose clients have left may be read on after the drain.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// How long updates that probe their upstreams may go on after the drain.
const JOBS_WITHIN: Duration = Duration::from_secs(2);

/// A server that is listening and not yet serving.
pub(crate) struct Server {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    store: Arc<SqliteStore>,
    control: Control,
    accounting: Accounting,
    gateway: Gateway,
    metrics: PrometheusHandle,
    circuits: CircuitGauges,
    health: Health,
    router: Router,
    exporter: Option<Exporter>,
}

impl Server {
    /// Opens the data folder, publishes the first snapshot and binds the address.
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        journal::clock::begin();
        if let Some(files) = &config.server.tls {
            check_tls(files)?;
        }
        let folder = DataFolder::create(&config.server.data)?;
        first_start::begin(&folder)?;
        let store = Arc::new(folder.open_store(&config.keys).await?);
        // From here on nothing needs whoever keeps the master key.
        store.open_data_keys().await.context("cannot open the data keys")?;
        first_start::finish(&folder, store.as_ref()).await?;
        let live = Arc::new(Live::default());
        let runtime = Arc::new(LastMinute::new());
        let metrics = metrics::init()?;
        let accounting = Accounting::open(&config.accounting).await?;
        let client = client(&config)?;
        let headers = OtlpHeaders::of_process(&config.telemetry)?;
        let (otlp, exporter) = otlp::new(&config.telemetry, headers, &client)?.unzip();
        let metrics_sink = MetricsSink::new(Arc::clone(&runtime));
        let records = Records { journal: accounting.journal.clone(), metrics: metrics_sink };
        let gateway = gateway(&config, Arc::clone(&live), client, sink(records, otlp));
        let circuits = CircuitGauges::new(Arc::clone(&live), Arc::new(gateway.clone()));
        let ports = Ports {
            runtime,
            probe: Arc::new(gateway.clone()),
            explain: Arc::new(gateway.clone()),
            audit: Arc::new(AuditTrail { journal: accounting.journal.clone() }),
            tables: accounting.listing(),
        };
        let control = control(&config, Arc::clone(&store), live, ports).await?;
        let health = Health::default();
        let router = Router::new()
            .merge(control::router(control.clone()))
            .merge(gateway::router(gateway.clone()))
            .merge(health::router(health.clone(), metrics.clone()));
        let listener = listen::bind(&config.server)?;
        let address = listener.local_addr()?;
        Ok(Self {
            config,
            listener,
            address,
            store,
            control,
            gateway,
            accounting,
            metrics,
            circuits,
            health,
            router,
            exporter,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn tls(&self) -> bool {
        self.config.server.tls.is_some()
    }

    /// The routes, for calls from within the process.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Serves until `stop`, then lets calls under way end.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let tasks = TaskTracker::new();
        let background = CancellationToken::new();
        tasks.spawn(control::watch(self.control.clone(), background.clone()));
        if self.config.oidc.is_some() {
            let client = client(&self.config)?;
            tasks.spawn(control::watch_issuer(self.control.clone(), client, background.clone()));
        }
        tasks.spawn(upkeep(self.metrics.clone(), self.circuits, background.clone()));
        if let Some(exporter) = self.exporter {
            exporter.start(&tasks, &background);
        }
        // Its last flush comes after the last call.
        let account_id = self.control.account_id();
        self.accounting.spawn(self.store.clone(), account_id, &tasks, &background).await?;
        let tls = match &self.config.server.tls {
            Some(files) => Some(tls::Reloading::start(files, &tasks, background.clone())?),
            None => None,
        };
        self.health.ready(true);
        let telemetry = &self.config.telemetry;
        let front = Front::new(self.router, telemetry.traces.as_ref().map(|_| telemetry.sampler));
        let drained = listen::serve(self.listener, front, tls, &self.config.server, stop, &self.health).await;
        self.gateway.finish(ANSWERS_WITHIN).await;
        // One that takes longer is failed at the next start.
        let _ = tokio::time::timeout(JOBS_WITHIN, self.control.finish()).await;
        background.cancel();
        tasks.close();
        tasks.wait().await;
        self.store.close().await;
        tracing::info!(drained, "stopped");
        Ok(())
    }
}

/// Errors unless certificate and key can be used.
pub(crate) fn check_tls(files: &TlsFiles) -> anyhow::Result<()> {
    tls::load(files).map(drop).map_err(|error| ConfigProblem(format!("{error:#}")).into())
}

async fn control(
    config: &Config,
    store: Arc<SqliteStore>,
    live: Arc<Live>,
    ports: Ports,
) -> anyhow::Result<Control> {
    let control_config = ControlConfig {
        defaults: config.defaults.clone(),
        public_url: config.server.public_url.clone(),
        tls: config.server.tls.is_some(),
        oidc: config.oidc.clone(),
    };
    let control = Control::new(store, live, ports, control_config).await?;
    control.start().await?;
    Ok(control)
}

fn client(config: &Config) -> anyhow::Result<egress::Client> {
    let client = egress::ClientConfig { policy: config.egress.clone(), ..egress::ClientConfig::default() };
    egress::Client::new(client).context("cannot read the machine's root certificates")
}

/// Who gets the records of model calls.
fn sink(records: Records, otlp: Option<OtlpSink>) -> Arc<dyn RecordSink> {
    match otlp {
        Some(otlp) => Arc::new(Sinks(vec![Box::new(records), Box::new(otlp)])),
        None => Arc::new(records),
    }
}

fn gateway(config: &Config, live: Arc<Live>, client: egress::Client, sink: Arc<dyn RecordSink>) -> Gateway {
    let telemetry = &config.telemetry;
    let limits = GatewayConfig {
        max_body_bytes: config.server.max_body_bytes,
        max_payload_bytes: config.accounting.max_payload_bytes,
        aws: crate::config::aws_of_process(),
        describe: telemetry.traces.is_some() || telemetry.metrics.is_some(),
        propagate: telemetry.propagate,
        retries: config.retries,
        counting: config.counting,
        ..GatewayConfig::default()
    };
    Gateway::new(live, client, sink, limits)
}

async fn upkeep(metrics: PrometheusHandle, mut circuits: CircuitGauges, stop: CancellationToken) {
    while tokio::time::timeout(METRICS_UPKEEP, stop.cancelled()).await.is_err() {
        circuits.set();
        metrics.run_upkeep();
    }
}

/// Cancels `stop` on SIGTERM or SIGINT; a second SIGINT ends the process at once.
#[expect(clippy::disallowed_methods, reason = "outlives the server: it is aborted when that has stopped")]
pub(crate) fn signals(stop: CancellationToken) -> anyhow::Result<JoinHandle<()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping: calls under way may end");
        stop.cancel();
        int.recv().await;
        std::process::exit(130);
    }))
}
