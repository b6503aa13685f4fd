//! Claude in its own Messages format, by `InvokeModel`: an event of a stream comes as base64 in a frame.

use ::wire::raw::RawObject;
use ::wire::sse::Event;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::response;
use crate::Messages;
use crate::codec::{ChatCodec, Malformed, Refused, StreamFault, UpstreamError};
use crate::hosted::{BETA_FIELD, Host};
use crate::native::NativeCodec;

const HOST: Host = Host {
    version: "bedrock-2023-05-31",
    betas: &[
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "dev-full-thinking-2025-05-14",
        "effort-2025-11-24",
        "interleaved-thinking-2025-05-14",
        "output-128k-2025-02-19",
        "token-efficient-tools-2025-02-19",
        "tool-examples-2025-10-29",
        "tool-search-tool-2025-10-19",
    ],
    says_stream: false,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Claude;

/// The payload of a frame.
#[derive(Deserialize)]
struct Chunk {
    bytes: String,
}

/// The name of an event is its type.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type", default)]
    kind: String,
}

impl NativeCodec for Claude {
    fn pass_with(
        &self,
        _model: &str,
        headers: &mut Vec<(&'static str, String)>,
        body: &mut RawObject<'_>,
    ) -> Result<(), Refused> {
        let betas = HOST.pass(headers, body)?;
        headers.clear();
        if !betas.is_empty() {
            body.set(BETA_FIELD, &betas).map_err(|e| Refused::new(BETA_FIELD, e.to_string()))?;
        }
        Ok(())
    }

    fn unwrap(&self, event: Event) -> Result<Event, StreamFault> {
        if let Some(exception) = event.name.strip_prefix("exception:") {
            let status = response::exception_status(exception);
            return Err(StreamFault::Upstream(response::error(status, &event.data)));
        }
        if event.name.starts_with("error:") {
            return Err(StreamFault::Upstream(response::error(0, &event.data)));
        }
        if event.name != "chunk" {
            return Ok(event);
        }
        let Chunk { bytes } = serde_json::from_slice(&event.data)?;
        let data = STANDARD.decode(bytes).map_err(|e| Malformed(format!("a chunk is no base64: {e}")))?;
        let name = serde_json::from_slice::<Named>(&data).map(|named| named.kind).unwrap_or_default();
        Ok(Event { name, data: data.into() })
    }

    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError {
        if status == 0 { Messages.error(status, body) } else { response::error(status, body) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unwrapped(name: &str, data: &serde_json::Value) -> Result<Event, StreamFault> {
        Claude.unwrap(Event { name: name.to_owned(), data: data.to_string().into() })
    }

    #[test]
    fn an_event_comes_out_of_its_frame_as_it_was_put_in() {
        let inner = r#"{"type":"new_event",  "x":1.50}"#;
        let event = unwrapped("chunk", &json!({"bytes": STANDARD.encode(inner), "p": "abc"})).unwrap();
        assert_eq!((event.name.as_str(), &event.data[..]), ("new_event", inner.as_bytes()));
        assert!(matches!(unwrapped("chunk", &json!({"bytes": "!"})), Err(StreamFault::Malformed(_))));
        let slow = unwrapped("exception:throttlingException", &json!({"message": "slow"}));
        assert!(matches!(slow, Err(StreamFault::Upstream(error)) if error.status == 429));
    }
}
