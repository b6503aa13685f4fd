//! Clients' own formats that a provider speaks itself: the client's bytes pass through.

use std::fmt;

use wire::raw::RawObject;
use wire::sse::Event;

use crate::codec::{Refused, StreamFault, UpstreamError};
use crate::provider::Target;

/// A call in a format that is not the unified one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NativeCall {
    /// A message in the Messages format.
    Messages,
    /// How many tokens such a message has.
    CountMessages,
    /// A response in the Responses format.
    Responses,
    /// Content in the `generateContent` format.
    GenerateContent,
    /// How many tokens such content has.
    CountContent,
    /// A turn in the Converse format.
    Converse,
}

impl NativeCall {
    pub const ALL: [Self; 6] = [
        Self::Messages,
        Self::CountMessages,
        Self::Responses,
        Self::GenerateContent,
        Self::CountContent,
        Self::Converse,
    ];
}

/// How a provider takes a call in a client's own format.
#[derive(Debug)]
pub struct Native<'a> {
    pub target: Target,
    pub codec: &'a dyn NativeCodec,
    /// Headers of the caller that belong to the format and go on. Lower-case names.
    pub headers: &'static [&'static str],
    /// Parameters of the caller's query that go on.
    pub query: &'static [&'static str],
}

/// Same format in and out: only what must change is changed, nothing is dropped or re-ordered.
pub trait NativeCodec: Send + Sync + fmt::Debug {
    fn pass(&self, model: &str, body: &mut RawObject<'_>) -> Result<(), Refused> {
        body.set("model", model).map_err(|e| Refused::new("model", e.to_string()))
    }

    /// The same where the format's headers matter to it: `headers` are those of the caller that go on, and
    /// what is in them after the call goes out.
    fn pass_with(
        &self,
        model: &str,
        _headers: &mut Vec<(&'static str, String)>,
        body: &mut RawObject<'_>,
    ) -> Result<(), Refused> {
        self.pass(model, body)
    }

    /// Takes an event of the client's format out of what the upstream sends it in.
    fn unwrap(&self, event: Event) -> Result<Event, StreamFault> {
        Ok(event)
    }

    /// `status` is 0 for an error that came inside a stream; the body then tells the status.
    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError;
}
