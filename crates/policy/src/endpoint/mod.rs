//! An endpoint, from what an administrator wrote to what a request meets.

mod compile;
pub mod credentials;
mod normalize;
pub mod params;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Uri};
use providers::{Framing, NativeCall, Provider, SecretRef, Task};

use wire::endpoint::OnDisconnect;

use crate::guardrails::Guardrails;
use crate::limits::Limits;
use crate::permit::Grant;
use crate::price::Prices;

pub use compile::{Compiled, Meta, compile};
pub use credentials::Credentials;
pub use normalize::{Defaults, Invalid, Normalized, normalize};
pub use params::DefaultParams;

/// Served entities of one endpoint: Databricks documents 10, its service takes 15.
pub const MAX_ENTITIES: usize = 15;

/// An endpoint as the data plane uses it. Immutable; a change makes a new one.
#[derive(Debug)]
pub struct Endpoint {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub task: Task,
    pub config_version: i64,
    /// In served-entity order, which is fallback order.
    pub entities: Vec<Entity>,
    pub fallback: bool,
    pub grants: Vec<Grant>,
    pub guardrails: Guardrails,
    pub limits: Limits,
    pub accounting: Accounting,
}

/// What is recorded of an endpoint's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Whether they are in `system.serving.endpoint_usage`.
    pub usage_tracking: bool,
    /// `<catalog>.<schema>.<table>` that takes the bodies.
    pub payload_table: Option<Arc<str>>,
}

/// One upstream of an endpoint.
#[derive(Debug)]
pub struct Entity {
    pub name: Arc<str>,
    /// The provider's id of the model.
    pub model: String,
    pub provider_name: &'static str,
    pub provider: Box<dyn Provider>,
    /// Tells what this entity signs from what another does: the same for the same provider, model, address
    /// and credentials, whatever the entity is called.
    pub mark: Arc<str>,
    /// Share of the traffic, in percent; 0 is reached by fallback only.
    pub weight: u32,
    pub timeouts: Timeouts,
    /// What its tokens cost; `None` where nobody knows.
    pub prices: Option<Prices>,
    pub on_disconnect: OnDisconnect,
    pub default_params: DefaultParams,
    /// Where unstreamed and streamed calls go.
    pub unary: Destination,
    pub streaming: Destination,
    /// The calls of clients' own formats that it speaks itself.
    pub native: Vec<NativeRoute>,
}

/// Where calls of a client's own format go.
#[derive(Debug)]
pub struct NativeRoute {
    pub call: NativeCall,
    pub unary: Destination,
    pub streaming: Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(120),
        }
    }
}

/// A call's address and headers, credentials in place.
#[derive(Debug)]
pub struct Destination {
    pub uri: Uri,
    /// Complete, or the secret that is gone. Values that are secret are marked sensitive.
    pub headers: Result<HeaderMap, MissingSecret>,
    pub credentials: Credentials,
    pub framing: Framing,
}

/// A secret that the configuration names and the store no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSecret(pub SecretRef);

impl Entity {
    pub fn destination(&self, stream: bool) -> &Destination {
        if stream { &self.streaming } else { &self.unary }
    }

    /// Where `call` goes as it is; `None` where it must be translated.
    pub fn native(&self, call: NativeCall, stream: bool) -> Option<&Destination> {
        let route = self.native.iter().find(|route| route.call == call)?;
        Some(if stream { &route.streaming } else { &route.unary })
    }
}
