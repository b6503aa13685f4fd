//! Older spellings of an endpoint's fields, and rules that span two calls.

use serde_json::{Value, json};
use sqlx::Executor;

use crate::world::{World, text};

const ENDPOINTS: &str = "/api/2.0/serving-endpoints";

fn config(extra: Value) -> Value {
    let mut config = json!({"served_entities": [{"name": "m", "external_model": {"name": "m", "provider": "openai",
        "task": "llm/v1/chat", "openai_config": {"openai_api_key_plaintext": "k"}}}]});
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    config
}

#[tokio::test]
async fn older_spellings_end_in_the_ai_gateway_block() {
    let world = World::new().await;
    let capture = json!({"catalog_name": "c", "schema_name": "s", "table_name_prefix": "p", "enabled": true});
    let limits = json!([{"calls": 5, "renewal_period": "minute"}]);
    let body = json!({"name": "e", "rate_limits": limits, "config": config(json!({"auto_capture_config": capture}))});
    let made = world.act("POST", ENDPOINTS, body).await.is(200);
    assert_eq!(made["ai_gateway"], json!({"inference_table_config": capture, "rate_limits": limits}));
    // The table is in use: it can be disabled, and then be another.
    let path = format!("{ENDPOINTS}/e/config");
    let other = |enabled: bool| json!({"catalog_name": "d", "schema_name": "s", "table_name_prefix": "p", "enabled": enabled});
    let put = |table: Value| config(json!({"auto_capture_config": table}));
    let refused = world.act("PUT", &path, put(other(true))).await.is(400);
    assert!(text(&refused, "message").contains("inference_table_config.catalog_name"), "{refused}");
    world.act("PUT", &path, put(other(false))).await.is(200);
    let now = world.act("PUT", &path, put(other(true))).await.is(200);
    assert_eq!(now["ai_gateway"]["inference_table_config"], other(true));
    assert_eq!(now["config"]["config_version"], 3);
    // A config that does not speak of the table leaves it alone.
    let now = world.act("PUT", &path, config(json!({}))).await.is(200);
    assert_eq!(now["ai_gateway"]["inference_table_config"], other(true));
}

#[tokio::test]
async fn custom_models_are_refused_by_name() {
    let world = World::new().await;
    let models = json!({"served_models": [{"model_name": "m", "model_version": "1"}]});
    let refused = world.act("POST", ENDPOINTS, json!({"name": "e", "config": models})).await.is(400);
    assert!(text(&refused, "message").starts_with("config.served_models"), "{refused}");
    let limits = json!([{"calls": 5, "renewal_period": "minute"}]);
    let both = json!({"name": "e", "rate_limits": limits, "ai_gateway": {"rate_limits": limits}, "config": config(json!({}))});
    let refused = world.act("POST", ENDPOINTS, both).await.is(400);
    assert!(text(&refused, "message").starts_with("rate_limits"), "{refused}");
}

#[tokio::test]
async fn an_endpoint_cannot_take_the_name_of_a_route() {
    let world = World::new().await;
    let refused =
        world.act("POST", ENDPOINTS, json!({"name": "pt", "config": config(json!({}))})).await.is(400);
    assert!(text(&refused, "message").starts_with("name: \"pt\""), "{refused}");
    for (body, what) in [(json!([]), "a list"), (json!("x"), "a string"), (Value::Null, "null")] {
        let request =
            http::Request::post(ENDPOINTS).header("authorization", format!("Bearer {}", world.admin));
        let refused = world.send(request.body(body.to_string().into()).unwrap()).await.is(400);
        assert!(text(&refused, "message").ends_with(what), "{refused}");
    }
}

#[tokio::test]
async fn the_creator_may_be_a_service_principal() {
    let world = World::new().await;
    let (id, name, token) = world.robot("robot").await;
    let entitled =
        json!([{"op": "add", "path": "entitlements", "value": [{"value": "serving-endpoint-create"}]}]);
    world.patch(&format!("/ServicePrincipals/{id}"), entitled).await.is(200);
    let body = |name: &str| json!({"name": name, "config": config(json!({}))});
    let made = world.call(&token, "POST", ENDPOINTS, body("a")).await.is(200);
    assert_eq!((&made["creator"], &made["creator_kind"]), (&json!(name), &json!("ServicePrincipal")));
    let made = world.act("POST", ENDPOINTS, body("b")).await.is(200);
    assert_eq!((&made["creator"], &made["creator_kind"]), (&json!("admin"), &json!("User")));
}

#[tokio::test]
async fn nobody_judges_with_an_endpoint_that_they_may_not_query() {
    let world = World::new().await;
    let (id, _, token) = world.robot("robot").await;
    let entitled =
        json!([{"op": "add", "path": "entitlements", "value": [{"value": "serving-endpoint-create"}]}]);
    world.patch(&format!("/ServicePrincipals/{id}"), entitled).await.is(200);
    world.act("POST", ENDPOINTS, json!({"name": "judge", "config": config(json!({}))})).await.is(200);
    let judged = |judge: &str| json!({"guardrails": {"output": {"llm_judge": {"model": judge}}, "input": {"custom": {"endpoint_name": judge}}}});
    let body = |judge: &str| json!({"name": "own", "config": config(json!({})), "ai_gateway": judged(judge)});
    let refused = world.call(&token, "POST", ENDPOINTS, body("judge")).await.is(403);
    assert!(
        text(&refused, "message").starts_with("ai_gateway.guardrails.input.custom.endpoint_name: "),
        "{refused}"
    );
    world.call(&token, "POST", ENDPOINTS, body("nowhere")).await.is(400);
    world.call(&token, "POST", ENDPOINTS, body("own")).await.is(200);
    let path = format!("{ENDPOINTS}/own/ai-gateway");
    world.call(&token, "PUT", &path, judged("judge")).await.is(403);
    world.act("PUT", &path, judged("judge")).await.is(200);
    world.act("PUT", &path, json!({})).await.is(200);
    // Nor does an older revision give it back.
    let rollback = "/api/tollgate/v1/endpoints/own/rollback";
    world.call(&token, "POST", rollback, json!({"revision": 2})).await.is(403);
    world.act("POST", rollback, json!({"revision": 2})).await.is(200);
}

/// The server is started with another configuration than the revision was made with.
#[tokio::test]
async fn a_revision_whose_guardrails_nobody_can_judge_does_not_come_back() {
    let world = World::new().await;
    world.endpoint("e", json!([])).await;
    let path = "/api/2.0/serving-endpoints/e/ai-gateway";
    world.act("PUT", path, json!({"guardrails": {"input": {"pii": {"behavior": "BLOCK"}}}})).await.is(200);
    world.act("PUT", path, json!({})).await.is(200);
    let judged = r#"UPDATE endpoint_revisions SET document = replace(document, '"pii":{"behavior":"BLOCK"}', '"safety":true')"#;
    world.execute(judged).await;
    let rollback = "/api/tollgate/v1/endpoints/e/rollback";
    let refused = world.act("POST", rollback, json!({"revision": 2})).await.is(400);
    assert!(text(&refused, "message").starts_with("ai_gateway.guardrails.input.safety"), "{refused}");
    let now = world.act("GET", "/api/2.0/serving-endpoints/e", Value::Null).await.is(200);
    assert!(now["ai_gateway"]["guardrails"].is_null(), "{now}");
    world.act("POST", rollback, json!({"revision": 1})).await.is(200);
}

#[tokio::test]
async fn while_somebody_holds_the_store_changes_are_refused_for_now_and_the_rest_goes_on() {
    let world = World::new().await;
    world.endpoint("e", json!([])).await;
    let path = "/api/2.0/serving-endpoints/e/ai-gateway";
    let mut holder = world.execute("BEGIN EXCLUSIVE").await;
    let refused = world.act("PUT", path, json!({})).await.is(503);
    assert_eq!(text(&refused, "error_code"), "TEMPORARILY_UNAVAILABLE");
    world.act("GET", "/api/2.0/serving-endpoints/e", Value::Null).await.is(200);
    holder.execute("ROLLBACK").await.unwrap();
    world.act("PUT", path, json!({})).await.is(200);
}
