//! Entities that fail are left alone, found to be well again, and the right party is blamed.

use std::time::Duration;

use http::Method;
use policy::circuit::{Blame, State};
use policy::runtime::{CircuitView, Explain};
use serde_json::json;
use tokio::time::Instant;

use crate::client::Got;
use crate::raw::{Play, Raw};
use crate::retries::{ask_for_two, attempts, retrying};
use crate::world::{CHAT, Entity, TOKEN, World, eventually, world, world_with};

fn served(got: &Got) -> &str {
    got.headers.get("served-model-name").map_or("", |name| name.to_str().unwrap())
}

fn circuit(world: &World, at: usize) -> CircuitView {
    world.plane.circuits(&world.published("e"))[at].clone()
}

/// Waits until the circuit of an entity lets a probe through.
pub(crate) async fn ready(world: &World, endpoint: &str, at: usize) {
    let ready = async || {
        let circuit = world.plane.circuits(&world.published(endpoint))[at].clone();
        (circuit.probe_in == Some(Duration::ZERO)).then_some(())
    };
    eventually(Duration::from_secs(5), ready).await.unwrap();
}

fn asked(world: &World, model: &str) -> usize {
    let requests = world.ledger.requests();
    requests.iter().filter(|record| record.model.as_deref().is_some_and(|m| m.starts_with(model))).count()
}

fn pair(world: &World, script: &str) {
    let first = Entity::new("openai", &format!("first;{script}")).named("a", 100).timeouts(100, 100);
    world.endpoint("e", CHAT, true, &[first, Entity::new("anthropic", "second").named("b", 0)]);
}

/// Everything is served by the second, and the first is asked at most once a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_429_is_served_by_the_next_and_probed_once_a_second() {
    world(async |world| {
        for script in ["status=429", "status=429;retry_after=1"] {
            pair(world, script);
            let began = Instant::now();
            let (mut calls, mut waits) = (0, Vec::new());
            // One finds out.
            assert_eq!(served(&world.ask("e", false).await), "b");
            let before = asked(world, "first");
            while began.elapsed() < Duration::from_millis(2_500) {
                let batch =
                    futures_util::future::join_all((0..10).map(|at| world.ask("e", at % 2 == 0))).await;
                calls += batch.len();
                for got in &batch {
                    assert_eq!((got.status, served(got)), (200, "b"), "{got:?}");
                    waits.push(got.waited);
                }
            }
            let probes = asked(world, "first") - before;
            let seconds = began.elapsed().as_secs() + 1;
            assert!(
                (1..=seconds).contains(&(probes as u64)),
                "{probes} probes in {seconds} s, {calls} calls"
            );
            assert_eq!(circuit(world, 0).blame, Some(Blame::Quota));
            assert_eq!(circuit(world, 1), CircuitView::CLOSED);
            waits.sort_unstable();
            assert!(calls >= 50, "{calls} calls are no storm");
        }
    })
    .await;
}

#[tokio::test]
async fn each_failure_blames_its_party() {
    world(async |world| {
        for (script, blame) in [
            ("status=401", Blame::Key),
            ("status=403", Blame::Key),
            ("status=404", Blame::Model),
            ("status=500", Blame::Provider),
            ("hang=headers", Blame::Provider),
            ("malformed", Blame::Provider),
        ] {
            pair(world, script);
            for _ in 0..5 {
                assert_eq!(circuit(world, 0).state, State::Closed, "{script}");
                world.ask("e", false).await;
            }
            let view = circuit(world, 0);
            assert_eq!((view.state, view.blame, view.failures), (State::Open, Some(blame), 5), "{script}");
            // Also what gave no fallback before: the caller is served by another.
            assert_eq!(served(&world.ask("e", false).await), "b", "{script}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_credential_that_is_not_given_blames_the_key() {
    world(async |world| {
        let first = Entity::new("google-cloud-vertex-ai", "m").secret("refused").named("a", 100);
        world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
        for _ in 0..5 {
            assert_eq!(served(&world.ask("e", false).await), "b");
        }
        assert_eq!(circuit(world, 0).blame, Some(Blame::Key));
    })
    .await;
}

#[tokio::test]
async fn the_caller_s_faults_open_nothing() {
    world(async |world| {
        pair(world, "status=400");
        for _ in 0..10 {
            assert_eq!(world.ask("e", false).await.status, 400);
        }
        assert_eq!(circuit(world, 0), CircuitView::CLOSED);
    })
    .await;
}

#[tokio::test]
async fn an_entity_that_is_well_again_is_asked_again() {
    world(async |world| {
        let good = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
        let raw = Raw::with(world, move |at| match at {
            0..5 => Play::whole("500 Internal Server Error", "", "{}"),
            _ => Play::whole("200 OK", "", good),
        })
        .await;
        let first = Entity::new("custom", "m").named("a", 100).at(&raw.url);
        world.endpoint("e", CHAT, true, &[first, Entity::new("anthropic", "m").named("b", 0)]);
        for _ in 0..5 {
            assert_eq!(served(&world.ask("e", false).await), "b");
        }
        assert_eq!(circuit(world, 0).state, State::Open);
        let well = async || (served(&world.ask("e", false).await) == "a").then_some(());
        assert!(eventually(Duration::from_secs(3), well).await.is_some());
        assert_eq!(circuit(world, 0), CircuitView::CLOSED);
        for _ in 0..5 {
            assert_eq!(served(&world.ask("e", false).await), "a");
        }
    })
    .await;
}

#[tokio::test]
async fn when_every_circuit_is_open_all_are_asked_in_order() {
    world(async |world| {
        let entity = |name: &str, percentage| {
            Entity::new("openai", &format!("{name};status=429;retry_after=9")).named(name, percentage)
        };
        world.endpoint("e", CHAT, true, &[entity("a", 100), entity("b", 0)]);
        for _ in 0..3 {
            let got = world.ask("e", false).await;
            assert_eq!((got.status, got.headers["retry-after"].as_bytes()), (429, &b"9"[..]));
            let order: Vec<String> =
                world.records.last().attempts.iter().map(|attempt| attempt.entity.to_string()).collect();
            assert_eq!(order, ["a", "b"]);
        }
        world.endpoint("one", CHAT, false, &[entity("c", 100)]);
        for calls in 1..=8 {
            assert_eq!(world.ask("one", false).await.status, 429);
            assert_eq!(asked(world, "c"), calls, "there is no other");
        }
    })
    .await;
}

#[tokio::test]
async fn another_key_begins_with_a_closed_circuit() {
    world(async |world| {
        let entities = |secret| {
            let first = Entity::new("openai", "m;status=401").secret(secret).named("a", 100);
            [first, Entity::new("openai", "m").named("b", 0)]
        };
        world.endpoint("e", CHAT, true, &entities("key"));
        for _ in 0..5 {
            assert_eq!(world.ask("e", false).await.status, 401);
        }
        assert_eq!(circuit(world, 0).state, State::Open);
        world.endpoint("e", CHAT, true, &entities("wrong"));
        assert_eq!(circuit(world, 0), CircuitView::CLOSED);
    })
    .await;
}

const COUNT: &str = "/anthropic/v1/messages/count_tokens";

async fn count(world: &World) -> Got {
    world.post(COUNT, &json!({"model": "e", "messages": [{"role": "user", "content": "hi"}]})).await
}

#[tokio::test]
async fn what_is_counted_here_is_no_attempt_and_closes_nothing() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;status=500")]);
        for _ in 0..5 {
            assert_eq!(world.ask("e", false).await.status, 500);
        }
        let before = circuit(world, 0);
        assert_eq!(count(world).await.status, 200);
        let settled = world.records.last();
        assert_eq!((settled.attempts.len(), settled.entity.as_deref()), (0, Some("one")));
        assert!(settled.model.is_some());
        assert_eq!((circuit(world, 0).state, circuit(world, 0).failures), (before.state, 5));
        ready(world, "e", 0).await;
        assert_eq!(count(world).await.status, 200);
        assert_eq!(circuit(world, 0).state, State::Open, "it takes no probe");
    })
    .await;
}

#[tokio::test]
async fn what_uses_nothing_says_nothing_of_an_upstream() {
    world(async |world| {
        for (status, told, recorded) in [("500 No", 500, 500), ("404 No", 200, 404)] {
            let raw = Raw::start(world, Play::whole(status, "", r#"{"error":{"message":"m"}}"#)).await;
            world.chat("e", &[Entity::new("anthropic", "m").at(&raw.url)]);
            for _ in 0..6 {
                assert_eq!(count(world).await.status, told);
                let attempts = attempts(world);
                assert_eq!(
                    attempts,
                    [("one".to_owned(), Some(recorded))],
                    "a call of an upstream is on record"
                );
            }
            assert_eq!(circuit(world, 0), CircuitView::CLOSED, "{status}");
        }
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        let path = "/openai/v1/responses";
        let made = world.post(path, &json!({"model": "e", "input": "hi"})).await.json();
        let kept = format!("{path}/{}", made["id"].as_str().unwrap());
        assert_eq!(crate::stored::call(world, Method::DELETE, &kept, TOKEN).await.status, 200);
        for _ in 0..6 {
            assert_eq!(crate::stored::get(world, &kept).await.status, 404);
            assert_eq!(attempts(world), [("one".to_owned(), Some(404))]);
        }
        assert_eq!(circuit(world, 0), CircuitView::CLOSED);
    })
    .await;
}

#[tokio::test]
async fn an_entity_whose_secret_is_gone_is_passed_over_and_its_key_blamed() {
    world(async |world| {
        let gone = Entity::new("openai", "m").secret("gone").named("a", 100);
        world.endpoint("e", CHAT, true, &[gone, Entity::new("openai", "m").named("b", 0)]);
        for _ in 0..5 {
            let got = world.ask("e", false).await;
            assert_eq!((got.status, served(&got)), (200, "b"), "{got:?}");
            assert_eq!(attempts(world), [("b".to_owned(), Some(200))], "nobody was called for it");
        }
        assert_eq!((circuit(world, 0).state, circuit(world, 0).blame), (State::Open, Some(Blame::Key)));
        let both = |second: Entity| [Entity::new("openai", "m").secret("gone").named("a", 100), second];
        world.endpoint("e", CHAT, true, &both(Entity::new("openai", "m;status=503").named("b", 0)));
        assert_eq!(world.ask("e", false).await.status, 503);
        world.endpoint("e", CHAT, true, &both(Entity::new("openai", "m").secret("gone").named("b", 0)));
        let got = world.ask("e", false).await;
        assert_eq!((got.status, got.error().0.as_str()), (400, "INVALID_PARAMETER_VALUE"), "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn a_probe_is_one_call_whatever_retries_are_configured() {
    world_with(retrying(3, Duration::from_millis(10)), async |world| {
        pair(world, "status=429");
        assert_eq!(served(&world.ask("e", false).await), "b");
        ready(world, "e", 0).await;
        let before = asked(world, "first");
        assert_eq!(served(&world.ask("e", false).await), "b");
        assert_eq!(asked(world, "first") - before, 1);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_cannot_be_said_takes_no_probe() {
    world(async |world| {
        let first = Entity::new("anthropic", "m;status=429").named("a", 100);
        world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
        assert_eq!(served(&world.ask("e", false).await), "b");
        ready(world, "e", 0).await;
        assert_eq!(served(&ask_for_two(world, "e").await), "b");
        let view = circuit(world, 0);
        assert_eq!((view.state, view.probe_in), (State::Open, Some(Duration::ZERO)));
        // So that the next call is the probe.
        assert_eq!(world.ask("e", false).await.status, 200);
        assert_eq!(attempts(world), [("a".to_owned(), Some(429)), ("b".to_owned(), Some(200))]);
    })
    .await;
}
