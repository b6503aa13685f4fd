//! Entities that fail are left alone, found to be well again, and the right party is blamed.

use std::time::Duration;

use policy::circuit::{Blame, State};
use policy::runtime::{CircuitView, Explain};
use tokio::time::Instant;

use crate::client::Got;
use crate::raw::{Play, Raw};
use crate::world::{CHAT, Entity, World, eventually, world};

fn served(got: &Got) -> &str {
    got.headers.get("served-model-name").map_or("", |name| name.to_str().unwrap())
}

fn circuit(world: &World, at: usize) -> CircuitView {
    world.plane.circuits(&world.published("e"))[at].clone()
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
