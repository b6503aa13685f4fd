//! How a format says a task. Fault is in the type: what the caller asked ([`Refused`]), what the upstream
//! sent ([`Malformed`]), what the upstream answered ([`UpstreamError`]).

use std::fmt;

use serde_json::Value;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse};
use wire::embeddings::EmbeddingsRequest;
use wire::usage::Usage;

use crate::names::Names;

/// One wire format of chat. Pure: no I/O, no clock, no secret values.
pub trait ChatCodec: Send + Sync + fmt::Debug {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused>;
    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed>;
    fn stream(&self) -> Box<dyn ChatStream>;
    /// `status` is 0 for an error that came inside a stream; the body then tells the status.
    fn error(&self, status: u16, body: &[u8]) -> UpstreamError;
}

/// The state of one streamed answer: events in, chunks out.
pub trait ChatStream: Send {
    /// Takes one event. Unknown events are harmless.
    fn event(&mut self, name: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault>;
    /// The format's own end has come: nothing that matters follows, though the upstream may stay open.
    fn ended(&self) -> bool {
        false
    }
    /// What the upstream has counted by now, of an answer that is not complete.
    fn counted(&self) -> Option<Usage> {
        None
    }
    /// The upstream closed. Errors when the answer was not complete: a cut stream is never a clean end.
    fn finish(&mut self, out: &mut Vec<ChatChunk>) -> Result<(), Malformed>;
}

/// One wire format of embeddings.
pub trait EmbeddingsCodec: Send + Sync + fmt::Debug {
    /// The bodies of the calls that answer the request together: one, or several where the format takes
    /// fewer inputs a call.
    fn encode(&self, model: &str, request: &EmbeddingsRequest) -> Result<Vec<Value>, Refused>;
    /// The answer to one of the bodies.
    fn decode(&self, reply: &Reply<'_>) -> Result<Embedded, Malformed>;
    fn error(&self, status: u16, body: &[u8]) -> UpstreamError;
}

/// An answer in one piece.
pub struct Reply<'a> {
    pub body: &'a [u8],
    /// Finds a header by its name in lower case.
    pub header: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("body", &self.body.len()).finish_non_exhaustive()
    }
}

/// What one call for embeddings gave, its vectors in the order of the inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedded {
    pub vectors: Vec<Vec<f64>>,
    /// `None` where the provider does not count.
    pub prompt_tokens: Option<u64>,
}

/// A request in the upstream's format, and what is needed to undo the renaming it took.
#[derive(Debug, Default)]
pub struct Encoded {
    pub body: Value,
    pub names: Names,
}

/// The upstream cannot express what was asked. Another may; where none can it is the caller's fault: 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The field of the unified request, as a path.
    pub field: String,
    pub reason: String,
}

impl Refused {
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// The upstream sent what its format does not allow. Its fault: 502, fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<serde_json::Error> for Malformed {
    /// Keeps serde's sentence, which gives place and expectation but no content.
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// The upstream answered with an error. Passed on with its status; fallback on 429 and 5xx.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamError {
    pub status: u16,
    pub message: String,
    /// The body as it came: JSON, or a string when it was not JSON.
    pub body: Value,
}

impl UpstreamError {
    /// Bytes that are kept of a message, and of an error body that is not JSON.
    const TEXT_LIMIT: usize = 2048;

    /// Reads the body; `message` finds the provider's sentence in it, the whole text stands in for none.
    pub fn read(status: u16, body: &[u8], message: impl FnOnce(&Value) -> Option<String>) -> Self {
        let body = serde_json::from_slice(body).unwrap_or_else(|_| {
            let kept = &body[..body.len().min(Self::TEXT_LIMIT)];
            Value::String(String::from_utf8_lossy(kept).into_owned())
        });
        let mut message = message(&body).unwrap_or_else(|| match &body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        if message.trim().is_empty() {
            message = "the provider answered with an error that has no message".to_owned();
        }
        message.truncate(message.floor_char_boundary(Self::TEXT_LIMIT));
        Self { status, message, body }
    }

    /// Whether another entity may be tried.
    pub const fn allows_fallback(&self) -> bool {
        self.status == 429 || self.status >= 500
    }
}

/// What can go wrong with one event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamFault {
    Malformed(Malformed),
    Upstream(UpstreamError),
}

impl From<Malformed> for StreamFault {
    fn from(fault: Malformed) -> Self {
        Self::Malformed(fault)
    }
}

impl From<serde_json::Error> for StreamFault {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.into())
    }
}
