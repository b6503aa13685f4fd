//! Unified request to Messages request.

use serde_json::{Value, json};

use super::{MODEL, calls, tool, try_encode, user};
use crate::codec::Refused;

fn encode(model: &str, request: Value) -> Value {
    try_encode(model, request).unwrap().body
}

/// The body for a question and whatever else is asked.
fn ask(model: &str, more: Value) -> Value {
    let mut request = json!({"messages": [{"role": "user", "content": "q"}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    encode(model, request)
}

fn turns(messages: Value) -> Value {
    encode(MODEL, json!({ "messages": messages }))["messages"].clone()
}

fn refused(request: Value) -> Refused {
    try_encode(MODEL, request).unwrap_err()
}

fn result(id: &str, content: Value) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}

fn used(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

// === messages ===

#[test]
fn parallel_results_are_one_user_turn_and_come_first() {
    let got = turns(json!([
        user("q".into()),
        calls(&["a", "b"]),
        user("wait".into()),
        result("b", "2".into()),
        result("a", "1".into())
    ]));
    let expected = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [used("a"), used("b")]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "b", "content": "2"},
            {"type": "tool_result", "tool_use_id": "a", "content": "1"},
            {"type": "text", "text": "wait"}]},
    ]);
    assert_eq!(got, expected);
}

#[test]
fn orphan_results_become_text() {
    assert_eq!(
        turns(json!([result("x", "Sunny".into())])),
        json!([{"role": "user", "content": "[tool result x] Sunny"}])
    );
    // The call is there, but not in the last assistant turn; and a call has one result only.
    let got = turns(
        json!([calls(&["a"]), result("a", "1".into()), {"role": "assistant", "content": "ok"}, result("a", "2".into())]),
    );
    assert_eq!(got[3]["content"], "[tool result a] 2");
    let got = turns(json!([calls(&["a"]), result("a", "1".into()), result("a", "2".into())]));
    assert_eq!(got[1]["content"][1], json!({"type": "text", "text": "[tool result a] 2"}));
}

#[test]
fn an_orphan_result_keeps_its_image() {
    let image = json!([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://h/i.png"}}]);
    let got = turns(json!([result("x", image)]));
    assert_eq!(got[0]["content"][0]["text"], "[tool result x] see");
    assert_eq!(got[0]["content"][1]["source"]["url"], "https://h/i.png");
}

#[test]
fn neighbours_of_one_role_are_one_turn() {
    let got = turns(
        json!([user("a".into()), user("b".into()), {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"}, user("e".into())]),
    );
    let text = |t: &str| json!({"type": "text", "text": t});
    let expected = json!([
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
        {"role": "user", "content": "e"},
    ]);
    assert_eq!(got, expected);
}

#[test]
fn blank_text_is_left_out() {
    let got = turns(
        json!([user("a".into()), {"role": "assistant", "content": ""}, {"role": "assistant", "content": null}, user(" \n".into()), user(json!([{"type": "text", "text": ""}, {"type": "text", "text": "b"}]))]),
    );
    assert_eq!(
        got,
        json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])
    );
    assert_eq!(refused(json!({"messages": [user(" ".into())]})).field, "messages");
}

#[test]
fn the_last_assistant_text_ends_in_no_white_space() {
    let got = turns(
        json!([user("q".into()), {"role": "assistant", "content": "x \n"}, user("r".into()), {"role": "assistant", "content": "The answer is \n"}]),
    );
    assert_eq!(got[1]["content"], "x \n");
    assert_eq!(got[3]["content"], "The answer is");
}

#[test]
fn arguments_are_an_object() {
    let with = |arguments: &str| {
        json!({"messages": [user("q".into()), {"role": "assistant", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]}]})
    };
    for empty in ["", " ", "{}"] {
        assert_eq!(encode(MODEL, with(empty))["messages"][1]["content"][0]["input"], json!({}));
    }
    for wrong in ["{", "[1]", "null", "\"x\"", "{} {}"] {
        let error = refused(with(wrong));
        assert_eq!(error.to_string(), "messages[1].tool_calls[0].function.arguments: is no JSON object");
    }
}

#[test]
fn ids_of_other_providers_are_made_acceptable() {
    let id = "functions.search:0";
    let got = turns(json!([user("q".into()), calls(&[id]), result(id, "r".into())]));
    assert_eq!(got[1]["content"][0]["id"], "functions_search_0");
    assert_eq!(got[2]["content"][0]["tool_use_id"], "functions_search_0");
}

#[test]
fn only_signed_reasoning_is_replayed() {
    let signed = json!({"type": "thinking", "thinking": "t", "signature": "s"});
    let redacted = json!({"type": "redacted_thinking", "data": "d"});
    let unsigned = json!({"type": "thinking", "thinking": "u", "signature": ""});
    let got = turns(json!([user("q".into()), {"role": "assistant", "reasoning_content": "t", "content": "a",
        "thinking_blocks": [signed, unsigned, redacted]}, user("r".into())]));
    assert_eq!(got[1]["content"], json!([signed, redacted, {"type": "text", "text": "a"}]));
    let part = json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "t", "signature": "s"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]}, {"type": "text", "text": "a"}]);
    let got = turns(json!([user("q".into()), {"role": "assistant", "content": part}, user("r".into())]));
    assert_eq!(got[1]["content"], json!([signed, {"type": "text", "text": "a"}]));
}

#[test]
fn images_and_files() {
    let block = |part: Value| turns(json!([user(json!([part]))]))[0]["content"][0].clone();
    let image = |url: &str| block(json!({"type": "image_url", "image_url": {"url": url}}))["source"].clone();
    assert_eq!(
        image("data:image/jpg;base64,QQ=="),
        json!({"type": "base64", "media_type": "image/jpeg", "data": "QQ=="})
    );
    assert_eq!(image("http://h/a.png"), json!({"type": "url", "url": "http://h/a.png"}));
    let file = block(
        json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}}),
    );
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "QQ=="});
    assert_eq!(file, json!({"type": "document", "source": source, "title": "a.pdf"}));
    let own = json!({"type": "search_result", "source": "s", "title": "t", "content": []});
    assert_eq!(block(own.clone()), own);
}

#[test]
fn what_cannot_be_said_is_refused_with_its_path() {
    let part = |part: Value| refused(json!({"messages": [user("a".into()), user(json!([part]))]})).field;
    assert_eq!(
        part(json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})),
        "messages[1].content[0]"
    );
    assert_eq!(
        part(json!({"type": "image_url", "image_url": {"url": "gs://b/i.png"}})),
        "messages[1].content[0].image_url.url"
    );
    assert_eq!(part(json!({"type": "file", "file": {"file_id": "f"}})), "messages[1].content[0].file");
    let field = |more: Value| {
        let mut request = json!({"messages": [user("a".into())]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refused(request).field
    };
    assert_eq!(field(json!({"n": 2})), "n");
    assert_eq!(field(json!({"messages": [{"role": "robot", "content": "x"}]})), "messages[0].role");
    assert_eq!(field(json!({"response_format": {"type": "grammar"}})), "response_format.type");
    assert_eq!(field(json!({"response_format": "json"})), "response_format.type");
    assert_eq!(
        field(json!({"response_format": {"type": "json_schema"}})),
        "response_format.json_schema.schema"
    );
    assert_eq!(field(json!({"tools": [tool("a")], "tool_choice": "maybe"})), "tool_choice");
    let system =
        json!({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://h/i"}}]});
    assert_eq!(field(json!({"messages": [system, user("a".into())]})), "messages[0].content");
    assert_eq!(ask(MODEL, json!({"n": 1}))["n"], Value::Null);
}

#[test]
fn cache_markers_stay_where_they_were() {
    let cache = json!({"type": "ephemeral"});
    let marked = json!([{"type": "text", "text": "a", "cache_control": cache}]);
    let mut call = calls(&["c"]);
    call["cache_control"] = cache.clone();
    let mut answer = result("c", "r".into());
    answer["cache_control"] = cache.clone();
    let mut cached_tool = tool("f");
    cached_tool["cache_control"] = cache.clone();
    let body = encode(
        MODEL,
        json!({"tools": [cached_tool], "messages": [
        {"role": "system", "content": "s", "cache_control": cache}, user(marked), call, answer]}),
    );
    assert_eq!(body["tools"][0]["cache_control"], cache);
    assert_eq!(body["system"], json!([{"type": "text", "text": "s", "cache_control": cache}]));
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], cache);
    assert_eq!(body["messages"][1]["content"][0]["cache_control"], cache);
    let expected =
        json!([{"type": "tool_result", "tool_use_id": "c", "content": "r", "cache_control": cache}]);
    assert_eq!(body["messages"][2]["content"], expected);
}

// === tools ===

#[test]
fn allowed_tools_leave_the_others_out() {
    let allowed = |name: &str| {
        json!({"tools": [tool("a"), tool("b")], "tool_choice": {"type": "allowed_tools", "allowed_tools":
            {"mode": "required", "tools": [{"type": "function", "function": {"name": name}}]}}})
    };
    let body = ask(MODEL, allowed("a"));
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    assert_eq!((&body["tools"][0]["name"], &body["tool_choice"]), (&json!("a"), &json!({"type": "any"})));
    let mut none = allowed("c");
    none["messages"] = json!([user("q".into())]);
    assert_eq!(refused(none).field, "tool_choice.allowed_tools");
}

#[test]
fn tool_choices() {
    let choice = |more: Value| {
        let mut more = more;
        more["tools"] = json!([tool("a")]);
        ask(MODEL, more)["tool_choice"].clone()
    };
    assert_eq!(choice(json!({})), Value::Null);
    assert_eq!(choice(json!({"tool_choice": null})), Value::Null);
    assert_eq!(choice(json!({"tool_choice": "none"})), json!({"type": "none"}));
    assert_eq!(choice(json!({"tool_choice": "required"})), json!({"type": "any"}));
    let named = json!({"tool_choice": {"type": "function", "function": {"name": "a"}}});
    assert_eq!(choice(named), json!({"type": "tool", "name": "a"}));
    let disabled = |kind: &str| json!({"type": kind, "disable_parallel_tool_use": true});
    assert_eq!(choice(json!({"parallel_tool_calls": false})), disabled("auto"));
    assert_eq!(choice(json!({"parallel_tool_calls": false, "tool_choice": "required"})), disabled("any"));
    assert_eq!(choice(json!({"parallel_tool_calls": false, "tool_choice": "none"})), json!({"type": "none"}));
    assert_eq!(choice(json!({"parallel_tool_calls": true})), Value::Null);
}

#[test]
fn no_tools_no_choice() {
    let body = ask(MODEL, json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": false}));
    assert_eq!((body.get("tools"), body.get("tool_choice")), (None, None));
}

#[test]
fn every_schema_of_a_tool_has_a_type() {
    let schema = |parameters: Value| {
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": parameters}});
        ask(MODEL, json!({"tools": [tool]}))["tools"][0]["input_schema"].clone()
    };
    assert_eq!(schema(Value::Null), json!({"type": "object", "properties": {}}));
    assert_eq!(schema(json!({})), json!({"type": "object"}));
    let own =
        ask(MODEL, json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}));
    assert_eq!(own["tools"][0], json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 2}));
}

// === thinking, sampling, output ===

#[test]
fn a_budget_stays_below_the_bound() {
    let think = |more: Value| {
        let body = ask(MODEL, more);
        (body["max_tokens"].as_u64().unwrap(), body["thinking"]["budget_tokens"].as_u64())
    };
    let effort = |effort: &str, bound: u64| think(json!({"reasoning_effort": effort, "max_tokens": bound}));
    assert_eq!(effort("high", 8000), (8000, Some(4096)));
    assert_eq!(effort("high", 2000), (2000, Some(1999)));
    assert_eq!(effort("minimal", 2000), (2000, Some(1024)));
    // Too little room for any thinking: the answer comes first.
    assert_eq!(effort("low", 1024), (1024, None));
    assert_eq!(effort("none", 8000), (8000, None));
    // The bound is ours to raise where the caller set none.
    assert_eq!(think(json!({"reasoning_effort": "max"})), (16384 + 8192, Some(16384)));
    let given = |budget: u64| json!({"thinking": {"type": "enabled", "budget_tokens": budget}});
    assert_eq!(think(given(10000)), (18192, Some(10000)));
    assert_eq!(think(given(5)), (8192, Some(1024)));
    assert_eq!(think(given(u64::MAX)).1, Some(u64::MAX));
    assert_eq!(
        ask(MODEL, json!({"thinking": {"type": "disabled"}}))["thinking"],
        json!({"type": "disabled"})
    );
}

#[test]
fn thinking_excludes_sampling_and_forced_tools() {
    let more = json!({"reasoning_effort": "low", "temperature": 0.5, "top_k": 5, "tools": [tool("a")],
        "tool_choice": "required", "parallel_tool_calls": false});
    let body = ask(MODEL, more.clone());
    assert_eq!((body.get("temperature"), body.get("top_k")), (None, None));
    assert_eq!(body["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    // Adaptive thinking has no such limits.
    let body = ask("claude-sonnet-4-6", more);
    assert_eq!((&body["temperature"], &body["tool_choice"]["type"]), (&json!(0.5), &json!("any")));
}

#[test]
fn newer_models_think_adaptively() {
    let think = |model: &str, more: Value| {
        let body = ask(model, more);
        (body["thinking"].clone(), body["output_config"]["effort"].clone())
    };
    let effort = |effort: &str| json!({ "reasoning_effort": effort });
    let adaptive = json!({"type": "adaptive"});
    assert_eq!(think("claude-opus-4-6", effort("high")), (adaptive.clone(), json!("high")));
    assert_eq!(think("claude-opus-4-6", effort("minimal")), (adaptive.clone(), json!("low")));
    assert_eq!(think("claude-opus-4-6", effort("xhigh")), (adaptive.clone(), json!("max")));
    assert_eq!(think("claude-opus-4-7", effort("xhigh")), (adaptive.clone(), json!("xhigh")));
    assert_eq!(think("claude-sonnet-5", effort("none")), (Value::Null, Value::Null));
    // 4.6 still takes a budget, 4.7 refuses one.
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"}});
    assert_eq!(think("claude-opus-4-6", budget.clone()).0["budget_tokens"], 2000);
    assert_eq!(think("claude-opus-4-7", budget).0, json!({"type": "adaptive", "display": "summarized"}));
    let both = json!({"thinking": {"type": "adaptive"}, "reasoning_effort": "low"});
    assert_eq!(think("claude-opus-4-8", both), (adaptive, json!("low")));
}

#[test]
fn an_open_tool_loop_without_its_signature_is_answered_without_thinking() {
    let with = |blocks: Value| {
        let mut call = calls(&["a"]);
        call["thinking_blocks"] = blocks;
        encode(
            MODEL,
            json!({"reasoning_effort": "low", "messages": [user("q".into()), call, result("a", "1".into())]}),
        )
    };
    assert_eq!(with(json!([])).get("thinking"), None);
    let signed = with(json!([{"type": "thinking", "thinking": "t", "signature": "s"}]));
    assert_eq!(signed["thinking"]["type"], "enabled");
}

#[test]
fn sampling_by_generation() {
    let both = json!({"temperature": 0.5, "top_p": 0.9, "top_k": 5});
    let sampling = |model: &str, more: &Value| {
        let body = ask(model, more.clone());
        ["temperature", "top_p", "top_k"].map(|key| body.get(key).and_then(Value::as_f64))
    };
    assert_eq!(sampling("claude-3-5-haiku-latest", &both), [Some(0.5), Some(0.9), Some(5.0)]);
    assert_eq!(sampling("claude-opus-4-1", &both), [Some(0.5), None, Some(5.0)]);
    assert_eq!(sampling("claude-opus-4-1", &json!({"top_p": 0.9})), [None, Some(0.9), None]);
    assert_eq!(sampling("claude-opus-4-7", &both), [None, None, None]);
    assert_eq!(sampling(MODEL, &json!({"temperature": 1.7})), [Some(1.0), None, None]);
}

#[test]
fn who_asked_stays_here_when_it_names_somebody() {
    let metadata = |more: Value| ask(MODEL, more).get("metadata").cloned();
    for named in ["jane@example.com", "+49 (151) 234-5678", ""] {
        assert_eq!(metadata(json!({ "user": named })), None, "{named}");
    }
    assert_eq!(metadata(json!({"user": "u-12345678"})), Some(json!({"user_id": "u-12345678"})));
    assert_eq!(metadata(json!({"safety_identifier": "s-1"})), Some(json!({"user_id": "s-1"})));
}

#[test]
fn the_schema_of_the_answer_is_closed() {
    let schema = json!({"type": "object", "properties": {"a": {"type": ["object", "null"], "additionalProperties": true}, "type": {"type": "string"}}});
    let body = ask(
        MODEL,
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
    );
    let expected = json!({"type": "object", "properties": {"a": {"type": ["object", "null"], "additionalProperties": false},
        "type": {"type": "string"}}, "additionalProperties": false});
    assert_eq!(body["output_config"]["format"], json!({"type": "json_schema", "schema": expected}));
    let hint = ask(MODEL, json!({"response_format": {"type": "json_object"}}));
    assert!(hint["system"].as_str().unwrap().contains("JSON"));
}

#[test]
fn thousands_of_results_cost_little() {
    let ids: Vec<String> = (0..10_000).map(|n| format!("c{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut messages = vec![user("q".into()), calls(&ids)];
    messages.extend(ids.iter().map(|id| result(id, "r".into())));
    let got = turns(messages.into());
    assert!(got[2]["content"].as_array().unwrap().iter().all(|block| block["type"] == "tool_result"));
    let names: Vec<Value> = ids.iter().map(|id| json!({"name": id})).collect();
    let tools: Vec<Value> = ids.iter().map(|id| tool(id)).collect();
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"tools": names}});
    let got = ask(MODEL, json!({"tools": tools, "tool_choice": allowed}));
    assert_eq!(got["tools"].as_array().unwrap().len(), ids.len());
}

#[test]
fn a_failed_tool_says_so() {
    let mut failed = result("a", "exit 1".into());
    failed["is_error"] = true.into();
    let got = turns(json!([user("q".into()), calls(&["a"]), failed]));
    let block = json!({"type": "tool_result", "tool_use_id": "a", "content": "exit 1", "is_error": true});
    assert_eq!(got[2]["content"], json!([block]));
}
