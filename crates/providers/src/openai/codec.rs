//! The OpenAI chat format as a codec: what the conformance suite and the native surfaces use. On the
//! unified surface its bytes pass through unparsed.

use serde_json::Value;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse};

use super::Edits;
use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, StreamFault, UpstreamError};
use crate::names::Names;

#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenAiChat {
    pub(crate) edits: Edits,
}

impl ChatCodec for OpenAiChat {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        let request = ChatRequest { model: Some(model.to_owned()), ..request.clone() };
        let body = serde_json::to_value(request).map_err(|e| Refused::new("messages", e.to_string()))?;
        Ok(Encoded { body, names: Names::default() })
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        Ok(serde_json::from_slice(body)?)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Box::new(OpenAiStream { codec: *self, finished: false, done: false })
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        let mut error = UpstreamError::read(status, body, message);
        if status == 0 {
            error.status = status_of(&error.body);
        }
        error
    }
}

/// `{"error": {"message"}}`, `{"error": "…"}`, `{"message"}` or `{"detail"}`: engines of this format differ.
fn message(body: &Value) -> Option<String> {
    let error = body.get("error").unwrap_or(body);
    let text = error.get("message").or_else(|| error.get("detail")).unwrap_or(error);
    text.as_str().map(str::to_owned)
}

/// The status that an error inside a stream would have had.
fn status_of(body: &Value) -> u16 {
    let error = body.get("error").unwrap_or(body);
    let numeric = error.get("code").or_else(|| error.get("status")).and_then(Value::as_u64);
    if let Some(status @ 400..=599) = numeric {
        return u16::try_from(status).unwrap_or(502);
    }
    let word = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    match (word("type"), word("code")) {
        ("invalid_request_error", _) => 400,
        (kind, code) if kind.contains("rate_limit") || code.contains("rate_limit") => 429,
        ("server_error" | "internal_error", _) => 500,
        _ => 502,
    }
}

struct OpenAiStream {
    codec: OpenAiChat,
    finished: bool,
    done: bool,
}

impl ChatStream for OpenAiStream {
    fn event(&mut self, _name: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let value: Value = serde_json::from_slice(data)?;
        if value.get("error").is_some_and(|e| !e.is_null()) {
            return Err(StreamFault::Upstream(self.codec.error(0, data)));
        }
        let chunk: ChatChunk = serde_json::from_value(value)?;
        self.finished |= chunk.choices.iter().any(|c| c.finish_reason.is_some());
        out.push(chunk);
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
        // Some engines never send [DONE]; one that sent neither it nor a finish reason was cut off.
        if self.finished || self.done {
            Ok(())
        } else {
            Err(Malformed("the stream ended before a finish reason".to_owned()))
        }
    }
}
