//! Parameters that an entity takes where the caller sends none.

use serde_json::{Value, json};

use crate::client::{chat, invocations};
use crate::world::{EMBEDDINGS, Entity, world};

/// The body that went out for `given`, with the defaults of the entity.
async fn sent(provider: &'static str, given: &[(&str, Value)]) -> Value {
    let mut seen = Value::Null;
    world(async |world| {
        let params = json!({"max_tokens": 7, "temperature": 0.25});
        world.chat("e", &[Entity::new(provider, "m").default_params(params)]);
        let mut body = chat(false);
        for (name, value) in given {
            body[*name] = value.clone();
        }
        let got = world.post(&invocations("e"), &body).await;
        assert_eq!(got.status, 200, "{got:?}");
        seen = world.ledger.requests().remove(0).body;
    })
    .await;
    seen
}

#[tokio::test]
async fn they_stand_in_for_what_was_not_sent() {
    for provider in ["openai", "custom", "anthropic", "cohere"] {
        let body = sent(provider, &[]).await;
        assert_eq!(
            (&body["max_tokens"], &body["temperature"]),
            (&json!(7), &json!(0.25)),
            "{provider}: {body}"
        );
    }
}

#[tokio::test]
async fn they_never_override_the_caller() {
    for provider in ["openai", "custom", "anthropic", "cohere"] {
        let body = sent(provider, &[("max_tokens", json!(5)), ("temperature", json!(0.5))]).await;
        assert_eq!(
            (&body["max_tokens"], &body["temperature"]),
            (&json!(5), &json!(0.5)),
            "{provider}: {body}"
        );
        let body = sent(provider, &[("temperature", Value::Null)]).await;
        assert_eq!(body["temperature"], 0.25, "{provider}: {body}");
    }
    // The other spelling is the same parameter.
    let body = sent("custom", &[("max_completion_tokens", json!(5))]).await;
    assert_eq!((body.get("max_tokens"), &body["max_completion_tokens"]), (None, &json!(5)));
    let body = sent("anthropic", &[("max_completion_tokens", json!(5))]).await;
    assert_eq!(body["max_tokens"], 5);
}

#[tokio::test]
async fn each_task_has_its_own() {
    world(async |world| {
        let entity = Entity::new("openai", "m").default_params(json!({"dimensions": 3}));
        world.endpoint("v", EMBEDDINGS, false, &[entity]);
        let got = world.post(&invocations("v"), &json!({"input": "abc"})).await;
        assert_eq!(got.json()["data"][0]["embedding"].as_array().map(Vec::len), Some(3), "{got:?}");
    })
    .await;
}
