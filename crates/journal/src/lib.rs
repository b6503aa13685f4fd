//! What is recorded of a request: one admission, one settlement.
//!
//! The gateway calls a [`RecordSink`]; who listens (metrics, logs, the segments of the lake) is wired by
//! the binary. A sink must not block: it is called on the request's own thread.

pub mod audit;

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::counts::TokenCounts;
use wire::usage::Usage;

/// The id of a request: in `x-request-id`, on every log line and in every record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub Arc<str>);

/// A request that was let in: authenticated, on a known endpoint, before any upstream is called.
#[derive(Clone, Debug)]
pub struct Admission {
    pub request_id: RequestId,
    /// Milliseconds since the epoch.
    pub received_at: i64,
    pub endpoint: Arc<str>,
    pub endpoint_id: Arc<str>,
    /// User name, or application id of a service principal.
    pub requester: Arc<str>,
    pub stream: bool,
    /// What the caller called it.
    pub client_request_id: Option<String>,
    pub usage_context: BTreeMap<String, String>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub struct Settlement {
    pub outcome: Outcome,
    /// The HTTP status the client got.
    pub status: u16,
    /// The entity that answered, or the last that was tried.
    pub entity: Option<Arc<str>>,
    pub attempts: Vec<Attempt>,
    pub usage: Option<CountedUsage>,
    pub duration_ms: f64,
    /// From receipt to the first byte of the answer going to the client.
    pub first_byte_ms: Option<f64>,
    /// Bytes of the answer that were handed to the client's connection.
    pub bytes_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer went out.
    Completed,
    /// The caller's request was refused by us.
    Refused,
    /// The upstream failed, before or during the answer.
    Failed,
    /// The client left before the end.
    Cancelled,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One call of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub entity: Arc<str>,
    /// The upstream's status; `None` when there was no answer.
    pub status: Option<u16>,
    pub duration_ms: f64,
}

/// Usage, and where the numbers came from: never a made-up zero.
#[derive(Clone, Debug, PartialEq)]
pub struct CountedUsage {
    pub usage: Usage,
    pub provenance: Provenance,
}

impl CountedUsage {
    /// The tokens in kinds that do not overlap.
    pub fn tokens(&self) -> TokenCounts {
        self.usage.counts()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The provider's own count.
    Provider,
    /// Of an answer that broke off: the provider's count until then, of the prompt above all, and an estimate of
    /// what came without being counted.
    Counted,
    /// From the length of the text, a token for four characters.
    Estimated,
}

impl Provenance {
    /// Every one, the surest first.
    pub const ALL: [Self; 3] = [Self::Provider, Self::Counted, Self::Estimated];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Counted => "counted",
            Self::Estimated => "estimated",
        }
    }
}

/// A limit that an admitted call went over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitHit {
    /// As in `ai_gateway.rate_limits`: `endpoint`, `user`, `user_group` or `service_principal`.
    pub key: &'static str,
    /// Whom the limit names.
    pub principal: Option<Arc<str>>,
    /// `calls`, `tokens` or `concurrent_calls`.
    pub measure: &'static str,
    /// Whether the call was refused for it; else the limit only reports.
    pub refused: bool,
}

/// Takes the two records of each request.
pub trait RecordSink: Send + Sync {
    fn admit(&self, admission: &Admission);
    fn settle(&self, admission: &Admission, settlement: &Settlement);
    /// Between the two.
    fn limited(&self, _admission: &Admission, _hit: &LimitHit) {}
}
