//! What the shared suite cannot know.

use ::wire::chat::ChatChunk;
use ::wire::embeddings::EmbeddingsRequest;
use serde_json::{Value, json};

use super::embeddings::Embed;
use super::*;
use crate::codec::{EmbeddingsCodec, Reply, StreamFault};

fn encode(body: Value) -> Result<Value, Refused> {
    Chat.encode("command-a-03-2025", &serde_json::from_value(body).unwrap()).map(|encoded| encoded.body)
}

fn with(field: &str, value: Value) -> Result<Value, Refused> {
    let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
    body[field] = value;
    encode(body)
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "strict": true}})
}

#[test]
fn parameters_go_under_its_own_names_and_within_its_ranges() {
    let sent = encode(
        json!({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "a"}],
        "max_completion_tokens": 9, "top_p": 1.0, "top_k": 900, "temperature": 0.7, "stop": ["END", ""], "seed": 4,
        "frequency_penalty": -1.0, "presence_penalty": 1.5, "logit_bias": {}, "user": "u", "logprobs": true,
        "stream_options": {}, "parallel_tool_calls": true, "metadata": {}, "x_unknown": 1, "safety_mode": "OFF"}),
    );
    let expected = json!({"model": "command-a-03-2025",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
        "max_tokens": 9, "temperature": 0.7, "p": 0.99, "k": 500, "seed": 4, "frequency_penalty": 0.0,
        "presence_penalty": 1.0, "stop_sequences": ["END"], "safety_mode": "OFF"});
    assert_eq!(sent.unwrap(), expected);
}

#[test]
fn a_named_choice_is_the_only_tool_required() {
    let mut body = json!({"messages": [{"role": "user", "content": "a"}], "tools": [tool("f"), tool("g.h")],
        "tool_choice": {"type": "function", "function": {"name": "g.h"}}});
    let sent = encode(body.clone()).unwrap();
    assert_eq!(sent["tool_choice"], "REQUIRED");
    let only = json!([{"type": "function", "function": {"name": "g_h", "parameters": {"type": "object", "properties": {}}}}]);
    assert_eq!((&sent["tools"], &sent["strict_tools"]), (&only, &json!(true)));
    body["tool_choice"]["function"]["name"] = "x".into();
    assert_eq!(encode(body).unwrap_err().field, "tool_choice.function.name");
}

#[test]
fn allowed_tools_are_the_only_ones_offered() {
    let mut body = json!({"messages": [{"role": "user", "content": "a"}], "tools": [tool("f"), tool("g")],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"name": "g"}]}}});
    let sent = encode(body.clone()).unwrap();
    assert_eq!((sent["tools"].as_array().unwrap().len(), sent.get("tool_choice")), (1, None));
    assert_eq!(sent["tools"][0]["function"]["name"], "g");
    body["tool_choice"]["allowed_tools"]["mode"] = "required".into();
    assert_eq!(encode(body.clone()).unwrap()["tool_choice"], "REQUIRED");
    body["tool_choice"]["allowed_tools"]["tools"][0]["name"] = "x".into();
    assert_eq!(encode(body).unwrap_err().field, "tool_choice.allowed_tools");
}

#[test]
fn what_it_cannot_say_is_refused_by_name() {
    for (field, value, at) in [
        ("n", json!(2), "n"),
        ("tools", json!([{"type": "web_search"}]), "tools[0].type"),
        ("response_format", json!({"type": "json_schema"}), "response_format.json_schema.schema"),
        ("response_format", json!({"type": "xml"}), "response_format.type"),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "input_audio"}]}]),
            "messages[0].content[0]",
        ),
        ("messages", json!([{"role": "user", "content": " "}]), "messages"),
        ("messages", json!([{"role": "robot", "content": "a"}]), "messages[0].role"),
    ] {
        assert_eq!(with(field, value).unwrap_err().field, at);
    }
    let call = json!([{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}]);
    assert_eq!(with("messages", call).unwrap_err().field, "messages[0].tool_calls[0].function.arguments");
}

#[test]
fn thinking_and_effort_are_a_budget() {
    let thinking = |field: &str, value: Value| with(field, value).unwrap()["thinking"].clone();
    assert_eq!(thinking("reasoning_effort", json!("low")), json!({"type": "enabled", "token_budget": 1024}));
    assert_eq!(thinking("reasoning_effort", json!("none")), json!({"type": "disabled"}));
    let given = json!({"type": "enabled", "budget_tokens": 77});
    assert_eq!(thinking("thinking", given), json!({"type": "enabled", "token_budget": 77}));
}

#[test]
fn what_a_tool_loop_needs_goes_back() {
    let sent = with(
        "messages",
        json!([{"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "reasoning_content": "I will look.", "tool_calls": [
            {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "c", "name": "f", "content": ""},
        {"role": "tool", "tool_call_id": "gone", "content": "orphan"}]),
    );
    let expected = json!([{"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "tool_plan": "I will look."},
        {"role": "tool", "tool_call_id": "c", "content": "(no output)"},
        {"role": "user", "content": "orphan"}]);
    assert_eq!(sent.unwrap()["messages"], expected);
}

fn run(events: &[Value]) -> Result<Vec<ChatChunk>, StreamFault> {
    let (mut stream, mut out) = (Chat.stream(), Vec::new());
    for event in events {
        stream.event(event["type"].as_str().unwrap(), event.to_string().as_bytes(), &mut out)?;
    }
    stream.finish(&mut out)?;
    Ok(out)
}

#[test]
fn calls_are_counted_from_nothing_and_always_have_arguments() {
    let start = |index: u64, id: &str| {
        json!({"type": "tool-call-start", "index": index,
        "delta": {"message": {"tool_calls": {"id": id, "type": "function", "function": {"name": "f", "arguments": ""}}}}})
    };
    let out = run(&[
        json!({"type": "message-start", "id": "m"}),
        start(1, "a"),
        json!({"type": "tool-call-end", "index": 1}),
        start(2, "b"),
        json!({"type": "citation-start", "index": 0, "delta": {}}),
        json!({"type": "message-end", "delta": {}}),
    ]);
    let out = out.unwrap();
    let calls: Vec<_> =
        out.iter().flat_map(|c| &c.choices).flat_map(|c| c.delta.tool_calls.iter().flatten()).collect();
    let told: Vec<_> =
        calls.iter().map(|c| (c.index, c.function.as_ref().unwrap().arguments.as_deref().unwrap())).collect();
    assert_eq!(told, [(0, ""), (0, "{}"), (1, ""), (1, "{}")]);
    assert_eq!(out.last().unwrap().choices[0].finish_reason.as_deref(), Some("tool_calls"));
}

#[test]
fn an_answer_that_failed_is_a_fault_of_the_upstream() {
    for delta in [json!({"finish_reason": "ERROR", "error": "it broke"}), json!({"finish_reason": "TIMEOUT"})]
    {
        let Err(StreamFault::Upstream(error)) = run(&[json!({"type": "message-end", "delta": delta})]) else {
            panic!("{delta}")
        };
        assert!(error.status == 502 && !error.message.is_empty());
    }
}

#[test]
fn counts_are_whole_and_those_of_the_model() {
    let usage = |usage: Value| response::usage(&usage);
    let told = json!({"billed_units": {"input_tokens": 3.0}, "tokens": {"input_tokens": 10.0, "output_tokens": 20}, "cached_tokens": 4.0});
    let read = usage(told).unwrap();
    assert_eq!(
        (read.prompt_tokens, read.completion_tokens, read.total_tokens, read.cached_tokens()),
        (10, 20, 30, Some(4))
    );
    for nothing in [json!(null), json!({"tokens": null}), json!({"tokens": {"input_tokens": null}})] {
        assert_eq!(usage(nothing), None);
    }
}

#[test]
fn a_batch_is_split_by_number_and_kind() {
    let mut inputs: Vec<String> = (0..97).map(|n| n.to_string()).collect();
    inputs.extend([
        "data:image/png;base64,AA==".to_owned(),
        "data:image/png;base64,AB==".to_owned(),
        "last".to_owned(),
    ]);
    let request: EmbeddingsRequest =
        serde_json::from_value(json!({"input": inputs, "dimensions": 256, "input_type": "search_query"}))
            .unwrap();
    let bodies = Embed.encode("embed-v4.0", &request).unwrap();
    let told: Vec<_> = bodies
        .iter()
        .map(|b| {
            let inputs = b.get("texts").or_else(|| b.get("images")).unwrap();
            (b["input_type"].as_str().unwrap(), inputs.as_array().unwrap().len())
        })
        .collect();
    assert_eq!(
        told,
        [("search_query", 96), ("search_query", 1), ("image", 1), ("image", 1), ("search_query", 1)]
    );
    assert_eq!(bodies[0]["output_dimension"], 256);
}

#[test]
fn vectors_are_found_in_both_forms() {
    let decode = |body: Value| {
        let body = body.to_string();
        Embed.decode(&Reply { body: body.as_bytes(), header: &|_| None }).unwrap()
    };
    let read =
        decode(json!({"embeddings": {"float": [[0.5]]}, "meta": {"billed_units": {"input_tokens": 3.0}}}));
    assert_eq!((read.vectors, read.prompt_tokens), (vec![vec![0.5]], Some(3)));
    assert_eq!(decode(json!({"embeddings": [[1]]})).prompt_tokens, None);
}

#[test]
fn an_effort_beside_adaptive_thinking_counts() {
    let thinking = |given: Value| {
        let body = json!({"messages": [{"role": "user", "content": "a"}], "thinking": given, "reasoning_effort": "low"});
        encode(body).unwrap()["thinking"].clone()
    };
    assert_eq!(thinking(json!({"type": "adaptive"})), json!({"type": "enabled", "token_budget": 1024}));
    assert_eq!(
        thinking(json!({"type": "enabled", "budget_tokens": 7})),
        json!({"type": "enabled", "token_budget": 7})
    );
    assert_eq!(thinking(json!({"type": "disabled"})), json!({"type": "disabled"}));
    assert_eq!(
        with("thinking", json!({"type": "adaptive"})).unwrap()["thinking"],
        json!({"type": "enabled"})
    );
}

#[test]
fn an_answer_ends_the_same_way_whole_as_streamed() {
    let message = json!({"role": "assistant", "content": [{"type": "text", "text": "a"}]});
    let whole = |reason: &str| {
        let body = json!({"id": "m", "message": message, "finish_reason": reason, "error": "it broke"});
        Chat.decode(body.to_string().as_bytes())
    };
    let streamed = |reason: &str| run(&[json!({"type": "message-end", "delta": {"finish_reason": reason}})]);
    for reason in ["ERROR", "TIMEOUT", "ERROR_LIMIT"] {
        assert!(whole(reason).unwrap_err().0.contains("it broke"), "{reason}");
        assert!(streamed(reason).is_err(), "{reason}");
    }
    for (reason, expected) in
        [("ERROR_TOXIC", "content_filter"), ("MAX_TOKENS", "length"), ("COMPLETE", "stop")]
    {
        assert_eq!(whole(reason).unwrap().choices[0].finish_reason.as_deref(), Some(expected));
        let chunks = streamed(reason).unwrap();
        assert_eq!(chunks[0].choices[0].finish_reason.as_deref(), Some(expected));
    }
}

#[test]
fn what_the_assistant_said_goes_back_as_text() {
    let parts = json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}]);
    let sent = with("messages", json!([{"role": "assistant", "content": parts, "refusal": "!"}])).unwrap();
    assert_eq!(sent["messages"], json!([{"role": "assistant", "content": "ano!"}]));
    let image =
        json!([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]);
    assert_eq!(with("messages", image).unwrap_err().field, "messages[0].content[1]");
}
