//! What is on record of a call, and of its bodies.

use journal::{Captured, Outcome, Payload};
use policy::endpoint::Accounting;
use serde_json::json;
use tollgate_gateway::GatewayConfig;

use crate::client::{chat, invocations, post};
use crate::world::{Entity, Setup, TOKEN, World, world, world_with};

/// Endpoints that are made from now on have a table for bodies.
fn with_table(world: &World) {
    *world.accounting.lock() =
        Accounting { usage_tracking: true, payload_table: Some("c.s.e_payload".into()) };
}

fn payload(world: &World) -> Payload {
    *world.records.last().payload.expect("no bodies are kept")
}

#[tokio::test]
async fn bodies_are_kept_where_the_endpoint_has_a_table_and_nowhere_else() {
    world(async |world| {
        world.chat("without", &[Entity::new("openai", "m")]);
        assert_eq!(world.ask("without", false).await.status, 200);
        assert_eq!(world.records.last().payload, None);
        with_table(world);
        world.chat("openai", &[Entity::new("openai", "m;chunks=3")]);
        world.chat("other", &[Entity::new("anthropic", "m;chunks=3")]);
        for (name, stream) in [("openai", false), ("openai", true), ("other", false), ("other", true)] {
            let got = world.ask(name, stream).await;
            let kept = payload(world);
            assert_eq!(kept.response, Captured::Whole(got.text.into()), "{name} {stream}");
            assert_eq!(kept.request, Captured::Whole(chat(stream).to_string().into()), "{name} {stream}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_on_record_with_what_was_said() {
    world(async |world| {
        with_table(world);
        world.chat("e", &[Entity::new("openai", "m")]);
        let mut body = chat(false);
        body["client_request_id"] = "mine".into();
        body["stream"] = "maybe".into();
        let got = world.post(&invocations("e"), &body).await;
        assert_eq!(got.status, 400);
        let settled = world.records.only();
        assert_eq!((settled.outcome, settled.status, settled.usage.is_none()), (Outcome::Refused, 400, true));
        assert_eq!(payload(world).response, Captured::Whole(got.text.into()));
        let admission = world.records.admissions().remove(0);
        assert_eq!(admission.client_request_id.as_deref(), Some("mine"));
        assert_eq!(
            (admission.path.as_str(), admission.usage_tracking),
            ("/serving-endpoints/e/invocations", true)
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_attached_without_bound_is_refused_and_not_on_record() {
    world(async |world| {
        with_table(world);
        world.chat("e", &[Entity::new("openai", "m")]);
        let many: serde_json::Map<String, _> = (0..1000).map(|at| (format!("k{at}"), json!("v"))).collect();
        for (field, value) in [
            ("client_request_id", json!("x".repeat(1 << 20))),
            ("usage_context", json!({"team": "x".repeat(1 << 20)})),
            ("usage_context", many.into()),
        ] {
            let mut body = chat(false);
            body[field] = value;
            let got = world.post(&invocations("e"), &body).await;
            assert_eq!(got.status, 400);
            assert!(got.error().1.contains(field), "{got:?}");
            let admission = world.records.admissions().pop().unwrap();
            assert!(admission.client_request_id.is_none() && admission.usage_context.len() <= 64);
        }
        assert!(world.ledger.requests().is_empty());
    })
    .await;
}

#[tokio::test]
async fn bodies_that_are_too_long_are_left_out_whole() {
    let setup = Setup {
        config: GatewayConfig { max_payload_bytes: 400, ..GatewayConfig::default() },
        ..Setup::default()
    };
    world_with(setup, async |world| {
        with_table(world);
        world.chat("e", &[Entity::new("openai", "m;chunks=50")]);
        assert_eq!(world.ask("e", true).await.status, 200);
        let kept = payload(world);
        assert!(matches!(kept.request, Captured::Whole(_)) && kept.response == Captured::TooLong);
        let long = json!({"messages": [{"role": "user", "content": "x".repeat(500)}]});
        assert_eq!(world.post(&invocations("e"), &long).await.status, 200);
        assert_eq!(payload(world).request, Captured::TooLong);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_leaves_what_it_got_on_record() {
    world(async |world| {
        with_table(world);
        world.chat("e", &[Entity::new("openai", "m;chunks=1000;chunk_ms=5")]);
        let mut running = world.open(&invocations("e"), &chat(true)).await;
        let got = running.until("tok-3").await;
        drop(running);
        let settled = world.settled(std::time::Duration::from_secs(5)).await;
        assert_eq!(settled.outcome, Outcome::Cancelled);
        let Captured::Whole(kept) = payload(world).response else { panic!("nothing is kept") };
        assert!(kept.starts_with(got.as_bytes()) || got.as_bytes().starts_with(&kept[..]), "{kept:?}");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_on_record_where_the_path_names_the_endpoint() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m")]);
        for (path, recorded) in [(invocations("e"), 1), ("/serving-endpoints/chat/completions".to_owned(), 1)]
        {
            let got = world.send(post(&path, TOKEN, "{not json".to_owned())).await.read().await;
            assert!(got.status == 400 && got.text.contains("no JSON object"), "{got:?}");
            assert_eq!(world.records.admissions().len(), recorded, "{path}");
        }
        assert_eq!(world.records.only().outcome, Outcome::Refused);
    })
    .await;
}
