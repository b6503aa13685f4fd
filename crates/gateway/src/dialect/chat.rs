//! The unified chat format itself: nothing to translate.

use bytes::BytesMut;
use serde_json::json;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse};
use wire::error::ApiError;
use wire::raw::RawObject;
use wire::sse;

use super::{Dialect, DialectStream, Format};
use crate::error::ServeError;

pub(super) struct UnifiedChat {
    /// Whether a stream has its usage although nobody asked for it.
    pub(super) usage: bool,
}

impl Dialect for UnifiedChat {
    fn format(&self) -> Format {
        Format::Chat
    }

    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
        super::read(body, "chat")
    }

    fn reply(&self, _body: &RawObject<'_>, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&reply)
    }

    fn stream(&self, body: &RawObject<'_>) -> Box<dyn DialectStream> {
        Box::new(Chunks { usage: self.usage || asks_for_usage(body) })
    }

    fn tells_usage(&self) -> bool {
        self.usage
    }

    fn terminator(&self) -> &'static [u8] {
        sse::DONE
    }
}

struct Chunks {
    usage: bool,
}

impl DialectStream for Chunks {
    fn chunk(&mut self, chunk: ChatChunk, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        if !self.usage && chunk.usage.is_some() && chunk.choices.is_empty() {
            return Ok(());
        }
        sse::write_json(out, &chunk)
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        error_event(error, out);
    }
}

/// Whether the caller wants a stream to end with its usage.
pub(crate) fn asks_for_usage(body: &RawObject<'_>) -> bool {
    let options = body.get::<wire::Object>("stream_options").ok().flatten().unwrap_or_default();
    options.get("include_usage").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// An error as OpenAI's SDKs read it in a stream.
pub(crate) fn error_event(error: &ServeError, out: &mut BytesMut) {
    let api = error.to_api();
    let body =
        json!({"error": {"message": error.sentence(), "type": "upstream_error", "code": api.code.as_str()}});
    // Writing JSON into memory fails for no value built above.
    let _ = sse::write_json(out, &body);
}
