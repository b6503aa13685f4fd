//! Clients that leave before the end.

use std::time::Duration;

use journal::{Outcome, Provenance};
use serde_json::json;
use simulator::State;
use tokio::time::Instant;

use crate::client::{chat, invocations};
use crate::raw::{End, Play, Raw};
use crate::timeouts::within_tries;
use crate::world::{CHAT, Entity, PROVIDERS, World, eventually, world};

/// Those that tell in a stream how long the prompt was before they end it.
const TELLING: [&str; 1] = ["anthropic"];

const SOON: Duration = Duration::from_millis(100);
const AT_LAST: Duration = Duration::from_secs(5);

/// Waits until the newest call of the upstream is over, and tells whether that took no more than [`SOON`].
async fn is_cancelled_soon(world: &World) -> bool {
    let since = Instant::now();
    world.upstream(State::Cancelled, AT_LAST).await;
    since.elapsed() <= SOON
}

#[tokio::test]
async fn a_client_that_leaves_in_the_stream_ends_the_call_and_pays_for_what_it_got() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;chunks=100;chunk_ms=20")]);
            within_tries(async || {
                let mut running = world.ask_running("e").await;
                running.until("tok-9 ").await;
                drop(running);
                is_cancelled_soon(world).await
            })
            .await;
            eventually(AT_LAST, async || world.records.settlements().pop()).await.unwrap();
            let settled = world.records.settlements().remove(0);
            assert_eq!((settled.outcome, settled.status), (Outcome::Cancelled, 499));
            assert_eq!((settled.entity.as_deref(), settled.attempts.len()), (Some("one"), 1));
            let usage = settled.usage.unwrap();
            assert_eq!(usage.usage.prompt_tokens, 5);
            // What is told of the prompt before the answer is taken; the rest is not known to anybody.
            let told = if TELLING.contains(&provider) { Provenance::Counted } else { Provenance::Estimated };
            assert_eq!(usage.provenance, told, "{provider}");
            assert_eq!(usage.tokens().total(), usage.usage.total_tokens);
            // Ten pieces of six characters, and what was under way.
            assert!((15..=25).contains(&usage.usage.completion_tokens), "{usage:?}");
            assert!(settled.bytes_out > 0 && settled.first_byte_ms.is_some());
            let sent = world.ledger.requests().remove(0);
            assert!(sent.chunks_sent < 30, "{sent:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_the_call() {
    for provider in PROVIDERS {
        for (stream, script) in [
            (false, "hang=headers"),
            (false, "hang=body"),
            (true, "hang=headers"),
            (true, "first_token_ms=60000"),
        ] {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, &format!("m;{script}"))]);
                within_tries(async || {
                    let seen = world.ledger.summary().total;
                    let socket = world.ask_and_wait("e", stream).await;
                    let arrived = async || (world.ledger.summary().total > seen).then_some(());
                    eventually(AT_LAST, arrived).await.unwrap();
                    drop(socket);
                    is_cancelled_soon(world).await
                })
                .await;
                eventually(AT_LAST, async || world.records.settlements().pop()).await.unwrap();
                let settled = world.records.settlements().remove(0);
                assert_eq!((settled.outcome, settled.status), (Outcome::Cancelled, 499), "{script}");
                assert_eq!(settled.entity.as_deref(), Some("one"));
                assert_eq!(settled.attempts.len(), 1);
                assert_eq!(settled.attempts[0].status, None);
                let usage = settled.usage.unwrap();
                assert_eq!((usage.provenance, usage.usage.prompt_tokens), (Provenance::Estimated, 5));
                assert_eq!((usage.usage.completion_tokens, settled.bytes_out), (0, 0));
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_fallback_ends_every_call() {
    world(async |world| {
        let entities = [
            Entity::new("openai", "fail-500").named("a", 100),
            Entity::new("openai", "m;hang=headers").named("b", 0),
            Entity::new("openai", "never").named("c", 0),
        ];
        world.endpoint("e", CHAT, true, &entities);
        within_tries(async || {
            let seen = world.ledger.summary().total;
            let socket = world.ask_and_wait("e", true).await;
            let second = async || (world.ledger.summary().total == seen + 2).then_some(());
            eventually(AT_LAST, second).await.unwrap();
            let settled = world.records.settlements().len();
            drop(socket);
            let soon = is_cancelled_soon(world).await;
            let record = async || (world.records.settlements().len() > settled).then_some(());
            eventually(AT_LAST, record).await.unwrap();
            let settled = world.records.last();
            assert_eq!((settled.outcome, settled.entity.as_deref()), (Outcome::Cancelled, Some("b")));
            let attempts: Vec<_> = settled.attempts.iter().map(|attempt| attempt.status).collect();
            assert_eq!(attempts, [Some(500), None]);
            let asked = world.ledger.summary();
            assert_eq!((asked.total, asked.open), (seen + 2, 0));
            soon
        })
        .await;
    })
    .await;
}

/// Many at once, each at another moment: one settlement each, and nothing is left running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_at_any_moment_leaves_one_settlement() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;chunks=10;chunk_ms=3")]);
        world.chat("a", &[Entity::new("anthropic", "m;chunks=10;chunk_ms=3")]);
        for round in 0..60_u64 {
            let endpoint = if round % 2 == 0 { "e" } else { "a" };
            let socket = world.ask_and_wait(endpoint, round % 3 != 0).await;
            tokio::time::sleep(Duration::from_micros(800 * round)).await;
            drop(socket);
        }
        let idle = async || (world.ledger.summary().open == 0).then_some(());
        eventually(AT_LAST, idle).await.unwrap();
        let outcomes: Vec<Outcome> = world.records.settlements().iter().map(|s| s.outcome).collect();
        assert!(
            outcomes.contains(&Outcome::Cancelled) && outcomes.contains(&Outcome::Completed),
            "{outcomes:?}"
        );
    })
    .await;
}

/// A client that has everything and then leaves has not cancelled.
#[tokio::test]
async fn leaving_after_the_last_byte_is_no_cancellation() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;chunks=3")]);
        let mut body = chat(true);
        body["usage_context"] = json!({});
        let mut running = world.open(&invocations("e"), &body).await;
        running.until("[DONE]").await;
        drop(running);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(world.records.only().outcome, Outcome::Completed);
    })
    .await;
}

/// What only counts is free, and a client that does not wait for it has used nothing.
#[tokio::test]
async fn leaving_before_a_count_is_there_costs_nothing() {
    world(async |world| {
        let raw = Raw::start(world, Play::default().end(End::Hang)).await;
        world.chat("e", &[Entity::new("anthropic", "m").at(raw.url.clone())]);
        let body = json!({"model": "e", "messages": [{"role": "user", "content": "hi"}]});
        let asked = world.post("/anthropic/v1/messages/count_tokens", &body);
        let gone = tokio::time::timeout(Duration::from_millis(300), asked).await;
        assert!(gone.is_err(), "{gone:?}");
        let settled = world.settled(AT_LAST).await;
        assert_eq!((settled.outcome, settled.status, settled.usage), (Outcome::Cancelled, 499, None));
    })
    .await;
}

/// Tokens of the first pieces of an answer, by the rule for those that nobody counted.
fn estimated(pieces: usize) -> u64 {
    let characters: usize = (0..pieces).map(|piece| format!("tok-{piece} ").len()).sum();
    (characters as u64 + 1) / 4
}

/// No less than what the client has read, and no more than what the upstream has sent.
#[tokio::test]
async fn what_was_delivered_is_what_is_counted_wherever_the_client_leaves() {
    for read in [10, 50, 90] {
        world(async |world| {
            world.chat("e", &[Entity::new("openai", "m;chunks=100;chunk_ms=10")]);
            let mut running = world.ask_running("e").await;
            running.until(&format!("tok-{} ", read - 1)).await;
            drop(running);
            let settled = world.settled(AT_LAST).await;
            world.upstream(State::Cancelled, AT_LAST).await;
            let sent = usize::try_from(world.ledger.requests().remove(0).chunks_sent).unwrap();
            let counted = settled.usage.unwrap().usage.completion_tokens;
            assert!(
                (estimated(read)..=estimated(sent)).contains(&counted),
                "{read} of {sent}: {counted} tokens"
            );
            assert!(sent < read + 20 && world.records.settlements().len() == 1, "{sent}");
        })
        .await;
    }
}
