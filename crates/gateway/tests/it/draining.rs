//! Clients that leave, where the upstream is read on for its own count.

use std::time::Duration;

use futures_util::future::join_all;
use journal::{Outcome, Provenance, Settlement};
use policy::guardrails::Protocol;
use serde_json::json;
use simulator::State;
use tokio::time::Instant;
use tollgate_gateway::{GatewayConfig, Retries};

use crate::judges::{judge, says, set};
use crate::raw::{End, Play, Raw};
use crate::timeouts::within_tries;
use crate::world::{CHAT, Entity, PROVIDERS, Setup, World, eventually, world, world_with};

const AT_LAST: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_upstream_is_read_to_its_end_for_its_own_count() {
    for provider in PROVIDERS {
        world(async |world| {
            let entity = || Entity::new(provider, "m;chunks=40;chunk_ms=5");
            world.chat("whole", &[entity()]);
            world.chat("left", &[entity().on_disconnect("drain")]);
            let mut whole = world.ask_running("whole").await;
            whole.until("tok-39").await;
            let told = eventually(AT_LAST, async || world.records.settlements().pop()).await.unwrap();
            let mut left = world.ask_running("left").await;
            left.until("tok-3 ").await;
            drop(left);
            let second = async || world.records.settlements().get(1).cloned();
            let settled = eventually(AT_LAST, second).await.unwrap();
            assert_eq!((settled.outcome, settled.status), (Outcome::Cancelled, 499), "{provider}");
            // Some are not asked to count their streams, and what came is estimated as ever.
            if ["openai", "anthropic", "cohere", "amazon-bedrock", "google"].contains(&provider) {
                assert_eq!(told.usage.as_ref().unwrap().provenance, Provenance::Provider, "{provider}");
            }
            assert_eq!(settled.usage, told.usage, "{provider}");
            assert!(
                world.ledger.requests().iter().all(|record| record.state != State::Cancelled),
                "{provider}"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn an_upstream_that_fails_after_the_client_left_is_counted_as_far_as_it_came() {
    world(async |world| {
        let entity = Entity::new("openai", "m;chunks=40;chunk_ms=5;cut_after=10");
        world.chat("e", &[entity.on_disconnect("drain")]);
        let mut left = world.ask_running("e").await;
        left.until("tok-3 ").await;
        drop(left);
        let settled = world.settled(AT_LAST).await;
        let usage = settled.usage.unwrap();
        assert_eq!((settled.outcome, usage.provenance), (Outcome::Cancelled, Provenance::Estimated));
        // Ten pieces of six characters.
        assert_eq!(usage.tokens().output(), 15);
    })
    .await;
}

/// Where a call waits when its client leaves.
const BEFORE_ANYTHING: [(bool, &str); 4] = [
    (false, "latency_ms=300"),
    (false, "first_token_ms=300"),
    (true, "latency_ms=300;chunks=5"),
    (true, "first_token_ms=300;chunks=5"),
];

/// Asks `endpoint`, and leaves when the upstream has it.
async fn leave(world: &World, endpoint: &str, stream: bool) {
    let seen = world.ledger.summary().total;
    let socket = world.ask_and_wait(endpoint, stream).await;
    eventually(AT_LAST, async || (world.ledger.summary().total > seen).then_some(())).await.unwrap();
    drop(socket);
}

/// The settlement after `count` others.
async fn settlement(world: &World, count: usize) -> Settlement {
    eventually(AT_LAST, async || world.records.settlements().get(count).cloned()).await.unwrap()
}

#[tokio::test]
async fn an_answer_of_which_nothing_had_come_is_waited_for_too() {
    let of = |provider: &'static str, (stream, script): (bool, &'static str)| {
        world(async move |world| {
            let entity = || Entity::new(provider, &format!("m;{script}"));
            world.chat("whole", &[entity()]);
            world.chat("left", &[entity().on_disconnect("drain")]);
            assert_eq!(world.ask("whole", stream).await.status, 200);
            let told = settlement(world, 0).await;
            leave(world, "left", stream).await;
            let settled = settlement(world, 1).await;
            assert_eq!((settled.outcome, settled.status), (Outcome::Cancelled, 499), "{provider} {script}");
            assert_eq!(settled.usage, told.usage, "{provider} {script}");
            assert!(settled.usage.unwrap().tokens().output() > 0, "{provider} {script}");
            assert_eq!((settled.attempts.len(), settled.attempts[0].status), (1, Some(200)));
            assert_eq!((settled.bytes_out, settled.first_byte_ms), (0, None), "nobody got anything");
            let asked = world.ledger.requests();
            assert!(asked.iter().all(|one| one.state != State::Cancelled), "{provider} {script}");
        })
    };
    for case in BEFORE_ANYTHING {
        join_all(PROVIDERS.map(|provider| of(provider, case))).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_collected_is_read_on_and_not_judged() {
    world(async |world| {
        let settings = judge(world, Protocol::LlamaGuard);
        world.chat("judge", &[says("safe")]);
        world.chat("whole", &[Entity::new("openai", "m;chunks=20;chunk_ms=20")]);
        assert_eq!(world.ask("whole", true).await.status, 200);
        set(world, settings, json!({"output": {"safety": true}}));
        let entity = Entity::new("openai", "m;chunks=20;chunk_ms=20");
        world.chat("left", &[entity.on_disconnect("drain")]);
        let socket = world.ask_and_wait("left", true).await;
        let begun =
            async || world.ledger.requests().pop().filter(|one| one.chunks_sent > 3 && one.chunks_sent < 15);
        eventually(AT_LAST, begun).await.unwrap();
        drop(socket);
        let settled = settlement(world, 1).await;
        let usage = settled.usage.clone().unwrap();
        assert_eq!((settled.outcome, usage.provenance), (Outcome::Cancelled, Provenance::Provider));
        assert_eq!(settled.usage, settlement(world, 0).await.usage);
        assert_eq!(world.ledger.requests().len(), 2, "no judge is asked for what nobody hears");
    })
    .await;
}

#[tokio::test]
async fn the_same_without_draining_is_cancelled() {
    world(async |world| {
        // Another entity is read on; this one is not.
        let other = Entity::new("openai", "other").named("b", 0).on_disconnect("drain");
        world.chat("e", &[Entity::new("openai", "m;hang=headers"), other]);
        within_tries(async || {
            leave(world, "e", false).await;
            let since = Instant::now();
            world.upstream(State::Cancelled, AT_LAST).await;
            since.elapsed() <= Duration::from_millis(100)
        })
        .await;
        let settled = settlement(world, 0).await;
        assert_eq!(
            (settled.outcome, settled.usage.unwrap().provenance),
            (Outcome::Cancelled, Provenance::Estimated)
        );
    })
    .await;
}

#[tokio::test]
async fn nothing_is_tried_any_more_for_a_client_that_has_left() {
    let config = GatewayConfig {
        retries: Retries { most: 2, longest_wait: Duration::from_secs(1) },
        ..GatewayConfig::default()
    };
    for stream in [false, true] {
        world_with(Setup { config: config.clone(), ..Setup::default() }, async |world| {
            let failing = Entity::new("openai", "m;latency_ms=200;status=500").on_disconnect("drain");
            let entities = [failing.named("a", 100), Entity::new("openai", "never").named("b", 0)];
            world.endpoint("e", CHAT, true, &entities);
            leave(world, "e", stream).await;
            let settled = settlement(world, 0).await;
            assert_eq!((settled.outcome, settled.status, settled.usage), (Outcome::Cancelled, 499, None));
            assert_eq!((settled.attempts.len(), settled.attempts[0].status), (1, Some(500)));
            world.plane.finish(AT_LAST).await;
            assert_eq!(world.ledger.requests().len(), 1);
        })
        .await;
    }
}

/// Of what breaks off, or cannot be read, nobody tells what the prompt cost.
#[tokio::test]
async fn an_answer_that_fails_after_the_client_left_is_estimated() {
    for stream in [false, true] {
        world(async |world| {
            let entity = Entity::new("openai", "m;latency_ms=200;malformed").on_disconnect("drain");
            world.chat("e", &[entity]);
            leave(world, "e", stream).await;
            let settled = world.settled(AT_LAST).await;
            let usage = settled.usage.unwrap();
            assert_eq!((settled.outcome, usage.provenance), (Outcome::Cancelled, Provenance::Estimated));
            assert_eq!((usage.tokens().input(), usage.tokens().output()), (5, 0));
        })
        .await;
    }
}

/// The room for those that go on alone is bounded, and the end of the server waits for them, for a while.
#[tokio::test]
async fn without_room_the_upstream_is_left_and_at_the_end_so_are_those_that_do_not_end() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;hang=headers").on_disconnect("drain")]);
        for _ in 0..64 {
            leave(world, "e", false).await;
        }
        // A connection ends when its server sees it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(world.records.settlements().is_empty());
        leave(world, "e", false).await;
        let settled = world.settled(AT_LAST).await;
        assert_eq!(
            (settled.outcome, settled.usage.unwrap().provenance),
            (Outcome::Cancelled, Provenance::Estimated)
        );
        assert_eq!(world.ledger.summary().open, 64);
        world.plane.finish(Duration::from_millis(100)).await;
        let settled = world.records.settlements();
        assert_eq!(settled.len(), 65);
        assert!(
            settled.iter().all(|one| one.usage.as_ref().is_some_and(|usage| usage.tokens().input() == 5))
        );
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_server_waits_for_an_answer_that_nobody_hears() {
    for (stream, script) in BEFORE_ANYTHING {
        world(async |world| {
            world.chat("e", &[Entity::new("openai", &format!("m;{script}")).on_disconnect("drain")]);
            leave(world, "e", stream).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(world.records.settlements().is_empty());
            world.plane.finish(AT_LAST).await;
            assert_eq!(world.records.only().usage.unwrap().provenance, Provenance::Provider);
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_hears_is_given_up_when_it_gets_too_long() {
    world(async |world| {
        let piece = "x".repeat(1 << 20);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60000000\r\n\r\n{\"choices\":\"";
        let pieces = std::iter::once(head.to_owned()).chain(std::iter::repeat_n(piece, 40));
        let play = Play { pieces: pieces.map(String::into_bytes).collect(), ..Play::default() };
        let raw = Raw::start(world, play.pause(Duration::from_millis(5)).end(End::Hang)).await;
        world.chat("e", &[Entity::new("openai", "m").at(&raw.url).on_disconnect("drain")]);
        let socket = world.ask_and_wait("e", false).await;
        eventually(AT_LAST, async || (raw.written() > 1 << 20).then_some(())).await.unwrap();
        drop(socket);
        let settled = world.settled(AT_LAST).await;
        assert_eq!((settled.outcome, settled.usage.unwrap().provenance), (Outcome::Cancelled, Provenance::Estimated));
        assert!(raw.written() < 30 << 20, "{}", raw.written());
    })
    .await;
}

/// A counterpart to a call that was heard: what was reserved and not used is free again.
#[tokio::test]
async fn what_was_reserved_for_an_answer_that_nobody_hears_is_settled_with_its_count() {
    let remaining = async |world: &World| {
        let got = world.ask("e", false).await;
        let value = |name: &str| got.headers[name].to_str().unwrap().parse::<u64>().unwrap();
        (value("x-ratelimit-remaining-requests"), value("x-ratelimit-remaining-tokens"))
    };
    let mut stood = Vec::new();
    for has_left in [false, true] {
        world(async |world| {
            let limits = json!([{"renewal_period": "minute", "calls": 10, "tokens": 100_000}]);
            let entity = Entity::new("openai", "m;latency_ms=200").on_disconnect("drain");
            world.limited("e", CHAT, false, &limits, &[entity]);
            match has_left {
                true => leave(world, "e", false).await,
                false => assert_eq!(world.ask("e", false).await.status, 200),
            }
            let settled = settlement(world, 0).await;
            assert_eq!(settled.usage.unwrap().provenance, Provenance::Provider);
            stood.push(remaining(world).await);
        })
        .await;
    }
    assert_eq!(stood[0], stood[1]);
    assert_eq!(stood[0].0, 8);
}
