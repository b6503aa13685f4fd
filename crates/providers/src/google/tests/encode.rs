//! Requests.

use serde_json::{Value, json};

use super::{MODEL, calls, encode, result, try_encode, user};

fn config(model: &str, fields: Value) -> Value {
    let mut request = json!({"messages": [user("x")]});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    encode(model, request)["generationConfig"].clone()
}

#[test]
fn results_are_in_the_order_of_the_calls_and_alone_in_their_turn() {
    let body = encode(
        MODEL,
        json!({"messages": [user("x"), calls(&["a", "b"]), result("b", "[1]"), result("a", "{\"k\": 1}"), user("y")]}),
    );
    let expected = json!([
        {"functionResponse": {"name": "f_a", "response": {"k": 1}}},
        {"functionResponse": {"name": "f_b", "response": {"output": "[1]"}}}]);
    assert_eq!(body["contents"][2], json!({"role": "user", "parts": expected}));
    assert_eq!(body["contents"][3], json!({"role": "user", "parts": [{"text": "y"}]}));
}

#[test]
fn a_call_without_a_result_keeps_the_places_of_the_others() {
    let body = encode(MODEL, json!({"messages": [user("x"), calls(&["a", "b"]), result("b", "1")]}));
    let parts = body["contents"][2]["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0]["functionResponse"]["response"], json!({"error": "the tool gave no result"}));
}

#[test]
fn a_result_of_no_call_becomes_text() {
    let body = encode(MODEL, json!({"messages": [user("x"), result("z", "1")]}));
    assert_eq!(body["contents"][0]["parts"][1]["text"], "[tool result z] 1");
}

#[test]
fn a_result_may_name_its_function_alone() {
    let named = json!({"role": "function", "name": "f_b", "content": "1"});
    let body = encode(MODEL, json!({"messages": [user("x"), calls(&["a", "b"]), named, result("a", "2")]}));
    let output =
        |at: usize| body["contents"][2]["parts"][at]["functionResponse"]["response"]["output"].clone();
    assert_eq!((output(0), output(1)), (json!("2"), json!("1")));
}

#[test]
fn an_image_in_a_result_follows_it() {
    let content = json!([{"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QQ=="}}]);
    let messages =
        json!([user("x"), calls(&["a"]), {"role": "tool", "tool_call_id": "a", "content": content}]);
    let body = encode(MODEL, json!({ "messages": messages }));
    assert_eq!(body["contents"][2]["parts"][0]["functionResponse"]["response"], json!({"output": "t"}));
    let image = json!({"inlineData": {"mimeType": "image/jpeg", "data": "QQ=="}});
    assert_eq!(body["contents"][3]["parts"], json!([image]));
}

#[test]
fn a_signature_comes_back_in_the_id_alone() {
    let signed = calls(&["a__thought__Ci8-_w", "b"]);
    let body = encode(
        "gemini-3-pro-preview",
        json!({"messages": [user("x"), signed, result("a__thought__Ci8-_w", "1"), result("b", "2")]}),
    );
    let parts = &body["contents"][1]["parts"];
    assert_eq!(parts[0]["thoughtSignature"], "Ci8+/w==");
    assert!(parts[1].get("thoughtSignature").is_none());
    assert_eq!(body["contents"][2]["parts"][1]["functionResponse"]["response"], json!({"output": "2"}));
}

#[test]
fn a_signature_is_taken_from_where_googles_own_api_puts_it() {
    let mut call = calls(&["a"]);
    call["tool_calls"][0]["extra_content"] = json!({"google": {"thought_signature": "QQ=="}});
    let body = encode("gemini-3-pro-preview", json!({"messages": [user("x"), call, result("a", "1")]}));
    assert_eq!(body["contents"][1]["parts"][0]["thoughtSignature"], "QQ==");
}

#[test]
fn another_models_call_gets_the_stand_in_where_one_is_needed() {
    let messages =
        || json!({"messages": [user("x"), calls(&["a", "b"]), result("a", "1"), result("b", "1")]});
    let parts = encode("gemini-3-flash-preview", messages())["contents"][1]["parts"].clone();
    assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert!(parts[1].get("thoughtSignature").is_none());
    assert!(encode(MODEL, messages())["contents"][1]["parts"][0].get("thoughtSignature").is_none());
}

#[test]
fn the_signature_of_a_text_goes_back_to_it() {
    let blocks = json!([{"type": "thinking", "thinking": "t", "signature": "another's"}, {"type": "thought_signature", "signature": "QQ=="}]);
    let turn = json!({"role": "assistant", "content": "a", "thinking_blocks": blocks});
    let body = encode(MODEL, json!({"messages": [user("x"), turn, user("y")]}));
    assert_eq!(body["contents"][1]["parts"], json!([{"text": "a", "thoughtSignature": "QQ=="}]));
}

#[test]
fn thinking_is_said_as_the_generation_wants() {
    let thinking = |model, fields| config(model, fields)["thinkingConfig"].clone();
    let effort = |model, effort: &str| thinking(model, json!({"reasoning_effort": effort}));
    assert_eq!(effort(MODEL, "low"), json!({"thinkingBudget": 1024, "includeThoughts": true}));
    assert_eq!(effort(MODEL, "none"), json!({"thinkingBudget": 0}));
    assert_eq!(effort("gemini-2.5-pro", "none"), json!({"thinkingBudget": 128}));
    assert_eq!(
        effort("gemini-3-pro-preview", "low"),
        json!({"thinkingLevel": "low", "includeThoughts": true})
    );
    assert_eq!(effort("gemini-2.0-flash", "high"), Value::Null);
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}});
    assert_eq!(thinking(MODEL, budget), json!({"thinkingBudget": 2000, "includeThoughts": true}));
    assert_eq!(thinking(MODEL, json!({"thinking": {"type": "disabled"}})), json!({"thinkingBudget": 0}));
}

#[test]
fn the_settings_have_their_names() {
    let got = config(
        MODEL,
        json!({"n": 2, "seed": 7, "logprobs": true, "top_logprobs": 3, "top_k": 5, "stop": ["a", ""]}),
    );
    let expected = json!({"topK": 5, "candidateCount": 2, "stopSequences": ["a"], "seed": 7, "responseLogprobs": true, "logprobs": 3});
    assert_eq!(got, expected);
    assert_eq!(
        config(MODEL, json!({"response_format": {"type": "json_object"}})),
        json!({"responseMimeType": "application/json"})
    );
}

#[test]
fn old_models_get_the_reduced_schema() {
    let schema = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": false});
    let format =
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let got = config("gemini-1.5-pro", format.clone());
    assert_eq!(got["responseSchema"]["properties"]["a"], json!({"nullable": true, "type": "string"}));
    assert_eq!(config(MODEL, format)["responseJsonSchema"], schema);
}

#[test]
fn choices_among_tools() {
    let body = |choice: Value| {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        encode(
            MODEL,
            json!({"messages": [user("x")], "tools": [tool("f"), tool("g")], "tool_choice": choice}),
        )
    };
    let named = body(json!({"type": "function", "function": {"name": "g"}}));
    assert_eq!(
        named["toolConfig"]["functionCallingConfig"],
        json!({"mode": "ANY", "allowedFunctionNames": ["g"]})
    );
    let allowed = |mode: &str| {
        let tools = json!([{"type": "function", "function": {"name": "g"}}]);
        body(json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}))
    };
    assert_eq!(
        allowed("required")["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"],
        json!(["g"])
    );
    let auto = allowed("auto");
    assert_eq!(auto["tools"], json!([{"functionDeclarations": [{"name": "g"}]}]));
    assert_eq!(auto["toolConfig"]["functionCallingConfig"], json!({"mode": "AUTO"}));
    assert_eq!(body("none".into())["toolConfig"]["functionCallingConfig"]["mode"], "NONE");
}

#[test]
fn the_providers_own_tools_go_beside_the_functions() {
    let tools = json!([{"type": "google_search"}, {"type": "function", "function": {"name": "f"}}]);
    let body = encode(MODEL, json!({"messages": [user("x")], "tools": tools}));
    assert_eq!(body["tools"], json!([{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]));
    let unknown = json!({"messages": [user("x")], "tools": [{"type": "web_search_preview"}]});
    assert_eq!(try_encode(MODEL, unknown).unwrap_err().field, "tools[0].type");
}

#[test]
fn media_go_as_data_or_as_uris() {
    let content = json!([
        {"type": "image_url", "image_url": {"url": "gs://b/i.png"}},
        {"type": "image_url", "image_url": {"url": "https://h/i?x=.pdf", "format": "image/webp"}},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
        {"type": "file", "file": {"file_id": "gs://b/t.csv"}}]);
    let body = encode(MODEL, json!({"messages": [user(content)]}));
    let expected = json!([
        {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/i.png"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://h/i?x=.pdf"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "QQ=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "QQ=="}},
        {"fileData": {"mimeType": "text/csv", "fileUri": "gs://b/t.csv"}}]);
    assert_eq!(body["contents"][0]["parts"], expected);
}

#[test]
fn what_cannot_be_said_names_its_field() {
    let field = |request| try_encode(MODEL, request).unwrap_err().field;
    let mut bad = calls(&["a"]);
    bad["tool_calls"][0]["function"]["arguments"] = "{".into();
    assert_eq!(field(json!({"messages": [user("x"), bad]})), "messages[1].tool_calls[0].function.arguments");
    assert_eq!(field(json!({"messages": []})), "messages");
    assert_eq!(
        field(json!({"messages": [user(json!([{"type": "hologram"}]))]})),
        "messages[0].content[0].type"
    );
    let local = json!([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]);
    assert_eq!(field(json!({"messages": [user(local)]})), "messages[0].content[0].image_url.url");
}

#[test]
fn a_name_that_the_api_refuses_is_sent_in_another_and_allowed_in_it() {
    let name = "x".repeat(80);
    let tool = json!({"type": "function", "function": {"name": name}});
    let choice = json!({"type": "function", "function": {"name": name}});
    let body = encode(MODEL, json!({"messages": [user("x")], "tools": [tool], "tool_choice": choice}));
    let sent = &body["tools"][0]["functionDeclarations"][0]["name"];
    assert!(sent.as_str().unwrap().len() <= 64);
    assert_eq!(body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"][0], *sent);
}

#[test]
fn an_effort_beside_adaptive_thinking_counts() {
    let thinking = |model: &str, kind: &str| {
        let fields = json!({"thinking": {"type": kind}, "reasoning_effort": "low"});
        config(model, fields)["thinkingConfig"].clone()
    };
    assert_eq!(thinking(MODEL, "adaptive"), json!({"thinkingBudget": 1024, "includeThoughts": true}));
    let level = json!({"thinkingLevel": "low", "includeThoughts": true});
    assert_eq!(thinking("gemini-3-pro-preview", "adaptive"), level);
    assert_eq!(thinking(MODEL, "disabled"), json!({"thinkingBudget": 0}));
}

#[test]
fn a_result_of_no_call_leaves_the_calls_open() {
    for stray in [result("z", "1"), result("a", "again")] {
        let messages = json!([user("x"), calls(&["a", "b"]), result("a", "1"), stray, result("b", "2")]);
        let body = encode(MODEL, json!({ "messages": messages }));
        let output =
            |at: usize| body["contents"][2]["parts"][at]["functionResponse"]["response"]["output"].clone();
        assert_eq!((output(0), output(1)), (json!("1"), json!("2")));
        assert!(body["contents"][3]["parts"][0]["text"].as_str().unwrap().starts_with("[tool result "));
    }
    let unanswered =
        encode(MODEL, json!({"messages": [user("x"), calls(&["a"]), result("z", "1"), user("y")]}));
    assert_eq!(unanswered["contents"][2]["parts"], json!([{"text": "[tool result z] 1"}, {"text": "y"}]));
}
