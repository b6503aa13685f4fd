//! Where each model is, and how it is spoken to.

use serde_json::{Value, json};
use wire::chat::ChatRequest;
use wire::raw::RawObject;

use super::build;
use crate::hosted::BETA;
use crate::native::NativeCall;
use crate::provider::{Codec, Defaults, Provider, Task};

fn provider(region: &str) -> Box<dyn Provider> {
    let config = json!({"project_id": "p", "region": region, "private_key": "{{secrets/a/b}}"});
    build(config.as_object().unwrap(), &Defaults::default()).unwrap()
}

fn url(model: &str, task: Task, stream: bool) -> String {
    let url = provider("us-east5").target(model, task, stream).url;
    let base = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/";
    url.strip_prefix(base).unwrap_or_else(|| panic!("{url}")).to_owned()
}

#[test]
fn the_region_says_the_host() {
    let host = |region: &str| {
        provider(region).target("m", Task::Chat, false).url[8..].split('/').next().unwrap().to_owned()
    };
    assert_eq!(host("global"), "aiplatform.googleapis.com");
    assert_eq!(host("eu"), "aiplatform.eu.rep.googleapis.com");
    assert_eq!(host("us"), "aiplatform.us.rep.googleapis.com");
    assert_eq!(host("europe-west4"), "europe-west4-aiplatform.googleapis.com");
}

#[test]
fn a_region_that_would_lead_elsewhere_is_refused() {
    for region in ["evil.example/", "a.b", "x@y", "us central1", "US", "a#"] {
        let config = json!({"project_id": "p", "region": region, "private_key": "{{secrets/a/b}}"});
        assert_eq!(
            build(config.as_object().unwrap(), &Defaults::default()).unwrap_err().field,
            "region",
            "{region}"
        );
    }
}

#[test]
fn each_makers_models_have_their_place() {
    let chat = |model: &str, stream| url(model, Task::Chat, stream);
    assert_eq!(
        chat("gemini-2.5-pro", true),
        "publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    );
    assert_eq!(
        chat("google/gemini-2.5-pro", false),
        "publishers/google/models/gemini-2.5-pro:generateContent"
    );
    assert_eq!(
        chat("claude-opus-4-1@20250805", false),
        "publishers/anthropic/models/claude-opus-4-1@20250805:rawPredict"
    );
    assert_eq!(chat("claude-opus-4-1", true), "publishers/anthropic/models/claude-opus-4-1:streamRawPredict");
    assert_eq!(
        chat("mistralai/codestral-2", true),
        "publishers/mistralai/models/codestral-2:streamRawPredict"
    );
    assert_eq!(
        chat("meta/llama-4-maverick-17b-128e-instruct-maas", true),
        "endpoints/openapi/chat/completions"
    );
    let embeddings = |model: &str| url(model, Task::Embeddings, false);
    assert_eq!(embeddings("text-embedding-005"), "publishers/google/models/text-embedding-005:predict");
    assert_eq!(embeddings("gemini-embedding-001"), "publishers/google/models/gemini-embedding-001:predict");
    assert_eq!(embeddings("gemini-embedding-2"), "publishers/google/models/gemini-embedding-2:embedContent");
    assert_eq!(chat("a/../b?c", false), "endpoints/openapi/chat/completions");
    assert_eq!(chat("../b?c#d", false), "endpoints/openapi/chat/completions");
    assert_eq!(chat("b?c#d", false), "publishers/google/models/b%3Fc%23d:generateContent");
}

#[test]
fn completions_and_others_embeddings_are_not_served() {
    let provider = provider("us-east5");
    assert!(provider.codec("gemini-2.5-pro", Task::Completions).is_none());
    assert!(provider.codec("claude-opus-4-1", Task::Embeddings).is_none());
    assert!(provider.codec("meta/llama", Task::Embeddings).is_none());
}

#[test]
fn claude_is_told_the_version_in_the_body_and_the_model_not_at_all() {
    let provider = provider("us-east5");
    let model = "claude-sonnet-4-5@20250929";
    let Some(Codec::Chat(codec)) = provider.codec(model, Task::Chat) else { panic!() };
    let request = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 9, "stream": true, "temperature": 0.5, "top_p": 0.5});
    let body = codec.encode(model, &serde_json::from_value::<ChatRequest>(request).unwrap()).unwrap().body;
    let expected = json!({"max_tokens": 9, "temperature": 0.5, "messages": [{"role": "user", "content": "x"}], "stream": true,
        "anthropic_version": "vertex-2023-10-16"});
    assert_eq!(body, expected);
    let host = codec.error(403, br#"[{"error": {"code": 403, "message": "denied"}}]"#);
    assert_eq!((host.status, host.message.as_str()), (403, "denied"));
    let own = codec
        .error(400, br#"{"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}}"#);
    assert_eq!(own.message, "bad");
}

#[test]
fn hosted_models_get_openais_bodies_under_the_name_they_know() {
    let provider = provider("us-east5");
    let spliced = |model: &str| {
        let Some(Codec::Splice(splice)) = provider.codec(model, Task::Chat) else { panic!() };
        let mut body = RawObject::parse(br#"{"messages":[],"model":"e"}"#).unwrap();
        splice.splice(model, Task::Chat, false, &mut body).unwrap();
        serde_json::from_slice::<Value>(&body.to_vec().unwrap()).unwrap()["model"].clone()
    };
    assert_eq!(spliced("meta/llama-4"), "meta/llama-4");
    assert_eq!(spliced("mistralai/codestral-2"), "codestral-2");
}

#[test]
fn the_servers_token_uri_stands_in_for_the_keys() {
    let defaults = Defaults::new([("token_uri".to_owned(), "http://127.0.0.1:9/token".to_owned())]);
    let config = json!({"project_id": "p", "region": "global", "private_key": "{{secrets/a/b}}"});
    let target = build(config.as_object().unwrap(), &defaults).unwrap().target("m", Task::Chat, false);
    assert!(format!("{:?}", target.auth).contains("http://127.0.0.1:9/token"), "{target:?}");
}

#[test]
fn hosted_models_are_told_nothing_beyond_their_format() {
    let provider = provider("us-east5");
    let result = json!({"role": "tool", "tool_call_id": "c", "content": [
        {"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "https://h/a.png"}}]});
    let tools = json!([{"type": "web_search_20250305"}, {"type": "function", "function": {"name": "f"}}]);
    let request = json!({"messages": [result], "tools": tools});
    for model in ["meta/llama-4", "mistralai/codestral-2"] {
        let Some(Codec::Splice(splice)) = provider.codec(model, Task::Chat) else { panic!() };
        let adopted = splice.adopt(model, serde_json::from_value(request.clone()).unwrap()).unwrap();
        assert_eq!(adopted.tools.unwrap().len(), 1, "{model}");
        let roles: Vec<&str> = adopted.messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["tool", "user"], "{model}");
    }
}

#[test]
fn betas_that_the_host_knows_go_in_the_header() {
    let provider = provider("us-east5");
    let native = provider.native("claude-sonnet-4-5@20250929", NativeCall::Messages, false).unwrap();
    for (asked, goes) in [
        ("web-search-2025-03-05, unheard-of-1", "context-1m-2025-08-07,web-search-2025-03-05"),
        ("unheard-of-1", "context-1m-2025-08-07"),
    ] {
        let mut headers = vec![(BETA, asked.to_owned()), ("anthropic-version", "2023-06-01".to_owned())];
        let body = json!({"model": "e", "anthropic_beta": ["context-1m-2025-08-07"]}).to_string();
        let mut body = RawObject::parse(body.as_bytes()).unwrap();
        native.codec.pass_with("m", &mut headers, &mut body).unwrap();
        assert_eq!(headers, [(BETA, goes.to_owned())], "{asked}");
        assert!(!body.contains("anthropic_beta") && !body.contains("model"));
    }
    let mut headers = vec![(BETA, "unheard-of-1".to_owned())];
    native.codec.pass_with("m", &mut headers, &mut RawObject::parse(b"{}").unwrap()).unwrap();
    assert_eq!(headers, []);
}
