//! The events of a streamed answer as one JSON text: the whole answer where the format is known, else the
//! events as a list.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wire::eventstream;
use wire::sse::Parser;

/// Longest event; the whole text is bounded by what is kept of a body.
const MAX_EVENT: usize = 64 << 20;

/// One JSON text for the bytes of a stream. What is no stream of events stays as it is.
pub(crate) fn aggregate(bytes: &[u8]) -> String {
    let frames = frames(bytes);
    if !frames.is_empty() {
        return Value::Array(frames).to_string();
    }
    let events = events(bytes);
    if events.is_empty() {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let kind = |event: &Value| event.get("object").and_then(Value::as_str).unwrap_or_default().to_owned();
    let whole = if events.iter().any(|event| kind(event) == "chat.completion.chunk") {
        Some(chat(&events))
    } else {
        // The last event of such a stream repeats the whole answer.
        events
            .iter()
            .rev()
            .find_map(|event| event.get("response").filter(|answer| answer.is_object()).cloned())
    };
    whole.unwrap_or(Value::Array(events)).to_string()
}

/// Of a binary event stream, whose events have their names beside their data: `{"messageStart": {…}}`.
fn frames(bytes: &[u8]) -> Vec<Value> {
    let mut parser = eventstream::Parser::new(MAX_EVENT);
    parser.push(bytes);
    let mut found = Vec::new();
    while let Ok(Some(event)) = parser.next_event() {
        let data = serde_json::from_slice(&event.data);
        let data = data.unwrap_or_else(|_| String::from_utf8_lossy(&event.data).into());
        found.push(Value::Object(Map::from_iter([(event.name, data)])));
    }
    found
}

fn events(bytes: &[u8]) -> Vec<Value> {
    let mut parser = Parser::new(MAX_EVENT);
    parser.push(bytes);
    let mut found = Vec::new();
    while let Ok(Some(event)) = parser.next_event() {
        found.extend(serde_json::from_slice(&event.data));
    }
    found.extend(parser.finish().and_then(|event| serde_json::from_slice(&event.data).ok()));
    found
}

/// One answer of the chunks of a chat.
fn chat(chunks: &[Value]) -> Value {
    let mut whole = Map::new();
    let mut choices: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    for chunk in chunks.iter().filter_map(Value::as_object) {
        for (key, value) in chunk {
            match (key.as_str(), value) {
                ("object", _) => drop(whole.insert(key.clone(), "chat.completion".into())),
                ("choices", Value::Array(pieces)) => {
                    pieces.iter().for_each(|piece| add_choice(&mut choices, piece));
                }
                (_, Value::Null) => {}
                _ => drop(whole.insert(key.clone(), value.clone())),
            }
        }
    }
    let choices: Vec<Value> = choices.into_values().map(Value::Object).collect();
    whole.insert("choices".to_owned(), choices.into());
    Value::Object(whole)
}

fn add_choice(choices: &mut BTreeMap<u64, Map<String, Value>>, piece: &Value) {
    let index = piece.get("index").and_then(Value::as_u64).unwrap_or_default();
    let choice = choices.entry(index).or_insert_with(|| {
        let whole = json!({"index": index, "message": {"role": "assistant"}, "finish_reason": null});
        whole.as_object().cloned().unwrap_or_default()
    });
    if let Some(reason) = piece.get("finish_reason").filter(|reason| !reason.is_null()) {
        choice.insert("finish_reason".to_owned(), reason.clone());
    }
    if let Some(probabilities) = piece.get("logprobs") {
        add(choice, "logprobs", probabilities);
    }
    let delta = piece.get("delta").and_then(Value::as_object);
    let message = choice.get_mut("message").and_then(Value::as_object_mut);
    if let (Some(delta), Some(message)) = (delta, message) {
        add_delta(message, delta);
    }
}

fn add_delta(message: &mut Map<String, Value>, delta: &Map<String, Value>) {
    for (key, value) in delta {
        match (key.as_str(), value) {
            ("tool_calls", Value::Array(calls)) => {
                let whole = message.entry(key.clone()).or_insert_with(|| json!([]));
                if let Value::Array(whole) = whole {
                    calls.iter().for_each(|call| add_call(whole, call));
                }
            }
            _ => add(message, key, value),
        }
    }
}

/// Adds a piece to what came before it: texts go on, and lists (blocks of content of models that think, probabilities of
/// tokens), and so does what is in objects (audio, a call of a function). All else, and what a thing is, is as it was said
/// last.
fn add(whole: &mut Map<String, Value>, key: &str, piece: &Value) {
    match (whole.get_mut(key), piece) {
        (_, Value::Null) => {}
        (Some(Value::String(text)), Value::String(more)) if !matches!(key, "role" | "id" | "type") => {
            text.push_str(more);
        }
        (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
        (Some(Value::Object(object)), Value::Object(more)) => {
            more.iter().for_each(|(key, piece)| add(object, key, piece));
        }
        _ => drop(whole.insert(key.to_owned(), piece.clone())),
    }
}

fn add_call(calls: &mut Vec<Value>, piece: &Value) {
    let index = piece.get("index").and_then(Value::as_u64).unwrap_or_default();
    let at = usize::try_from(index).unwrap_or(usize::MAX).min(calls.len());
    if at == calls.len() {
        calls.push(json!({"function": {}}));
    }
    let (Some(call), Some(piece)) = (calls[at].as_object_mut(), piece.as_object()) else { return };
    for (key, value) in piece {
        match (key.as_str(), value) {
            ("index", _) | (_, Value::Null) => {}
            ("function", Value::Object(function)) => {
                if let Some(Value::Object(whole)) = call.get_mut("function") {
                    function.iter().for_each(|(key, piece)| add(whole, key, piece));
                }
            }
            _ => drop(call.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_a_chat_become_its_answer() {
        let text = concat!(
            r#"data: {"id":"a","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}"#,
            "\n\n",
            r#"data: {"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"lo","tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":"{\"a\""}}]}}]}"#,
            "\n\n",
            r#"data: {"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"stop"}],"usage":{"total_tokens":3}}"#,
            "\n\ndata: [DONE]\n\n",
        );
        let whole: Value = serde_json::from_str(&aggregate(text.as_bytes())).unwrap();
        let expected = json!({"id": "a", "object": "chat.completion", "model": "m", "usage": {"total_tokens": 3},
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello",
                "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}}]});
        assert_eq!(whole, expected);
    }

    fn chat_of(choices: &[Value]) -> Value {
        let chunk = |choice: &Value| {
            format!("data: {}\n\n", json!({"object": "chat.completion.chunk", "choices": [choice]}))
        };
        let text: String = choices.iter().map(chunk).collect();
        let mut whole: Value = serde_json::from_str(&aggregate(text.as_bytes())).unwrap();
        whole["choices"][0].take()
    }

    #[test]
    fn what_a_model_says_aloud_is_one_piece_of_audio_with_its_transcript() {
        let delta = |audio: Value| json!({"index": 0, "delta": {"audio": audio}});
        let choice = chat_of(&[
            delta(json!({"id": "audio_1", "transcript": "Hel"})),
            delta(json!({"id": "audio_1", "transcript": "lo", "data": "AAAA"})),
            delta(json!({"data": "BBBB", "expires_at": 7})),
        ]);
        let audio = json!({"id": "audio_1", "transcript": "Hello", "data": "AAAABBBB", "expires_at": 7});
        assert_eq!(choice["message"]["audio"], audio);
    }

    #[test]
    fn the_one_call_of_a_function_has_its_name_and_all_its_arguments() {
        let delta = |call: Value| json!({"index": 0, "delta": {"function_call": call}});
        let choice = chat_of(&[
            delta(json!({"name": "f", "arguments": ""})),
            delta(json!({"arguments": "{\"a\""})),
            delta(json!({"name": null, "arguments": ":1}"})),
        ]);
        assert_eq!(choice["message"]["function_call"], json!({"name": "f", "arguments": "{\"a\":1}"}));
    }

    #[test]
    fn every_tokens_probability_is_kept_of_what_is_said_and_of_what_is_refused() {
        let token = |token: &str| json!({"token": token, "logprob": -0.5, "top_logprobs": []});
        let piece = |content: Value, refusal: Value| json!({"index": 0, "delta": {"content": "x"}, "logprobs": {"content": content, "refusal": refusal}});
        let choice = chat_of(&[
            piece(json!([token("a")]), Value::Null),
            piece(json!([token("b"), token("c")]), json!([token("n")])),
            json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}),
            piece(Value::Null, json!([token("o")])),
        ]);
        let content = json!([token("a"), token("b"), token("c")]);
        assert_eq!(choice["logprobs"], json!({"content": content, "refusal": [token("n"), token("o")]}));
        let without = chat_of(&[json!({"index": 0, "delta": {"content": "x"}, "logprobs": null})]);
        assert!(without.get("logprobs").is_none());
    }

    #[test]
    fn a_stream_that_repeats_its_answer_is_that_answer() {
        let text = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\"}}\n\n\
            event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\"}}\n\n";
        assert_eq!(aggregate(text.as_bytes()), r#"{"id":"r","status":"completed"}"#);
    }

    #[test]
    fn events_of_other_formats_are_a_list_and_what_is_no_stream_stays() {
        assert_eq!(
            aggregate(b"event: x\ndata: {\"type\":\"x\"}\n\ndata: {\"n\":1}\n\n"),
            r#"[{"type":"x"},{"n":1}]"#
        );
        assert_eq!(aggregate(br#"[{"a":1}]"#), r#"[{"a":1}]"#);
    }

    #[test]
    fn frames_are_events_with_their_names() {
        let frame = |name: &str, data: &'static str| {
            eventstream::frame(&wire::sse::Event { name: name.to_owned(), data: data.into() }).unwrap()
        };
        let start = frame("messageStart", r#"{"role":"assistant"}"#);
        let stop = frame("messageStop", r#"{"stopReason":"end_turn"}"#);
        let expected = r#"[{"messageStart":{"role":"assistant"}},{"messageStop":{"stopReason":"end_turn"}}]"#;
        assert_eq!(aggregate(&[&start[..], &stop].concat()), expected);
        // Of one that was cut, what had come.
        assert_eq!(
            aggregate(&[&start[..], &stop[..9]].concat()),
            r#"[{"messageStart":{"role":"assistant"}}]"#
        );
    }
}
