//! What would become of a call is said without making it.

use std::sync::Arc;

use policy::circuit::State;
use policy::limits::Measure;
use policy::runtime::{Explain, Explanation, Question};
use policy::{Principal, PrincipalKind};
use serde_json::{Value, json};

use crate::world::{CHAT, Entity, World, world};

async fn explain(world: &World, request: &Value) -> Explanation {
    let ann = Principal {
        id: "ann".into(),
        name: "ann".into(),
        display_name: "ann".into(),
        kind: PrincipalKind::User,
        groups: Vec::new(),
        can_create: false,
    };
    let request = if request.is_null() { Vec::new() } else { request.to_string().into_bytes() };
    let question = Question { principal: Arc::new(ann), endpoint: world.published("e"), request };
    world.plane.explain(question).await
}

#[tokio::test]
async fn it_tells_headroom_route_and_circuits_and_takes_nothing() {
    world(async |world| {
        let limits = json!([{"calls": 1, "tokens": 500, "renewal_period": "minute", "key": "user"}]);
        let entities = [
            Entity::new("openai", "m;status=429;retry_after=60").named("a", 100),
            Entity::new("anthropic", "m").named("b", 0),
        ];
        world.limited("e", CHAT, true, &limits, &entities);
        let asked =
            json!({"messages": [{"role": "user", "content": "x".repeat(400)}], "max_tokens": 50, "n": 2});
        for _ in 0..20 {
            let told = explain(world, &asked).await;
            assert_eq!(told.refused, None);
            assert_eq!((told.tokens.least, told.tokens.most), (101, 200));
            let room: Vec<u64> = told.limits.iter().map(|standing| standing.remaining()).collect();
            assert_eq!(room, [1, 500]);
            assert!(told.route[0].cannot.is_none());
            assert!(told.route[1].cannot.as_ref().is_some_and(|why| why.starts_with("n:")), "{told:?}");
        }
        assert!(world.ledger.requests().is_empty() && world.records.admissions().is_empty());
        assert_eq!(world.ask("e", false).await.status, 200);
        let told = explain(world, &Value::Null).await;
        let (status, message) = told.refused.unwrap();
        assert!(status == 429 && message.contains("1 calls per minute, 1 are used"), "{message}");
        assert_eq!(told.limits.iter().find(|s| !s.has_room()).unwrap().measure, Measure::Calls);
        assert_eq!((told.route[0].circuit.state, told.route[1].circuit.state), (State::Open, State::Closed));
    })
    .await;
}

#[tokio::test]
async fn it_refuses_what_a_call_would_be_refused_for() {
    world(async |world| {
        world.limited(
            "e",
            CHAT,
            true,
            &json!([{"calls": 0, "renewal_period": "minute"}]),
            &[Entity::new("openai", "m")],
        );
        assert_eq!(explain(world, &Value::Null).await.refused.unwrap().0, 403);
        let told = explain(world, &json!({"prompt": "no chat"})).await.refused.unwrap();
        assert!(told.0 == 400 && told.1.contains("messages"), "{told:?}");
        world.limited(
            "e",
            CHAT,
            true,
            &json!([{"tokens": 5, "renewal_period": "hour"}]),
            &[Entity::new("openai", "m")],
        );
        let long = json!({"messages": [{"role": "user", "content": "x".repeat(400)}]});
        assert_eq!(explain(world, &long).await.refused.unwrap().0, 400);
    })
    .await;
}

#[tokio::test]
async fn the_rules_that_need_no_model_are_applied_to_the_request() {
    world(async |world| {
        *world.guardrails.lock() =
            json!({"input": {"invalid_keywords": ["plutonium"], "pii": {"behavior": "MASK"}}});
        world.chat("e", &[Entity::new("openai", "m")]);
        let ask = async |text: &str| {
            let told = explain(world, &json!({"messages": [{"role": "user", "content": text}]})).await;
            let guards: Vec<(&str, &str)> = told.guards.iter().map(|one| (one.guard, one.outcome)).collect();
            (told.refused.map(|(status, _)| status), format!("{guards:?}"))
        };
        let told =
            |keywords: &str, pii: &str| format!(r#"[("invalid_keywords", "{keywords}"), ("pii", "{pii}")]"#);
        assert_eq!(ask("hello").await, (None, told("passed", "passed")));
        assert_eq!(ask("write to ann@example.com").await, (None, told("passed", "masked")));
        assert_eq!(ask("where is plutonium").await, (Some(400), told("blocked", "passed")));
        // Who sent no request is told of none.
        assert!(explain(world, &Value::Null).await.guards.is_empty());
        assert!(world.records.admissions().is_empty());
    })
    .await;
}
