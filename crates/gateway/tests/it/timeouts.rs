//! Upstreams that hang, and how long that is put up with.

use std::time::Duration;

use journal::Outcome;
use simulator::{Gate, State};

use crate::faults::served;
use crate::world::{CHAT, Entity, PROVIDERS, World, world};

/// A machine that is busy with something else makes one measurement late, not each of several.
pub(crate) async fn within_tries(attempt: impl AsyncFn() -> bool) {
    for _ in 0..5 {
        if attempt().await {
            return;
        }
    }
    panic!("late each time");
}

const LIMIT: Duration = Duration::from_millis(300);
/// By how much a limit may be missed.
const SLACK: Duration = Duration::from_millis(50);
/// What a call takes that waits for nobody.
const SHORT: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(1);

#[tokio::test]
async fn no_headers_within_the_first_byte_limit_is_504() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;hang=headers").timeouts(300, 10_000)]);
            for stream in [false, true] {
                within_tries(async || {
                    let got = world.ask("e", stream).await;
                    assert_eq!((got.status, got.error().0.as_str()), (504, "DEADLINE_EXCEEDED"), "{got:?}");
                    let said = got.provider_error();
                    let expected = "served entity one: no first byte within 300 ms";
                    assert_eq!(said, expected);
                    assert!(got.waited >= LIMIT, "{:?}", got.waited);
                    got.waited <= LIMIT + SLACK
                })
                .await;
            }
            let settled = world.records.last();
            assert_eq!((settled.outcome, settled.status), (Outcome::Failed, 504));
            world.upstream(State::Cancelled, SOON).await;
        })
        .await;
    }
}

/// The first event of a stream has the first byte's limit, headers or not.
#[tokio::test]
async fn no_first_event_within_the_first_byte_limit_is_504() {
    for provider in PROVIDERS {
        for script in ["first_token_ms=5000", "hang=answer"] {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, &format!("m;{script}")).timeouts(300, 10_000)]);
                within_tries(async || {
                    let got = world.ask("e", true).await;
                    assert_eq!(got.status, 504, "{got:?}");
                    assert!(got.waited >= LIMIT, "{:?}", got.waited);
                    got.waited <= LIMIT + SLACK
                })
                .await;
            })
            .await;
        }
    }
}

/// A model that thinks before it speaks is not cut off by the limit between two pieces.
#[tokio::test]
async fn the_idle_limit_starts_with_the_first_event() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;first_token_ms=400;chunks=2").timeouts(5000, 150)]);
            let got = world.ask("e", true).await;
            assert!(got.is_done(), "{provider}: {got:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_that_stops_ends_in_an_error_event() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;chunks=5;hang=body").timeouts(5000, 300)]);
            within_tries(async || {
                let got = world.ask("e", true).await;
                let error = got.stream_error();
                assert_eq!(error["code"], "DEADLINE_EXCEEDED", "{error}");
                assert!(got.text.contains("tok-0") && got.waited + got.took >= LIMIT, "{got:?}");
                got.took <= LIMIT + SLACK
            })
            .await;
            let settled = world.records.last();
            assert_eq!(settled.outcome, Outcome::Failed);
            assert!(settled.usage.unwrap().usage.completion_tokens > 0);
            world.upstream(State::Cancelled, SOON).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_slow_stream_that_goes_on_is_left_alone() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;chunks=8;chunk_ms=100").timeouts(400, 400)]);
        let got = world.ask("e", true).await;
        assert!(got.is_done() && got.took > LIMIT, "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn an_unstreamed_answer_that_stops_is_504() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;hang=body").timeouts(5000, 300)]);
            within_tries(async || {
                let got = world.ask("e", false).await;
                assert_eq!(got.status, 504, "{got:?}");
                assert!(got.waited >= LIMIT, "{:?}", got.waited);
                got.waited <= LIMIT + SLACK
            })
            .await;
        })
        .await;
    }
}

/// Hanging calls to one upstream cost the calls to another nothing.
#[tokio::test]
async fn hanging_calls_do_not_hold_up_others() {
    world(async |world| {
        let nowhere = world.gate(Gate::BlackHole).await;
        let stuck = [
            ("no-answer", Entity::new("openai", "m;hang=headers").timeouts(60_000, 60_000)),
            ("no-connection", Entity::new("openai", "m").at(nowhere.url()).connect(60_000)),
        ];
        world.chat("e", &[Entity::new("openai", "m")]);
        for (name, entity) in stuck {
            world.chat(name, &[entity]);
            let mut stuck = Vec::new();
            for _ in 0..200 {
                stuck.push(world.ask_and_wait(name, true).await);
            }
            within_tries(async || {
                let got = world.ask("e", true).await;
                assert!(got.is_done(), "{name}: {got:?}");
                got.waited + got.took <= SHORT
            })
            .await;
        }
    })
    .await;
}

/// The connection is made, and that is all.
#[tokio::test]
async fn no_answer_on_a_connection_within_the_first_byte_limit_is_504() {
    world(async |world| {
        let silent = world.gate(Gate::Hang).await;
        world.chat("e", &[Entity::new("openai", "m").at(silent.url()).timeouts(300, 10_000)]);
        for (stream, connections) in [(false, 1), (true, 2)] {
            let got = world.ask("e", stream).await;
            assert_eq!((got.status, silent.connections()), (504, connections), "{got:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn no_connection_within_its_limit_is_504() {
    world(async |world| {
        let nowhere = world.gate(Gate::BlackHole).await;
        world.chat("e", &[Entity::new("openai", "m").at(nowhere.url()).connect(300)]);
        for stream in [false, true] {
            within_tries(async || {
                let got = world.ask("e", stream).await;
                assert_eq!((got.status, got.error().0.as_str()), (504, "DEADLINE_EXCEEDED"), "{got:?}");
                let host = nowhere.addr;
                let expected = format!("served entity one: no connection to {host} within 300 ms");
                assert_eq!(got.provider_error(), expected);
                assert!(got.waited >= LIMIT, "{:?}", got.waited);
                got.waited <= LIMIT + SLACK
            })
            .await;
        }
    })
    .await;
}

/// When the first attempt of the last call ended, and when its second began.
fn handover(world: &World) -> (Duration, Duration) {
    let attempts = world.records.last().attempts;
    let ms = |ms: f64| Duration::from_secs_f64(ms / 1000.0);
    (ms(attempts[0].began_ms + attempts[0].duration_ms), ms(attempts[1].began_ms))
}

#[tokio::test]
async fn the_next_entity_is_asked_within_10_ms_of_the_limit() {
    world(async |world| {
        let nowhere = world.gate(Gate::BlackHole).await;
        let firsts = [
            || Entity::new("openai", "m;hang=headers").timeouts(300, 10_000),
            || Entity::new("openai", "m;first_token_ms=5000").timeouts(300, 10_000),
            || Entity::new("openai", "m").connect(300),
        ];
        for (at, first) in firsts.into_iter().enumerate() {
            within_tries(async || {
                let first = if at == 2 { first().at(nowhere.url()) } else { first() };
                let second = Entity::new("openai", "m").named("b", 0);
                world.endpoint("e", CHAT, true, &[first.named("a", 100), second]);
                let got = world.ask("e", true).await;
                assert_eq!((got.status, served(&got)), (200, "b"), "{got:?}");
                let (ended, next) = handover(world);
                assert!(ended >= LIMIT && got.waited >= LIMIT, "{ended:?}, {:?}", got.waited);
                ended <= LIMIT + SLACK && next.saturating_sub(ended) <= Duration::from_millis(10)
            })
            .await;
        }
    })
    .await;
}
