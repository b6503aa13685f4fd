//! What control may ask of the data plane: its present, to try an endpoint, and what would become of a call. The binary wires who
//! answers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::circuit;
use crate::endpoint::Endpoint;
use crate::identity::Principal;
use crate::limits::{Standing, Tokens};

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

/// Asks what would become of a call, without making it.
#[derive(Clone, Debug)]
pub struct Question {
    pub principal: Arc<Principal>,
    pub endpoint: Arc<Endpoint>,
    /// The body of a call of `…/invocations`, JSON; empty: any short one.
    pub request: Vec<u8>,
}

/// What would become of it.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// Why the request is refused before anybody is asked, as status and sentence.
    pub refused: Option<(u16, String)>,
    /// The limits that meet the caller, one for each measure.
    pub limits: Vec<Standing>,
    /// Tokens that the call would reserve.
    pub tokens: Tokens,
    /// The entities that may be asked. The first is drawn by traffic percentage.
    pub route: Vec<Stop>,
    /// What the guardrails that need no model do with the request; empty where none was given.
    pub guards: Vec<Ruled>,
}

/// What a rule of the guardrails does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// As in `ai_gateway.guardrails`.
    pub guard: &'static str,
    /// As on record of a call.
    pub outcome: &'static str,
    /// Kinds of personal data.
    pub details: Vec<String>,
}

/// An entity on the way of a call.
#[derive(Clone, Debug)]
pub struct Stop {
    pub entity: Arc<str>,
    pub traffic_percentage: u32,
    pub circuit: CircuitView,
    /// Why it cannot be asked for this request.
    pub cannot: Option<String>,
}

/// How the circuit of an entity stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitView {
    pub state: circuit::State,
    pub blame: Option<circuit::Blame>,
    /// Failures since the last success.
    pub failures: u32,
    /// Until it is asked again.
    pub probe_in: Option<Duration>,
}

impl CircuitView {
    pub const CLOSED: Self = Self { state: circuit::State::Closed, blame: None, failures: 0, probe_in: None };
}

pub type Explaining<'a> = Pin<Box<dyn Future<Output = Explanation> + Send + 'a>>;

/// What the data plane knows of an endpoint beside its last minute.
pub trait Explain: Send + Sync {
    /// Says what would happen. Nobody is called and nothing is counted.
    fn explain(&self, question: Question) -> Explaining<'_>;
    /// The circuits of the endpoint's entities, in their order.
    fn circuits(&self, endpoint: &Endpoint) -> Vec<CircuitView>;
}

impl Explain for NoRuntime {
    fn explain(&self, _question: Question) -> Explaining<'_> {
        Box::pin(async { Explanation::default() })
    }

    fn circuits(&self, endpoint: &Endpoint) -> Vec<CircuitView> {
        vec![CircuitView::CLOSED; endpoint.entities.len()]
    }
}
