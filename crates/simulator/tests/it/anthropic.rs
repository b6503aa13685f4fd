//! The Anthropic format.

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::harness::{Bench, MESSAGES, messages, read};

#[tokio::test]
async fn messages_stream_what_they_answer_unstreamed() {
    let bench = Bench::start();
    for model in ["claude", "echo;chunks=7", "echo;answer=%F0%9F%98%80%20ok;chunks=3"] {
        let whole = bench.post(MESSAGES, &messages(model, false)).await.json();
        let stream = bench.post(MESSAGES, &messages(model, true)).await;
        assert_eq!(stream.joined("/delta/text"), whole["content"][0]["text"]);
        let events = stream.events();
        assert_eq!(events[0]["message"]["usage"]["input_tokens"], whole["usage"]["input_tokens"]);
        let delta = &events[events.len() - 2];
        assert_eq!(delta["usage"]["input_tokens"], whole["usage"]["input_tokens"]);
        assert_eq!(delta["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
        assert_eq!(delta["delta"]["stop_reason"], whole["stop_reason"]);
        let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        kinds.dedup();
        let expected = [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(kinds, expected);
        let named: Vec<&str> = stream.text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(named.len(), events.len());
        assert!(named.iter().zip(&events).all(|(name, event)| event["type"] == **name));
    }
}

#[tokio::test]
async fn messages_count_what_chat_counts() {
    let bench = Bench::start();
    let whole = bench.post(MESSAGES, &messages("claude", false)).await.json();
    assert_eq!(whole["content"][0]["text"], "echo: höre mir zu");
    assert_eq!(whole["usage"]["input_tokens"], 5);
    assert_eq!(whole["usage"]["output_tokens"], 5);
}

#[tokio::test]
async fn tokens_are_counted_without_an_answer() {
    let bench = Bench::start();
    let count = format!("{MESSAGES}/count_tokens");
    let mut body = messages("claude", false);
    body.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(bench.post(&count, &body).await.json(), json!({"input_tokens": 5}));
    body["model"] = json!("claude;status=529");
    assert_eq!(bench.post(&count, &body).await.status, 529);
}

#[tokio::test]
async fn messages_call_tools_until_there_is_a_result() {
    let bench = Bench::start();
    let mut body = messages("claude", false);
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    body["tools"] = json!([{"name": "weather", "input_schema": schema}]);
    let whole = bench.post(MESSAGES, &body).await.json();
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(whole["content"][0]["input"], json!({"city": "Paris"}));

    body["stream"] = json!(true);
    let stream = bench.post(MESSAGES, &body).await;
    let input: serde_json::Value = serde_json::from_str(&stream.joined("/delta/partial_json")).unwrap();
    assert_eq!(input, whole["content"][0]["input"]);
    let deltas = stream.events().iter().filter(|event| event["type"] == "content_block_delta").count();
    assert_eq!(deltas, 2);

    body["stream"] = json!(false);
    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]});
    body["messages"].as_array_mut().unwrap().push(result);
    let after = bench.post(MESSAGES, &body).await.json();
    assert_eq!(after["content"][0]["text"], "echo: höre mir zu");
    body["tool_choice"] = json!({"type": "any"});
    assert_eq!(bench.post(MESSAGES, &body).await.json()["stop_reason"], "tool_use");
    body["tool_choice"] = json!({"type": "none"});
    assert_eq!(bench.post(MESSAGES, &body).await.json()["stop_reason"], "end_turn");
}

#[tokio::test]
async fn refusals_have_the_shape_of_the_provider() {
    let bench = Bench::start();
    for (name, status, kind) in [
        ("anthropic-version", StatusCode::UNAUTHORIZED, "authentication_error"),
        ("x-api-key", StatusCode::BAD_REQUEST, "invalid_request_error"),
    ] {
        // Each has one of the two headers only.
        let request = Request::post(format!("{}{MESSAGES}", bench.url)).header(name, "x");
        let body = Full::from(messages("m", false).to_string());
        let refused = read(bench.send(request.body(body).unwrap()).await).await;
        assert_eq!(refused.status, status);
        assert_eq!(refused.json()["type"], "error");
        assert_eq!(refused.json()["error"]["type"], kind);
        assert_eq!(refused.json()["request_id"], refused.headers["request-id"].to_str().unwrap());
    }
    for field in ["max_tokens", "messages", "model"] {
        let mut body = messages("m", false);
        body.as_object_mut().unwrap().remove(field);
        let refused = bench.post(MESSAGES, &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.json()["error"]["message"].as_str().unwrap().starts_with(field));
    }
    let mut body = messages("m", false);
    body["messages"] = json!([]);
    assert_eq!(bench.post(MESSAGES, &body).await.status, StatusCode::BAD_REQUEST);
    let overloaded = bench.post(MESSAGES, &messages("echo;status=529", true)).await;
    assert_eq!(overloaded.status.as_u16(), 529);
    assert_eq!(overloaded.json()["error"]["type"], "overloaded_error");
}
