//! What is recorded of a request: one admission, one settlement.
//!
//! The gateway calls a [`RecordSink`]; who listens (metrics, logs, the [`Journal`]) is wired by the binary. A
//! sink must not wait: it is called on the request's own thread.

pub mod audit;
pub mod clock;
mod counted;
mod entry;
mod frame;
mod guard;
pub mod inference;
mod open;
mod payload;
mod pieces;
mod queue;
mod roll;
pub mod rollup;
mod segment;
mod shared;
mod sync;
pub mod trace;
mod trail;
mod writer;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::cost::Cost;
use wire::counts::TokenCounts;
use wire::usage::Usage;

pub use entry::{Audited, Call, Entry};
pub use guard::{GuardKind, GuardOutcome, GuardPhase, GuardVerdict};
pub use open::OpenError;
pub use payload::{Captured, Payload};
pub use pieces::{Contents, Damage, Pieces};
pub use segment::SealedSegment;
pub use writer::{Fsync, Journal, JournalConfig, OnFull, Status};

/// The id of a request: in `x-request-id`, on every log line and in every record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId(#[serde(with = "shared::text")] pub Arc<str>);

/// A request of somebody who is known, on an endpoint that there is, before any upstream is called.
///
/// It is stored: a field that is added has `#[serde(default)]`, and none changes its meaning.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Admission {
    pub request_id: RequestId,
    /// Milliseconds since the epoch.
    pub received_at: i64,
    #[serde(with = "shared::text")]
    pub endpoint: Arc<str>,
    #[serde(with = "shared::text")]
    pub endpoint_id: Arc<str>,
    pub config_version: i64,
    /// User name, or application id of a service principal.
    #[serde(with = "shared::text")]
    pub requester: Arc<str>,
    /// The groups that the requester is in, inherited ones included.
    #[serde(default, with = "shared::texts")]
    pub groups: Vec<Arc<str>>,
    pub requester_kind: RequesterKind,
    pub stream: bool,
    /// What the caller called it.
    pub client_request_id: Option<String>,
    /// The call that it was made for, where no client sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_for: Option<RequestId>,
    pub usage_context: BTreeMap<String, String>,
    /// What the caller attached to the call, of the header `Databricks-Ai-Gateway-Request-Tags`.
    #[serde(default)]
    pub request_tags: BTreeMap<String, String>,
    /// The path it came by; it decides which usage table the call is in.
    pub path: String,
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    /// Whether the endpoint's usage is tracked, by the configuration that the call met.
    pub usage_tracking: bool,
    /// `<catalog>.<schema>.<table>` that takes the bodies, where the endpoint has one.
    #[serde(with = "shared::optional_text")]
    pub payload_table: Option<Arc<str>>,
    /// Characters of what is asked, where they are counted.
    pub input_characters: Option<u64>,
    /// Tokens that these are taken for, where no provider says.
    pub estimated_input_tokens: Option<u64>,
    /// `None` where nobody gave the request a place in a trace.
    #[serde(skip)]
    pub trace: Option<trace::TraceContext>,
    /// `None` where nobody wants to know.
    #[serde(skip)]
    pub inference: Option<Box<inference::Request>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequesterKind {
    #[default]
    User,
    ServicePrincipal,
}

/// How a request ended. It is stored, as an [`Admission`] is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settlement {
    pub outcome: Outcome,
    /// The HTTP status the client got; 0 where nobody knows, after a crash.
    pub status: u16,
    /// The entity that answered, or the last that was tried.
    #[serde(with = "shared::optional_text")]
    pub entity: Option<Arc<str>>,
    /// The provider's id of that entity's model.
    pub model: Option<String>,
    /// That entity's provider.
    #[serde(default)]
    pub provider: Option<String>,
    pub attempts: Vec<Attempt>,
    pub usage: Option<CountedUsage>,
    /// By the prices valid at receipt; `None` where nothing was used or a price is not known.
    #[serde(default)]
    pub cost: Option<Cost>,
    pub duration_ms: f64,
    /// From receipt to the first byte of the answer going to the client.
    pub first_byte_ms: Option<f64>,
    /// Bytes of the answer that were handed to the client's connection.
    pub bytes_out: u64,
    /// What kind of content the client was told that it gets, without parameters; `None` where it got none.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Characters that the model wrote, where they are counted.
    #[serde(default)]
    pub output_characters: Option<u64>,
    /// What each guardrail that ran said.
    #[serde(default)]
    pub guards: Vec<GuardVerdict>,
    /// The bodies, where the endpoint's are kept. They are stored beside the rest.
    #[serde(skip)]
    pub payload: Option<Box<Payload>>,
    /// `None` where nobody wants to know, and where there was no answer.
    #[serde(skip)]
    pub response: Option<Box<inference::Response>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole answer went out.
    Completed,
    /// The caller's request was refused by us.
    Refused,
    /// The upstream failed, before or during the answer.
    Failed,
    /// The client left before the end.
    Cancelled,
    /// The server died before the end; found at the next start.
    Aborted,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
        }
    }
}

/// One of a few words: what is stored is read as the word that it is.
pub type Fault = &'static str;

/// One call of an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    #[serde(with = "shared::text")]
    pub entity: Arc<str>,
    /// Milliseconds since the epoch.
    pub started_at: i64,
    /// The upstream's status; `None` when there was no answer.
    pub status: Option<u16>,
    pub duration_ms: f64,
    /// From receipt of the request to its beginning.
    #[serde(default)]
    pub began_ms: f64,
    /// What was wrong where it is not a status that says so: `timeout`, `connection`, `refused`, `cancelled`.
    #[serde(default, with = "shared::fault")]
    pub fault: Option<Fault>,
    /// `None` where nobody wants to know.
    #[serde(skip)]
    pub upstream: Option<Box<inference::Upstream>>,
}

/// Usage, and where the numbers came from: never a made-up zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountedUsage {
    #[serde(with = "counted")]
    pub usage: Usage,
    pub provenance: Provenance,
}

impl CountedUsage {
    /// The tokens in kinds that do not overlap.
    pub fn tokens(&self) -> TokenCounts {
        self.usage.counts()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// There is no room for the records of another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the usage journal is full")]
pub struct Full;

/// Resolves when what was recorded before cannot be lost to a power cut any more.
pub type Durable = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Several sinks, each told in turn.
pub struct Sinks(pub Vec<Box<dyn RecordSink>>);

impl RecordSink for Sinks {
    /// What the first ones refuse the others are not told of: those that may refuse stand first.
    fn admit(&self, admission: &Admission) -> Result<(), Full> {
        self.0.iter().try_for_each(|sink| sink.admit(admission))
    }

    fn settle(&self, admission: &Admission, settlement: &Settlement) {
        self.0.iter().for_each(|sink| sink.settle(admission, settlement));
    }

    fn limited(&self, admission: &Admission, hit: &LimitHit) {
        self.0.iter().for_each(|sink| sink.limited(admission, hit));
    }

    /// Of the first that is waited for.
    fn durable(&self) -> Option<Durable> {
        self.0.iter().find_map(|sink| sink.durable())
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
    /// Errors when the request must not go on, since there would be no record of it. It is not settled then.
    fn admit(&self, admission: &Admission) -> Result<(), Full>;

    fn settle(&self, admission: &Admission, settlement: &Settlement);

    /// Between the two.
    fn limited(&self, _admission: &Admission, _hit: &LimitHit) {}

    /// What to wait for before an upstream is called and before the last byte goes out; `None` where nothing
    /// is waited for.
    fn durable(&self) -> Option<Durable> {
        None
    }
}
