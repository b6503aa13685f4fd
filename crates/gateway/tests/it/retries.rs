//! Entities that are passed over, and those that are asked again.

use std::time::Duration;

use journal::Outcome;
use serde_json::json;
use tollgate_gateway::{GatewayConfig, Retries};

use crate::client::{chat, invocations};
use crate::raw::{Play, Raw};
use crate::world::{CHAT, Entity, Setup, World, world, world_with};

const GOOD: &str = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

pub(crate) fn attempts(world: &World) -> Vec<(String, Option<u16>)> {
    let attempts = world.records.last().attempts;
    attempts.iter().map(|attempt| (attempt.entity.to_string(), attempt.status)).collect()
}

/// Asks for two answers at once, which not every format can say.
pub(crate) async fn ask_for_two(world: &World, endpoint: &str) -> crate::client::Got {
    let mut body = chat(false);
    body["n"] = 2.into();
    world.post(&invocations(endpoint), &body).await
}

#[tokio::test]
async fn an_entity_that_cannot_say_what_is_asked_is_passed_over() {
    world(async |world| {
        let unable = |name: &str, percentage| Entity::new("anthropic", "m").named(name, percentage);
        let able = |name: &str, script: &str| Entity::new("openai", &format!("m;{script}")).named(name, 0);
        world.endpoint("e", CHAT, true, &[unable("a", 100), able("b", "status=500"), able("c", "")]);
        let got = ask_for_two(world, "e").await;
        assert_eq!((got.status, got.headers["served-model-name"].as_bytes()), (200, &b"c"[..]), "{got:?}");
        assert_eq!(attempts(world), [("b".into(), Some(500)), ("c".into(), Some(200))]);
        // What failed tells more than what could not be asked.
        world.endpoint("e", CHAT, true, &[able("b", "status=503"), unable("a", 100)]);
        assert_eq!(ask_for_two(world, "e").await.status, 503);
        world.endpoint("e", CHAT, true, &[unable("a", 100), unable("b", 0)]);
        let got = ask_for_two(world, "e").await;
        assert_eq!((got.status, got.error().0.as_str()), (400, "INVALID_PARAMETER_VALUE"));
        assert!(got.error().1.starts_with("n:"), "{got:?}");
        let settled = world.records.last();
        assert_eq!((settled.outcome, settled.attempts.len()), (Outcome::Refused, 0));
        // Without fallbacks it is the one that the traffic goes to.
        world.endpoint("e", CHAT, false, &[unable("a", 100), able("c", "")]);
        assert_eq!(ask_for_two(world, "e").await.status, 400);
    })
    .await;
}

pub(crate) fn retrying(most: u32, longest_wait: Duration) -> Setup {
    let config = GatewayConfig { retries: Retries { most, longest_wait }, ..GatewayConfig::default() };
    Setup { config, ..Setup::default() }
}

#[tokio::test]
async fn an_entity_is_asked_again_where_that_is_configured() {
    world_with(retrying(2, Duration::from_secs(2)), async |world| {
        let raw = Raw::with(world, |at| match at {
            0 => Play::whole("503 Service Unavailable", "", "{}"),
            1 => Play::whole("429 Too Many Requests", "retry-after: 1\r\n", "{}"),
            _ => Play::whole("200 OK", "", GOOD),
        })
        .await;
        world.chat("e", &[Entity::new("custom", "m").at(&raw.url)]);
        let got = world.ask("e", false).await;
        assert!(got.status == 200 && got.waited >= Duration::from_secs(1), "{got:?}");
        let one = |status| ("one".to_owned(), Some(status));
        assert_eq!(attempts(world), [one(503), one(429), one(200)]);
    })
    .await;
}

#[tokio::test]
async fn who_asks_for_a_long_wait_and_whose_fault_it_is_not_are_not_asked_again() {
    world_with(retrying(3, Duration::from_millis(500)), async |world| {
        for (script, calls) in [("status=429;retry_after=5", 1), ("status=400", 1), ("status=500", 4)] {
            let before = world.ledger.requests().len();
            world.chat("e", &[Entity::new("openai", &format!("m;{script}"))]);
            assert_ne!(world.ask("e", false).await.status, 200);
            assert_eq!(world.ledger.requests().len() - before, calls, "{script}");
        }
    })
    .await;
}

/// The next entity's turn comes after the retries of the one before.
#[tokio::test]
async fn retries_come_before_the_next_entity() {
    world_with(retrying(1, Duration::from_millis(10)), async |world| {
        let first = Entity::new("openai", "m;status=500").named("a", 100);
        world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
        assert_eq!(world.ask("e", true).await.status, 200);
        let a = ("a".to_owned(), Some(500));
        assert_eq!(attempts(world), [a.clone(), a, ("b".to_owned(), Some(200))]);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_while_a_retry_waits_ends_it() {
    world_with(retrying(5, Duration::from_secs(2)), async |world| {
        world.chat("e", &[Entity::new("openai", "m;status=429;retry_after=2")]);
        let waiting = world.ask_and_wait("e", false).await;
        let asked = async || (!world.ledger.requests().is_empty()).then_some(());
        crate::world::eventually(Duration::from_secs(2), asked).await.unwrap();
        drop(waiting);
        let settled = world.settled(Duration::from_secs(1)).await;
        assert_eq!((settled.outcome, settled.attempts.len()), (Outcome::Cancelled, 1));
        assert_eq!(json!(settled.attempts[0].status), json!(429));
        assert_eq!(settled.usage, None, "nobody has its prompt");
    })
    .await;
}
