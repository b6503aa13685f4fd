//! The data plane: what happens to a request, from the client's first byte to the last.
//!
//! It reads one immutable snapshot and never a database. `pipeline.rs` reads top to bottom as the list of
//! steps a request meets.

mod answer;
mod attempts;
mod body;
mod call;
mod circuits;
mod clock;
mod decoded;
mod dialect;
mod error;
mod estimate;
mod explain;
mod limits;
mod pipeline;
mod probe;
mod reasoning;
mod record;
mod shape;
mod stream;
mod surface;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use journal::RecordSink;
use policy::Live;
use policy::limits::{Counting, Limiter};

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
    /// Where the machine's own credentials come from.
    pub aws: AwsEnvironment,
    pub retries: Retries,
    /// When tokens count against limits.
    pub counting: Counting,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 << 20,
            body_timeout: Duration::from_secs(30),
            aws: AwsEnvironment::default(),
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
    circuits: circuits::Circuits,
    config: GatewayConfig,
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
        let (learned, circuits) = Default::default();
        Self { inner: Arc::new(Inner { live, client, keeper, sink, limiter, learned, circuits, config }) }
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
