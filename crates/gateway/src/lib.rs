//! The data plane: what happens to a request, from the client's first byte to the last.
//!
//! It reads one immutable snapshot and never a database. `pipeline.rs` reads top to bottom as the list of
//! steps a request meets.

mod answer;
mod arriving;
mod attempts;
mod attended;
mod body;
mod call;
mod capture;
mod circuits;
mod clock;
mod decoded;
mod dialect;
mod drain;
mod error;
mod estimate;
mod explain;
mod guardrails;
mod inference;
mod limits;
mod pipeline;
mod probe;
mod reasoning;
mod record;
mod shape;
mod stored;
mod stream;
mod surface;
mod tags;
mod tally;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use journal::RecordSink;
use policy::limits::{Counting, Limiter};
use policy::{Entity, Live};

pub use attempts::Retries;
pub use limits::MemoryLimiter;
pub use surface::{Access, QueryRoute, router, routes};
pub use upstream::AwsEnvironment;

#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Longest request body, in bytes. Coding agents send several MiB.
    pub max_body_bytes: usize,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    /// Longest body that is kept of a call, where the endpoint's are kept, in bytes.
    pub max_payload_bytes: usize,
    /// How long a stream may be silent before a client whose format has pings gets one.
    pub ping_every: Duration,
    /// Where the machine's own credentials come from.
    pub aws: AwsEnvironment,
    /// Whether the records tell what telemetry wants besides.
    pub describe: bool,
    /// Whether upstreams get a `traceparent`, and the caller's `tracestate`.
    pub propagate: bool,
    pub retries: Retries,
    /// When tokens count against limits.
    pub counting: Counting,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 << 20,
            max_payload_bytes: 1 << 20,
            body_timeout: Duration::from_secs(30),
            ping_every: Duration::from_secs(15),
            aws: AwsEnvironment::default(),
            describe: false,
            propagate: false,
            retries: Retries::default(),
            counting: Counting::default(),
        }
    }
}

/// The data plane's state. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    live: Arc<Live>,
    client: egress::Client,
    keeper: upstream::Keeper,
    sink: Arc<dyn RecordSink>,
    limiter: Arc<dyn Limiter>,
    learned: Arc<limits::Learned>,
    refusing: upstream::Refusing,
    circuits: circuits::Circuits,
    config: GatewayConfig,
    drains: drain::Drains,
}

impl Gateway {
    /// Counts use in memory.
    pub fn new(
        live: Arc<Live>,
        client: egress::Client,
        sink: Arc<dyn RecordSink>,
        config: GatewayConfig,
    ) -> Self {
        let limiter = Arc::new(MemoryLimiter::new(config.counting));
        Self::with_limiter(live, client, sink, config, limiter)
    }

    pub fn with_limiter(
        live: Arc<Live>,
        client: egress::Client,
        sink: Arc<dyn RecordSink>,
        config: GatewayConfig,
        limiter: Arc<dyn Limiter>,
    ) -> Self {
        let keeper = upstream::Keeper::new(&client, config.aws.clone());
        let (learned, refusing, circuits, drains) = Default::default();
        let inner =
            Inner { live, client, keeper, sink, limiter, learned, refusing, circuits, config, drains };
        Self { inner: Arc::new(inner) }
    }

    /// Waits for the answers that are read on although their clients have left.
    /// After `within` they end with what has come of them.
    pub async fn finish(&self, within: Duration) {
        self.inner.drains.finish(within).await;
    }

    /// Where an answer of `entity` is read on when its client leaves; `None` where it is not.
    fn drains(&self, entity: &Entity) -> Option<drain::Drains> {
        attended::is_read_on(entity).then(|| self.inner.drains.clone())
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
