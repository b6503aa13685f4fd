//! Providers that speak the unified format: their bytes pass through.

use serde_json::{Value, json};
use tollgate_providers::Task;
use wire::chat::ChatRequest;
use wire::raw::RawObject;

use crate::kit::{CASES, Subject, request, subjects};

/// The fields that a splice may change; every other byte stays.
const CHANGED: [&str; 4] = ["model", "stream_options", "max_tokens", "max_completion_tokens"];

/// A body with every spelling that a parser would normalise.
const ODD: &str = r#"{"n":1.0,"messages":[ {"role":"user", "content":"\u00e9\/ \ud83d\ude00"} ] ,"model":"old","big":123456789012345678901234567890,"x":{"b":1,"a":2e-3,"b":3},"tools" : [ 1 ],"e":"","nil":null,"stop":["a"]}"#;

fn splicing() -> impl Iterator<Item = Subject> {
    subjects().into_iter().filter(|s| s.splice().is_some())
}

fn spliced(subject: &Subject, body: &str, task: Task, stream: bool) -> String {
    let mut raw = RawObject::parse(body.as_bytes()).unwrap();
    subject.splice().unwrap().splice("new-model", task, stream, &mut raw).unwrap();
    String::from_utf8(raw.to_vec().unwrap()).unwrap()
}

#[test]
fn every_other_byte_is_kept() {
    let bodies = CASES.map(|case| String::from_utf8(request(case)).unwrap());
    for subject in splicing() {
        let name = subject.name();
        for body in bodies.iter().map(String::as_str).chain([ODD]) {
            for task in Task::ALL {
                for stream in [false, true] {
                    let after = spliced(&subject, body, task, stream);
                    let place = format!("{name}: {} {stream}\n{body}\n{after}", task.as_str());
                    let before = RawObject::parse(body.as_bytes()).unwrap();
                    let after = RawObject::parse(after.as_bytes()).unwrap();
                    assert_eq!(untouched(&before), untouched(&after), "{place}");
                    assert_eq!(
                        after.get::<String>("model").unwrap().as_deref(),
                        Some("new-model"),
                        "{place}"
                    );
                }
            }
        }
    }
}

fn untouched(body: &RawObject<'_>) -> Vec<(String, String)> {
    let kept = body.keys().filter(|key| !CHANGED.contains(key));
    kept.map(|key| (key.to_owned(), body.raw(key).unwrap().get().to_owned())).collect()
}

/// The gateway may splice what `encode` made, and a retry what was spliced before.
#[test]
fn a_second_splice_changes_nothing() {
    for subject in splicing() {
        let name = subject.name();
        for stream in [false, true] {
            let once = spliced(&subject, ODD, Task::Chat, stream);
            assert_eq!(spliced(&subject, &once, Task::Chat, stream), once, "{name}");
        }
    }
}

/// Unknown fields, at every level, in the typed way through the codec.
#[test]
fn encode_keeps_unknown_fields() {
    let body = json!({"x_top": {"a": [1, null, "é"]}, "messages": [
        {"role": "user", "x_message": 1, "content": [
            {"type": "text", "text": "a", "x_part": 2, "cache_control": {"type": "ephemeral"}},
            {"type": "x_kind", "x_payload": {"b": 3}}]},
        {"role": "assistant", "content": "b", "x_reply": 4, "tool_calls": [
            {"id": "c", "type": "function", "x_call": 5, "function": {"name": "f", "arguments": "{}", "x_args": 6}}]},
        {"role": "tool", "tool_call_id": "c", "content": "d", "x_result": 7}],
        "tools": [{"type": "function", "x_tool": 8, "function": {"name": "f", "x_spec": 9, "parameters": {"x_schema": 10}}}],
        "tool_choice": {"type": "x_choice"}, "response_format": {"type": "x_format"}});
    let request: ChatRequest = serde_json::from_value(body.clone()).unwrap();
    for subject in subjects() {
        let Some(splice) = subject.splice() else { continue };
        let mut sent = splice.encode("m", &request).unwrap().body;
        let fields = sent.as_object_mut().unwrap();
        assert_eq!(fields.shift_remove("model"), Some(Value::from("m")));
        assert_eq!(sent, body, "{}", subject.name());
    }
}
