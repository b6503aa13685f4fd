//! The formats of the other providers, and the endpoint of their tokens.

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{Bench, Got, read};

const COHERE: &str = "/v2/chat";
const AZURE: &str = "/openai/deployments/echo/chat/completions";

async fn post(bench: &Bench, path: &str, header: (&str, &str), kind: &str, body: String) -> Got {
    let request = Request::post(format!("{}{path}", bench.url)).header(header.0, header.1);
    let request = request.header("content-type", kind).body(Full::from(body)).unwrap();
    read(bench.send(request).await).await
}

async fn bearer(bench: &Bench, path: &str, body: &Value) -> Got {
    post(bench, path, ("authorization", "Bearer k"), "application/json", body.to_string()).await
}

fn chat() -> Value {
    json!({"model": "echo", "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn cohere_streams_what_it_answers_unstreamed() {
    let bench = Bench::start();
    let whole = bearer(&bench, COHERE, &chat()).await.json();
    assert_eq!(whole["message"]["content"][0]["text"], "echo: hi");
    assert!(whole["usage"]["tokens"]["input_tokens"].is_f64());
    let mut body = chat();
    body["stream"] = true.into();
    let stream = bearer(&bench, COHERE, &body).await;
    assert_eq!(stream.joined("/delta/message/content/text"), "echo: hi");
    assert_eq!(stream.events().last().unwrap()["delta"]["finish_reason"], whole["finish_reason"]);
}

#[tokio::test]
async fn cohere_refuses_what_it_does_not_know() {
    let bench = Bench::start();
    for (pointer, value) in [
        ("stream_options", json!({})),
        ("tool_choice", json!("auto")),
        ("messages", json!([])),
        ("messages", json!([{"role": "developer", "content": "a"}])),
        ("messages", json!([{"role": "tool", "tool_call_id": "c", "name": "f", "content": "a"}])),
        ("messages", json!([{"role": "assistant", "tool_calls": [{"index": 0, "id": "c"}]}])),
        ("messages", json!([{"role": "user", "content": " "}])),
    ] {
        let mut body = chat();
        body[pointer] = value;
        let refused = bearer(&bench, COHERE, &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{pointer}");
        assert!(refused.json()["message"].as_str().unwrap().starts_with("invalid request"));
    }
    let none = post(&bench, COHERE, ("x", "y"), "application/json", chat().to_string()).await;
    assert_eq!(none.status, StatusCode::UNAUTHORIZED);
    for body in [
        json!({"model": "e", "texts": ["a"]}),
        json!({"model": "e", "input_type": "classification", "texts": vec!["a"; 97]}),
    ] {
        assert_eq!(bearer(&bench, "/v2/embed", &body).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_deployment_takes_a_key_or_a_token_and_needs_its_version() {
    let bench = Bench::start();
    let path = format!("{AZURE}?api-version=2024-10-21");
    let mut body = chat();
    body.as_object_mut().unwrap().remove("model");
    for header in [("api-key", "k"), ("authorization", "Bearer t")] {
        let got = post(&bench, &path, header, "application/json", body.to_string()).await;
        assert_eq!((got.status, &got.json()["model"]), (StatusCode::OK, &json!("echo")));
    }
    assert_eq!(bearer(&bench, AZURE, &body).await.status, StatusCode::NOT_FOUND);
    let none = post(&bench, &path, ("x", "y"), "application/json", body.to_string()).await;
    assert_eq!(none.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_serving_endpoint_serves_the_task_of_the_body() {
    let bench = Bench::start();
    let path = "/serving-endpoints/echo/invocations";
    let object = async |field: &str, value: Value| {
        let got = bearer(&bench, path, &json!({"model": "echo", field: value})).await;
        got.json()["object"].as_str().map(str::to_owned)
    };
    assert_eq!(object("messages", chat()["messages"].clone()).await.as_deref(), Some("chat.completion"));
    assert_eq!(object("prompt", json!("a")).await.as_deref(), Some("text_completion"));
    assert_eq!(object("input", json!(["a"])).await.as_deref(), Some("list"));
    let refused = bearer(&bench, path, &json!({"model": "echo"})).await;
    assert_eq!(refused.json()["error_code"], "BAD_REQUEST");
}

#[tokio::test]
async fn a_token_is_given_for_the_right_form_only() {
    let bench = Bench::start();
    let good = "grant_type=client_credentials&client_id=c&client_secret=s&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
    let ask = async |form: String| {
        let form_type = "application/x-www-form-urlencoded";
        post(&bench, "/tenant/oauth2/v2.0/token", ("x", "y"), form_type, form).await
    };
    assert_eq!(ask(good.to_owned()).await.json()["token_type"], "Bearer");
    for (part, other, status) in [
        ("client_credentials", "password", 400),
        ("client_id=c", "client_id=", 400),
        (".default", "user", 400),
        ("client_secret=s", "client_secret=wrong-secret", 401),
    ] {
        let refused = ask(good.replace(part, other)).await;
        assert_eq!(refused.status.as_u16(), status);
        assert!(refused.json()["error_description"].as_str().unwrap().starts_with("AADSTS"));
    }
}
