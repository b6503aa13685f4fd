//! What an upstream wire format has to say for itself. Everything else (scripts, pace, ledger) is shared.

use std::borrow::Cow;
use std::cell::Cell;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::echo::{Answer, Prompt, Tokens, answer};
use crate::frames::{Frame, FrameWriter, Kind};
use crate::openai::KeptResponses;
use crate::script::Script;

/// One upstream wire format.
pub(crate) trait Format: Sync {
    /// Whether a POST to this path is spoken in this format.
    fn claims(&self, path: &str) -> bool;

    /// Refuses a request without the credentials the real provider asks for.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal>;

    /// Refuses a query that the real provider would.
    fn check_query(&self, _path: &str, _query: &str) -> Result<(), Refusal> {
        Ok(())
    }

    /// Reads the body of a request.
    fn parse(&self, body: &[u8]) -> Result<Value, Refusal> {
        serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("the body is not valid json: {error}")))
    }

    /// The model that is asked for.
    fn model<'a>(&self, _path: &'a str, body: &'a Value) -> Option<Cow<'a, str>> {
        body.get("model")?.as_str().map(Cow::Borrowed)
    }

    /// The answer to a request that the script lets through.
    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal>;

    /// The provider's error body.
    fn error_body(&self, refusal: &Refusal, request_id: &str) -> Result<Vec<u8>, serde_json::Error>;

    /// The provider's error in the middle of a stream, as the last frame of it.
    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error>;

    /// A frame that a client cannot parse; a server-sent event whose JSON is not closed, unless a format overrides it.
    fn broken(&self, frame: &Frame) -> Bytes {
        let mut bytes = broken_json(frame.bytes.trim_ascii_end()).to_vec();
        bytes.extend_from_slice(b"\n\n");
        bytes.into()
    }

    /// The content type of a stream.
    fn stream_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    /// The response header in which the provider puts its request id.
    fn request_id_header(&self) -> &'static str;
}

/// One request that was let through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) path: &'a str,
    pub(crate) model: &'a str,
    pub(crate) body: &'a Value,
    pub(crate) script: &'a Script,
    /// What was kept of other calls.
    pub(crate) responses: &'a KeptResponses,
    /// What the answer costs, for the ledger.
    pub(crate) billed: &'a Cell<Tokens>,
}

impl Call<'_> {
    /// The answer to a prompt, which is billed.
    pub(crate) fn answer(&self, prompt: &Prompt<'_>) -> Answer {
        let answer = answer(prompt, self.script);
        self.bill(answer.tokens);
        answer
    }

    /// Adds to what this call costs.
    pub(crate) fn bill(&self, tokens: Tokens) {
        let mut billed = self.billed.get();
        billed += tokens;
        self.billed.set(billed);
    }

    /// Whether the body asks for a stream.
    pub(crate) fn wants_stream(&self) -> bool {
        self.body.get("stream").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn with_usage(&self) -> bool {
        !self.script.no_usage.unwrap_or(false)
    }
}

/// What a format answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A JSON body.
    Whole(Vec<u8>),
    /// A stream.
    Stream(Vec<Frame>),
}

impl Reply {
    pub(crate) fn json<T: serde::Serialize>(body: &T) -> Result<Self, Refusal> {
        Ok(Self::Whole(serde_json::to_vec(body)?))
    }
}

/// A refusal, before a format gives it its shape.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn bad_param(param: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param: Some(param) }
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the simulator cannot render its answer: {error}"),
        )
    }
}

/// A segment of a path, percent-decoded; what is no UTF-8 names nothing.
pub(crate) fn decoded(segment: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy()
}

/// JSON without its last character, so that it is never closed.
pub(crate) fn broken_json(json: &[u8]) -> &[u8] {
    json.split_last().map_or(json, |(_, rest)| rest)
}

/// Which frames a script lets through.
pub(crate) fn up_to_chunk(mut frames: Vec<Frame>, chunks: usize) -> Vec<Frame> {
    let nth = frames.iter().enumerate().filter(|(_, frame)| frame.kind == Kind::Chunk).map(|(at, _)| at);
    let keep = nth.take(chunks).last().map_or(0, |at| at + 1);
    frames.truncate(keep);
    frames
}
