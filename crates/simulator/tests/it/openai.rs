//! The OpenAI formats.

use base64::Engine;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{Bench, CHAT, chat, read};

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]
    }}}])
}

#[tokio::test]
async fn chat_streams_what_it_answers_unstreamed() {
    let bench = Bench::start();
    for model in
        ["gpt-4o", "echo;chunks=7", "echo;content_bytes=999", "echo;answer=%F0%9F%98%80%20ok;chunks=3"]
    {
        let whole = bench.post(CHAT, &chat(model, false)).await.json();
        let stream = bench.post("/any/prefix/chat/completions", &chat(model, true)).await;
        assert_eq!(stream.headers["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(stream.joined("/choices/0/delta/content"), whole["choices"][0]["message"]["content"]);
        let events = stream.events();
        let last = events.last().unwrap();
        assert_eq!(last["usage"], whole["usage"], "{model}");
        assert_eq!(last["choices"], json!([]));
        assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
        assert!(stream.text.ends_with("data: [DONE]\n\n"));
        assert_eq!(whole["model"], model);
    }
}

#[tokio::test]
async fn chat_usage_is_a_quarter_of_the_characters() {
    let bench = Bench::start();
    let whole = bench.post(CHAT, &chat("gpt-4o", false)).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], "echo: höre mir zu");
    let usage = &whole["usage"];
    // "be brief" and "höre mir zu" are 19 characters, the answer is 17.
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(5), &json!(5)));
    assert_eq!(usage["total_tokens"], 10);
    let mut silent = chat("gpt-4o", true);
    silent["stream_options"] = Value::Null;
    let silent = bench.post(CHAT, &silent).await;
    assert!(silent.events().iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn chat_calls_the_first_tool_until_there_is_a_result() {
    let bench = Bench::start();
    let mut body = chat("gpt-4o", false);
    body["tools"] = weather();
    let whole = bench.post(CHAT, &body).await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "weather");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"city": "Paris"}));

    body["stream"] = json!(true);
    let stream = bench.post(CHAT, &body).await;
    let pointer = "/choices/0/delta/tool_calls/0/function/arguments";
    assert_eq!(stream.joined(pointer), function["arguments"]);
    let pieces =
        stream.events().iter().filter(|event| event.pointer(pointer).is_some_and(|p| p != "")).count();
    assert_eq!(pieces, 2);
    assert_eq!(stream.joined("/choices/0/delta/tool_calls/0/function/name"), "weather");
    assert_eq!(stream.events().last().unwrap()["usage"], whole["usage"]);

    body["stream"] = json!(false);
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "sunny"});
    body["messages"].as_array_mut().unwrap().push(result);
    let after = bench.post(CHAT, &body).await.json();
    assert_eq!(after["choices"][0]["message"]["content"], "echo: höre mir zu");
}

#[tokio::test]
async fn chat_fills_json_schemas() {
    let bench = Bench::start();
    let mut body = chat("gpt-4o", false);
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {
        "type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}, "required": ["city", "n"]
    }}});
    let content = |answer: Value| -> Value {
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap()
    };
    assert_eq!(content(bench.post(CHAT, &body).await.json()), json!({"city": "42", "n": 42}));
    body["response_format"] = json!({"type": "json_object"});
    assert_eq!(content(bench.post(CHAT, &body).await.json()), json!({"answer": "42"}));
}

#[tokio::test]
async fn completions_answer_every_prompt() {
    let bench = Bench::start();
    let mut body =
        json!({"model": "m", "prompt": ["one two", "three"], "stream_options": {"include_usage": true}});
    let whole = bench.post("/v1/completions", &body).await.json();
    assert_eq!(whole["choices"][0]["text"], "echo: one two");
    assert_eq!(whole["choices"][1]["text"], "echo: three");
    body["stream"] = json!(true);
    let stream = bench.post("/v1/completions", &body).await;
    assert_eq!(stream.joined("/choices/0/text"), "echo: one twoecho: three");
    assert_eq!(stream.events().last().unwrap()["usage"], whole["usage"]);
}

#[tokio::test]
async fn embeddings_come_as_floats_and_as_base64() {
    let bench = Bench::start();
    let mut body = json!({"model": "m", "input": ["a", "b"]});
    let floats = bench.post("/v1/embeddings", &body).await.json();
    assert_eq!(floats["data"][0]["embedding"].as_array().unwrap().len(), 8);
    assert_ne!(floats["data"][0]["embedding"], floats["data"][1]["embedding"]);
    body["encoding_format"] = json!("base64");
    let packed = bench.post("/v1/embeddings", &body).await.json();
    let bytes = packed["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).unwrap();
    let unpacked: Vec<f32> =
        bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    let expected: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(unpacked, expected);
    let sized = json!({"model": "m", "input": [1, 2], "dimensions": 100});
    let sized = bench.post("/v1/embeddings", &sized).await.json();
    assert_eq!(sized["data"][0]["embedding"].as_array().unwrap().len(), 100);
    let refused = bench.post("/v1/embeddings", &json!({"model": "m", "input": "a", "dimensions": 0})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn responses_stream_what_they_answer_unstreamed() {
    let bench = Bench::start();
    let mut body = json!({"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi you"}]}]});
    for tools in [json!([]), json!([{"type": "function", "name": "f", "parameters": {}}])] {
        body["tools"] = tools;
        body["stream"] = json!(false);
        let whole = bench.post("/v1/responses", &body).await.json();
        body["stream"] = json!(true);
        let stream = bench.post("/v1/responses", &body).await;
        let events = stream.events();
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        // Each answer is kept under an id of its own.
        let mut streamed = last["response"].clone();
        assert_ne!(streamed["id"], whole["id"]);
        streamed["id"] = whole["id"].clone();
        for (item, like) in
            streamed["output"].as_array_mut().unwrap().iter_mut().zip(whole["output"].as_array().unwrap())
        {
            item["id"] = like["id"].clone();
        }
        assert_eq!(streamed, whole);
        let numbers: Vec<u64> =
            events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        let output = &whole["output"][0];
        let said =
            if output["type"] == "message" { &output["content"][0]["text"] } else { &output["arguments"] };
        assert_eq!(stream.joined("/delta"), *said);
    }
}

#[tokio::test]
async fn refusals_have_the_shape_of_the_provider() {
    let bench = Bench::start();
    let body = Full::from(chat("m", false).to_string());
    let request = Request::post(format!("{}{CHAT}", bench.url)).body(body).unwrap();
    let refused = read(bench.send(request).await).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.json()["error"]["code"], "invalid_api_key");

    let request = bench.request(CHAT).body(Full::from("{not json")).unwrap();
    let refused = read(bench.send(request).await).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.json()["error"]["type"], "invalid_request_error");

    for (body, param) in [
        (json!({"model": "m", "messages": []}), "messages"),
        (json!({"model": "m"}), "messages"),
        (json!({"messages": [{}]}), "model"),
    ] {
        let refused = bench.post(CHAT, &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.json()["error"]["param"], param);
    }
    for refused in [bench.post("/v1/nothing", &json!({})).await, bench.get(CHAT).await] {
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
        assert_eq!(refused.json()["error"]["type"], "invalid_request_error");
    }
}
