//! Upstreams that hang, and how long that is put up with.

use std::time::Duration;

use journal::Outcome;
use simulator::State;

use crate::world::{Entity, PROVIDERS, world};

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
const SLACK: Duration = Duration::from_millis(100);

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
            world.upstream(State::Cancelled, SLACK * 10).await;
        })
        .await;
    }
}

/// The first event of a stream has the first byte's limit, headers or not.
#[tokio::test]
async fn no_first_event_within_the_first_byte_limit_is_504() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;first_token_ms=5000").timeouts(300, 10_000)]);
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
            world.upstream(State::Cancelled, SLACK * 10).await;
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
        world.chat("stuck", &[Entity::new("openai", "m;hang=headers").timeouts(60_000, 60_000)]);
        world.chat("e", &[Entity::new("openai", "m")]);
        let mut stuck = Vec::new();
        for _ in 0..200 {
            stuck.push(world.ask_and_wait("stuck", true).await);
        }
        within_tries(async || {
            let got = world.ask("e", true).await;
            assert!(got.is_done(), "{got:?}");
            got.waited + got.took <= SLACK
        })
        .await;
    })
    .await;
}
