//! The endpoints of the demo, made through the REST API as anybody would.

use anyhow::{Context, bail};
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::server::Server;

/// The endpoint of the real model.
pub(super) const MODEL_ENDPOINT: &str = "demo-smollm2";

const SCOPE: &str = "demo";

pub(super) async fn seed(
    server: &Server,
    token: &str,
    simulator: &str,
    model: Option<&str>,
) -> anyhow::Result<()> {
    let api = Api { server, token };
    api.accept(Method::POST, "/api/2.0/secrets/scopes/create", &json!({"scope": SCOPE})).await?;
    let secret = json!({"scope": SCOPE, "key": "key", "string_value": "sk-demo-simulator"});
    api.accept(Method::POST, "/api/2.0/secrets/put", &secret).await?;
    for (name, config) in endpoints(simulator, model) {
        // Data that is kept may have the simulator of an earlier run.
        let body = json!({"name": name, "config": config, "tags": [{"key": "demo"}]});
        if !api.accept(Method::POST, "/api/2.0/serving-endpoints", &body).await? {
            api.accept(Method::PUT, &format!("/api/2.0/serving-endpoints/{name}/config"), &config).await?;
        }
    }
    Ok(())
}

fn endpoints(simulator: &str, model: Option<&str>) -> Vec<(&'static str, Value)> {
    let gpt = |name: &str, task: &str| {
        entity(
            name,
            "openai",
            task,
            json!({"openai_config": {
        "openai_api_key": reference(), "openai_api_base": format!("{simulator}/v1")}}),
        )
    };
    let claude = entity(
        "claude",
        "anthropic",
        "llm/v1/chat",
        json!({"anthropic_config": {
        "anthropic_api_key": reference(), "anthropic_api_base": simulator}}),
    );
    let split = json!({"routes": [
        {"served_entity_name": "gpt", "traffic_percentage": 80},
        {"served_entity_name": "claude", "traffic_percentage": 20}]});
    let mut all = vec![
        ("demo-chat", json!({"served_entities": [gpt("gpt", "llm/v1/chat")]})),
        ("demo-claude", json!({"served_entities": [claude]})),
        (
            "demo-split",
            json!({"served_entities": [gpt("gpt", "llm/v1/chat"), claude], "traffic_config": split}),
        ),
        ("demo-completions", json!({"served_entities": [gpt("gpt", "llm/v1/completions")]})),
        ("demo-embeddings", json!({"served_entities": [gpt("embed", "llm/v1/embeddings")]})),
    ];
    if let Some(url) = model {
        let real = entity(
            "smollm2",
            "openai",
            "llm/v1/chat",
            json!({"openai_config": {
            "openai_api_key": reference(), "openai_api_base": format!("{url}/v1")}}),
        );
        all.push((MODEL_ENDPOINT, json!({"served_entities": [real]})));
    }
    all
}

fn entity(name: &str, provider: &str, task: &str, block: Value) -> Value {
    let mut model = json!({"name": format!("{name}-sim"), "provider": provider, "task": task});
    if let (Some(model), Value::Object(block)) = (model.as_object_mut(), block) {
        model.extend(block);
    }
    json!({"name": name, "external_model": model})
}

fn reference() -> String {
    format!("{{{{secrets/{SCOPE}/key}}}}")
}

struct Api<'a> {
    server: &'a Server,
    token: &'a str,
}

impl Api<'_> {
    /// True when it was done, false when it was there already; anything else is an error.
    async fn accept(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<bool> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))?;
        let Ok(response) = self.server.router().oneshot(request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.context("no answer")?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok(true);
        }
        if answer["error_code"] == "RESOURCE_ALREADY_EXISTS" {
            return Ok(false);
        }
        bail!("{path} answered {status}: {}", answer["message"].as_str().unwrap_or_default())
    }
}
