//! Messages replies and streams to what the client gets.

use ::wire::chat::ChatChunk;
use serde_json::{Value, json};

use super::super::Messages;
use super::{run, run_named};
use crate::codec::{ChatCodec, Malformed, StreamFault};

// === replies ===

#[test]
fn blocks_of_the_server_are_no_calls() {
    let reply = json!({"id": null, "model": null, "content": [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, {"type": "web_search_tool_result", "content": []},
        {"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "stop_reason": null});
    let reply = Messages.decode(reply.to_string().as_bytes()).unwrap();
    let message = serde_json::to_value(&reply.choices[0]).unwrap();
    assert_eq!(
        message,
        json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ab",
        "thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]}})
    );
    assert_eq!(reply.usage, None);
}

#[test]
fn stop_reasons() {
    let finish = |reason: Value| {
        let reply = json!({"content": [{"type": "text", "text": "a"}], "stop_reason": reason});
        Messages.decode(reply.to_string().as_bytes()).unwrap().choices[0].finish_reason.clone().unwrap()
    };
    let pairs = [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("x_new", "stop"),
    ];
    for (reason, expected) in pairs {
        assert_eq!(finish(reason.into()), expected, "{reason}");
    }
}

#[test]
fn an_error_with_status_200_is_no_answer() {
    for body in
        [r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#, "{}", "[]", "null", "<html>", ""]
    {
        assert!(Messages.decode(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn counts_that_are_missing_or_absurd_do_no_harm() {
    let usage = |usage: Value| {
        let reply = json!({"content": [], "usage": usage});
        Messages
            .decode(reply.to_string().as_bytes())
            .unwrap()
            .usage
            .map(|u| (u.prompt_tokens, u.completion_tokens, u.total_tokens))
    };
    assert_eq!(
        usage(
            json!({"input_tokens": 1, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 100, "output_tokens": null})
        ),
        Some((301, 0, 301))
    );
    assert_eq!(
        usage(json!({"input_tokens": u64::MAX, "output_tokens": 5, "cache_read_input_tokens": 1})),
        Some((u64::MAX, 5, u64::MAX))
    );
    assert_eq!(usage(json!({"input_tokens": null, "server_tool_use": null})), None);
    assert_eq!(usage(Value::Null), None);
}

// === streams ===

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}})
}

fn open(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn add(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn close(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 9}})
}

fn stop() -> Value {
    json!({"type": "message_stop"})
}

fn tool_block(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

/// The arguments that a client puts together, by index of the call.
fn arguments(chunks: &[ChatChunk]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let deltas = chunks.iter().flat_map(|c| &c.choices).flat_map(|c| c.delta.tool_calls.iter().flatten());
    for call in deltas {
        let index = usize::try_from(call.index).unwrap();
        all.resize(all.len().max(index + 1), String::new());
        all[index] += call.function.as_ref().and_then(|f| f.arguments.as_deref()).unwrap_or_default();
    }
    all
}

#[test]
fn a_call_without_input_gives_an_empty_object() {
    let empty = add(0, json!({"type": "input_json_delta", "partial_json": ""}));
    let (chunks, ending) =
        run(&[start(), open(0, tool_block("a")), empty, close(0), end("tool_use"), stop()]);
    assert_eq!((arguments(&chunks), ending), (vec!["{}".to_owned()], Ok(())));
    // Some gateways never close a block, or put the input into its start.
    let whole = json!({"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}});
    let (chunks, _) = run(&[start(), open(0, tool_block("a")), open(1, whole), end("tool_use"), stop()]);
    assert_eq!(arguments(&chunks), ["{}", "{\"x\":1}"]);
    let finish = chunks.iter().rposition(|c| c.choices.iter().any(|c| c.finish_reason.is_some()));
    assert_eq!(finish, Some(chunks.len() - 2), "the finish reason comes after all arguments");
}

#[test]
fn calls_are_numbered_without_gaps() {
    let json_delta =
        |index: u64, json: &str| add(index, json!({"type": "input_json_delta", "partial_json": json}));
    let server = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
    let (chunks, _) = run(&[
        start(),
        open(0, json!({"type": "text", "text": "a"})),
        close(0),
        open(1, server),
        json_delta(1, "{\"q\":1}"),
        close(1),
        open(4, tool_block("a")),
        open(7, tool_block("b")),
        json_delta(7, "{\"b\""),
        json_delta(4, "{\"a\":1}"),
        json_delta(7, ":2}"),
        close(4),
        close(7),
        end("tool_use"),
        stop(),
    ]);
    assert_eq!(arguments(&chunks), ["{\"a\":1}", "{\"b\":2}"]);
}

#[test]
fn later_counts_replace_only_what_they_name() {
    let partial = json!({"type": "message_delta", "delta": {"stop_reason": null}, "usage": {"output_tokens": 4, "cache_read_input_tokens": 3}});
    let (chunks, ending) = run(&[start(), partial, end("end_turn"), stop()]);
    let usage = chunks.last().unwrap().usage.as_ref().unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (8, 9, 17));
    assert_eq!(ending, Ok(()));
    // Older versions of the API put the counts into the delta.
    let old = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "usage": {"output_tokens": 15}}});
    assert_eq!(run(&[start(), old, stop()]).0.last().unwrap().usage.as_ref().unwrap().completion_tokens, 15);
    // Gateways send null where they know nothing; what was not counted is not claimed to be zero.
    let null = json!({"type": "message_start", "message": {"id": null, "model": null, "content": null, "usage": null}});
    let uncounted = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": null});
    let (chunks, ending) = run(&[null, uncounted, stop()]);
    assert!(ending.is_ok() && chunks.iter().all(|c| c.usage.is_none()));
}

#[test]
fn unknown_blocks_deltas_and_events_are_ignored() {
    let whole = [
        start(),
        open(0, json!({"type": "text", "text": ""})),
        add(0, json!({"type": "text_delta", "text": "a"})),
        close(0),
        end("end_turn"),
        stop(),
    ];
    let noise = [
        open(9, json!({"type": "x_block", "text": "no", "parts": []})),
        add(9, json!({"type": "x_delta", "text": {"not": "text"}})),
        add(0, json!({"type": "citations_delta", "citation": {"type": "char_location"}})),
        close(9),
        close(3),
        json!({"type": "x_event", "index": "seven", "delta": 7, "message": [], "usage": "none"}),
        json!({"type": "ping"}),
        json!({"type": null, "x": 1}),
    ];
    let noisy: Vec<Value> = whole[..2].iter().chain(&noise).chain(&whole[2..]).cloned().collect();
    assert_eq!(run(&noisy), run(&whole));
}

#[test]
fn the_name_of_the_event_stands_in_for_a_missing_type() {
    let events = [
        ("message_start", r#"{"message":{"id":"m"},"x":1}"#),
        ("", r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"},"x":1}"#),
        ("message", r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}"#),
        ("", r#"{"x":1}"#),
        ("", ""),
        ("ping", ""),
        ("x_note", "no JSON at all"),
        ("message_delta", r#"{"delta":{"stop_reason":"end_turn"}}"#),
        ("message_stop", "{}"),
        ("", "[DONE]"),
    ];
    let (chunks, ending) = run_named(&events);
    let text: String =
        chunks.iter().flat_map(|c| &c.choices).filter_map(|c| c.delta.content.as_deref()).collect();
    assert_eq!((text.as_str(), ending), ("ab", Ok(())));
}

#[test]
fn data_of_ours_that_is_broken_is_malformed() {
    for (name, data) in [
        ("", "{"),
        ("content_block_delta", "{\"type\""),
        ("", r#"{"type":"content_block_stop"}"#),
        ("", r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":1}}"#),
    ] {
        assert!(matches!(run_named(&[(name, data)]).1, Err(StreamFault::Malformed(_))), "{data}");
    }
}

#[test]
fn a_signature_makes_a_block_to_replay() {
    let thinking = |delta: Value| add(0, delta);
    let (chunks, _) = run(&[
        start(),
        open(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        thinking(json!({"type": "thinking_delta", "thinking": "one "})),
        thinking(json!({"type": "thinking_delta", "thinking": "two"})),
        thinking(json!({"type": "signature_delta", "signature": "si"})),
        thinking(json!({"type": "signature_delta", "signature": "g"})),
        close(0),
        open(1, json!({"type": "redacted_thinking", "data": "d"})),
        close(1),
        // Thinking that is not displayed has a signature all the same; unsigned thinking cannot be replayed.
        open(2, json!({"type": "thinking", "thinking": "", "signature": "omitted"})),
        close(2),
        open(3, json!({"type": "thinking", "thinking": "three", "signature": ""})),
        close(3),
        end("end_turn"),
        stop(),
    ]);
    let blocks: Vec<Value> = chunks
        .iter()
        .flat_map(|c| &c.choices)
        .flat_map(|c| c.delta.thinking_blocks.clone().unwrap_or_default())
        .collect();
    assert_eq!(
        blocks,
        [
            json!({"type": "thinking", "thinking": "one two", "signature": "sig"}),
            json!({"type": "redacted_thinking", "data": "d"}),
            json!({"type": "thinking", "thinking": "", "signature": "omitted"}),
        ]
    );
    let reasoning: String =
        chunks.iter().flat_map(|c| &c.choices).filter_map(|c| c.delta.reasoning_content.as_deref()).collect();
    assert_eq!(reasoning, "one twothree");
}

#[test]
fn errors_in_a_stream_carry_the_status_they_would_have_had() {
    let kinds = [
        ("overloaded_error", 529),
        ("api_error", 500),
        ("rate_limit_error", 429),
        ("invalid_request_error", 400),
        ("x_new", 500),
    ];
    for (kind, status) in kinds {
        let data =
            json!({"type": "error", "error": {"type": kind, "message": "m"}, "request_id": "r"}).to_string();
        for name in ["error", ""] {
            let (chunks, ending) = run_named(&[("", &start().to_string()), (name, &data)]);
            let Err(StreamFault::Upstream(error)) = ending else { panic!("{kind}: {ending:?}") };
            assert_eq!((error.status, error.message.as_str(), chunks.len()), (status, "m", 1));
        }
    }
    // Without type and name, and with data that is no JSON.
    for event in [("", r#"{"error":{"type":"overloaded_error","message":"m"}}"#), ("error", "upstream reset")]
    {
        assert!(matches!(run_named(&[event]).1, Err(StreamFault::Upstream(_))), "{event:?}");
    }
}

#[test]
fn only_message_stop_is_a_clean_end() {
    let text = [open(0, json!({"type": "text", "text": "a"})), close(0)];
    let cut = Err(StreamFault::Malformed(Malformed("the stream ended before message_stop".to_owned())));
    assert_eq!(run(&[]).1, cut);
    assert_eq!(run(&[start(), text[0].clone()]).1, cut);
    assert_eq!(run(&[start(), text[0].clone(), text[1].clone(), end("end_turn")]).1, cut);
}

#[test]
fn the_end_is_told_once() {
    let once = run(&[start(), end("max_tokens"), stop()]);
    assert_eq!(
        run(&[start(), end("max_tokens"), end("end_turn"), stop(), stop(), end("end_turn"), start()]),
        once
    );
    let reasons: Vec<&str> =
        once.0.iter().flat_map(|c| &c.choices).filter_map(|c| c.finish_reason.as_deref()).collect();
    assert_eq!(reasons, ["length"]);
    // Without a stop reason the blocks tell.
    let (chunks, _) = run(&[start(), open(0, tool_block("a")), close(0), stop()]);
    assert!(chunks.iter().flat_map(|c| &c.choices).any(|c| c.finish_reason.as_deref() == Some("tool_calls")));
}
