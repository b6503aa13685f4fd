//! What control may ask of the data plane: its present, and to try an endpoint. The binary wires who
//! answers.

use std::pin::Pin;
use std::sync::Arc;

use crate::endpoint::Endpoint;

/// Upper bounds of the latency buckets of Databricks' metrics export, in milliseconds.
pub const LATENCY_BOUNDS_MS: [u64; 16] =
    [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000];

/// What an endpoint did in the last minute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Minute {
    pub requests: u64,
    pub client_errors: u64,
    pub server_errors: u64,
    pub in_flight: u64,
    /// Requests by [`LATENCY_BOUNDS_MS`], each counted in its own bucket alone.
    pub latency: Vec<u64>,
    pub latency_sum_ms: f64,
}

pub trait RuntimeView: Send + Sync {
    /// The last minute of the endpoint with this id; all zeros for one that saw no call.
    fn minute(&self, endpoint_id: &str) -> Minute;
}

/// A view of nothing, where no data plane runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRuntime;

impl RuntimeView for NoRuntime {
    fn minute(&self, _endpoint_id: &str) -> Minute {
        Minute::default()
    }
}

/// What came of calling one entity's upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    pub entity: Arc<str>,
    /// Why it cannot serve; `None` when it can.
    pub problem: Option<String>,
}

pub type Probing<'a> = Pin<Box<dyn Future<Output = Vec<Probed>> + Send + 'a>>;

/// Tries an endpoint that is not published.
pub trait Probe: Send + Sync {
    /// Calls each entity's upstream once, with the smallest request of the endpoint's task.
    fn probe(&self, endpoint: Arc<Endpoint>) -> Probing<'_>;
}

impl Probe for NoRuntime {
    fn probe(&self, _endpoint: Arc<Endpoint>) -> Probing<'_> {
        Box::pin(async { Vec::new() })
    }
}
