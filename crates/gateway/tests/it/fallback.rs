//! Which entity is asked, which after it, and when no other is.

use std::time::Duration;

use journal::Outcome;
use simulator::{Gate, State};

use crate::client::Got;
use crate::raw::{End, Play, Raw};
use crate::world::{CHAT, Entity, PROVIDERS, World, world};

fn served(got: &Got) -> &str {
    got.headers.get("served-model-name").map_or("", |name| name.to_str().unwrap())
}

fn attempts(world: &World) -> Vec<(String, Option<u16>)> {
    let attempts = world.records.last().attempts;
    attempts.iter().map(|attempt| (attempt.entity.to_string(), attempt.status)).collect()
}

#[tokio::test]
async fn what_is_the_provider_s_fault_goes_to_the_next() {
    let scripts = [
        ("status=429", Some(429)),
        ("status=500", Some(500)),
        ("status=503", Some(503)),
        ("status=529", Some(529)),
        ("malformed", None),
        ("hang=headers", None),
        ("html", Some(502)),
    ];
    for provider in PROVIDERS {
        for stream in [false, true] {
            world(async |world| {
                for (script, status) in scripts {
                    let first = Entity::new(provider, &format!("m;{script}")).named("a", 100);
                    let first = first.timeouts(200, 200);
                    world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
                    let got = world.ask("e", stream).await;
                    // A malformed event after a good one is too late.
                    if got.status == 200 && served(&got) == "a" {
                        assert!(stream && script == "malformed");
                        got.stream_error();
                        continue;
                    }
                    assert_eq!((got.status, served(&got)), (200, "b"), "{script}: {got:?}");
                    assert_eq!(attempts(world), [("a".into(), status), ("b".into(), Some(200))]);
                    let settled = world.records.last();
                    assert_eq!((settled.outcome, settled.entity.as_deref()), (Outcome::Completed, Some("b")));
                    assert!(!got.headers.contains_key("retry-after"));
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_dead_upstream_and_a_denied_address_go_to_the_next() {
    world(async |world| {
        for base in [
            world.gate(Gate::Closed).await.url(),
            "http://127.0.0.2:9".to_owned(),
            "http://no-such-host.invalid".to_owned(),
        ] {
            let first = Entity::new("openai", "m").named("a", 100).at(base);
            world.endpoint("e", CHAT, true, &[first, Entity::new("anthropic", "m").named("b", 0)]);
            let got = world.ask("e", true).await;
            assert_eq!((served(&got), got.is_done()), ("b", true), "{got:?}");
            assert_eq!(attempts(world), [("a".into(), None), ("b".into(), Some(200))]);
        }
    })
    .await;
}

#[tokio::test]
async fn an_error_as_the_first_event_goes_to_the_next() {
    for provider in PROVIDERS {
        world(async |world| {
            for script in ["error_after=0", "cut_after=0", "first_token_ms=5000"] {
                let first = Entity::new(provider, &format!("m;{script}")).named("a", 100).timeouts(200, 200);
                world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
                let got = world.ask("e", true).await;
                assert_eq!((served(&got), got.is_done()), ("b", true), "{provider} {script}: {got:?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn after_the_first_byte_there_is_no_other() {
    for provider in PROVIDERS {
        world(async |world| {
            for script in ["error_after=1", "cut_after=1", "hang=body"] {
                let first = Entity::new(provider, &format!("m;chunks=3;{script}")).named("a", 100);
                let first = first.timeouts(2000, 200);
                world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "second").named("b", 0)]);
                let got = world.ask("e", true).await;
                assert_eq!((got.status, served(&got)), (200, "a"), "{got:?}");
                got.stream_error();
                assert_eq!(attempts(world), [("a".into(), Some(200))]);
            }
            assert!(world.ledger.requests().iter().all(|record| record.model.as_deref() != Some("second")));
        })
        .await;
    }
}

#[tokio::test]
async fn the_caller_s_fault_stays_with_the_first() {
    world(async |world| {
        for status in [400, 401, 403, 404, 422] {
            let first = Entity::new("openai", &format!("m;status={status}")).named("a", 100);
            world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
            assert_eq!(world.ask("e", false).await.status, status);
            assert_eq!(attempts(world), [("a".into(), Some(status))]);
        }
    })
    .await;
}

#[tokio::test]
async fn without_fallback_there_is_one_attempt() {
    world(async |world| {
        world.chat(
            "e",
            &[Entity::new("openai", "fail-500").named("a", 100), Entity::new("openai", "m").named("b", 0)],
        );
        assert_eq!(world.ask("e", false).await.status, 500);
        assert_eq!(attempts(world), [("a".into(), Some(500))]);
    })
    .await;
}

#[tokio::test]
async fn the_order_is_that_of_the_entities_and_the_last_answer_counts() {
    world(async |world| {
        let failing = |name: &str, percentage, status| {
            Entity::new("openai", &format!("m;status={status};retry_after=3")).named(name, percentage)
        };
        let entities =
            [failing("a", 0, 500), failing("b", 0, 502), failing("c", 100, 429), failing("d", 0, 503)];
        world.endpoint("e", CHAT, true, &entities);
        let got = world.ask("e", false).await;
        assert_eq!((got.status, got.headers["retry-after"].as_bytes()), (503, &b"3"[..]));
        let order: Vec<String> = attempts(world).into_iter().map(|(entity, _)| entity).collect();
        assert_eq!(order, ["c", "a", "b", "d"]);
        assert_eq!(world.records.last().entity.as_deref(), Some("d"));
        assert_eq!(world.records.admissions().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_next_starts_at_the_limit_of_the_first() {
    world(async |world| {
        let first = Entity::new("openai", "m;hang=headers").named("a", 100).timeouts(150, 5000);
        world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
        crate::timeouts::within_tries(async || {
            let got = world.ask("e", false).await;
            assert!(served(&got) == "b" && got.waited >= Duration::from_millis(150), "{got:?}");
            got.waited <= Duration::from_millis(250)
        })
        .await;
        world.upstream(State::Completed, Duration::from_secs(1)).await;
        let left = world.ledger.requests().remove(0);
        assert_eq!(left.state, State::Cancelled, "the hanging call is not held any longer");
    })
    .await;
}

/// The body goes whole to the second, though the first has read it.
#[tokio::test]
async fn each_attempt_sends_the_same_request() {
    world(async |world| {
        let first = Entity::new("openai", "fail-500").named("a", 100);
        world.endpoint("e", CHAT, true, &[first, Entity::new("custom", "m").named("b", 0)]);
        assert_eq!(world.ask("e", false).await.status, 200);
        let sent = world.ledger.requests();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0].body["messages"], sent[1].body["messages"]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_broke_is_not_used_again() {
    world(async |world| {
        let good = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
        let raw = Raw::with(world, move |at| match at % 2 {
            0 => Play::whole("200 OK", "", good).end(End::Close),
            _ => Play::whole("200 OK", "", good).end(End::Reset),
        })
        .await;
        world.chat("e", &[Entity::new("custom", "m").at(&raw.url)]);
        for _ in 0..20 {
            assert_eq!(world.ask("e", false).await.status, 200);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!((raw.requests(), raw.connections()), (20, 20));
    })
    .await;
}

#[tokio::test]
async fn traffic_is_split_by_percentage() {
    world(async |world| {
        let entity = |name: &str, percentage| Entity::new("openai", "m").named(name, percentage);
        world.chat("e", &[entity("a", 80), entity("b", 20), entity("c", 0)]);
        let mut counts = [0; 3];
        for _ in 0..400 {
            let got = world.ask("e", false).await;
            counts[["a", "b", "c"].iter().position(|name| *name == served(&got)).unwrap()] += 1;
        }
        // Six standard deviations of a binomial of 400 and 0.8 are 48.
        assert!((272..=368).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    })
    .await;
}
