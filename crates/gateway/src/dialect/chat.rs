//! The unified chat format itself: nothing to translate.

use bytes::BytesMut;
use serde_json::json;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse};
use wire::error::ApiError;
use wire::raw::RawObject;
use wire::sse;

use super::{Dialect, DialectStream};
use crate::error::ServeError;

pub(super) struct UnifiedChat;

impl Dialect for UnifiedChat {
    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
        super::read(body, "chat")
    }

    fn reply(&self, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&reply)
    }

    fn stream(&self) -> Box<dyn DialectStream> {
        Box::new(Chunks)
    }

    fn error_event(&self, error: &ServeError, out: &mut BytesMut) {
        error_event(error, out);
    }

    fn terminator(&self) -> &'static [u8] {
        sse::DONE
    }
}

struct Chunks;

impl DialectStream for Chunks {
    fn chunk(&mut self, chunk: ChatChunk, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        sse::write_json(out, &chunk)
    }
}

/// An error as OpenAI's SDKs read it in a stream.
pub(super) fn error_event(error: &ServeError, out: &mut BytesMut) {
    let api = error.to_api();
    let body =
        json!({"error": {"message": error.sentence(), "type": "upstream_error", "code": api.code.as_str()}});
    // Writing JSON into memory fails for no value built above.
    let _ = sse::write_json(out, &body);
}
