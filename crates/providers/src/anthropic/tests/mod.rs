//! The rules that the fixtures do not show.

mod decode;
mod encode;

use ::wire::chat::{ChatChunk, ChatRequest};
use serde_json::{Value, json};

use super::Messages;
use crate::codec::{ChatCodec, Encoded, Refused, StreamFault};

const MODEL: &str = "claude-sonnet-4-5";

fn try_encode(model: &str, request: Value) -> Result<Encoded, Refused> {
    let request: ChatRequest = serde_json::from_value(request).unwrap();
    Messages.encode(model, &request)
}

fn user(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

fn calls(ids: &[&str]) -> Value {
    let calls = ids
        .iter()
        .map(|id| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}));
    json!({"role": "assistant", "content": null, "tool_calls": calls.collect::<Vec<_>>()})
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}})
}

/// Feeds events under their own names.
fn run(events: &[Value]) -> (Vec<ChatChunk>, Result<(), StreamFault>) {
    let named: Vec<(String, String)> =
        events.iter().map(|e| (e["type"].as_str().unwrap_or_default().to_owned(), e.to_string())).collect();
    run_named(&named.iter().map(|(name, data)| (name.as_str(), data.as_str())).collect::<Vec<_>>())
}

fn run_named(events: &[(&str, &str)]) -> (Vec<ChatChunk>, Result<(), StreamFault>) {
    let (mut stream, mut out) = (Messages.stream(), Vec::new());
    for (name, data) in events {
        if let Err(fault) = stream.event(name, data.as_bytes(), &mut out) {
            return (out, Err(fault));
        }
    }
    let end = stream.finish(&mut out).map_err(StreamFault::from);
    (out, end)
}

fn delta(chunk: &ChatChunk) -> Value {
    serde_json::to_value(&chunk.choices[0].delta).unwrap()
}

#[test]
fn tool_names_are_sanitised_and_restored() {
    let name = "actions/download.logs";
    let mut call = calls(&["c"]);
    call["tool_calls"][0]["function"]["name"] = name.into();
    let request = json!({"messages": [user("q".into()), call], "tools": [tool(name), tool("actions_download_logs")],
        "tool_choice": {"type": "function", "function": {"name": name}}});
    let Encoded { body, names } = try_encode(MODEL, request).unwrap();
    let sent = body["tools"][0]["name"].clone();
    assert_ne!(sent, body["tools"][1]["name"]);
    assert_eq!((&body["tool_choice"]["name"], &body["messages"][1]["content"][0]["name"]), (&sent, &sent));

    let reply = json!({"content": [{"type": "tool_use", "id": "t", "name": sent, "input": {}}], "stop_reason": "tool_use"});
    let mut reply = Messages.decode(reply.to_string().as_bytes()).unwrap();
    names.restore_response(&mut reply);
    assert_eq!(reply.choices[0].message.tool_calls.as_ref().unwrap()[0].function.name, name);

    let (mut chunks, _) = run(&[json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": sent, "input": {}}})]);
    names.restore_chunk(&mut chunks[0]);
    assert_eq!(delta(&chunks[0])["tool_calls"][0]["function"]["name"], name);
}
