//! The rules that the fixtures do not show.

mod decode;
mod encode;
mod vectors;

use ::wire::chat::{ChatChunk, ChatRequest};
use serde_json::{Value, json};

use super::Gemini;
use crate::codec::{ChatCodec, Refused, StreamFault};

const MODEL: &str = "gemini-2.5-flash";

fn try_encode(model: &str, request: Value) -> Result<Value, Refused> {
    let request: ChatRequest = serde_json::from_value(request).unwrap();
    Gemini { call_ids: false }.encode(model, &request).map(|encoded| encoded.body)
}

fn encode(model: &str, request: Value) -> Value {
    try_encode(model, request).unwrap()
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn calls(ids: &[&str]) -> Value {
    let call = |id: &&str| json!({"id": id, "type": "function", "function": {"name": format!("f_{}", &id[..1]), "arguments": ""}});
    json!({"role": "assistant", "content": null, "tool_calls": ids.iter().map(call).collect::<Vec<_>>()})
}

fn result(id: &str, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}

fn run(events: &[Value]) -> (Vec<ChatChunk>, Result<(), StreamFault>) {
    let (mut stream, mut out) = (Gemini { call_ids: false }.stream(), Vec::new());
    for event in events {
        if let Err(fault) = stream.event("", event.to_string().as_bytes(), &mut out) {
            return (out, Err(fault));
        }
    }
    let end = stream.finish(&mut out).map_err(StreamFault::from);
    (out, end)
}

fn candidate(parts: Value, finish: Value) -> Value {
    json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": finish}]})
}
