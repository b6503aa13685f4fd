//! Answers and connections that are broken, as the simulator breaks them: one clean error, nothing of what was
//! broken in it, a record, and no connection that is used again.

use journal::Outcome;
use simulator::Gate;

use crate::client::Got;
use crate::faults::served;
use crate::world::{CHAT, Entity, PROVIDERS, World, textual, world};

/// Those after which there is no answer at all.
const NO_ANSWER: [&str; 4] = ["reset", "close", "garbage", "empty"];
/// Those in which there is a part of one.
const A_PART: [&str; 4] = ["reset_body", "long_length", "short_length", "cut_event"];

fn one_error(world: &World, got: &Got, case: &str) {
    assert_eq!((got.status, got.error().0.as_str()), (502, "INTERNAL_ERROR"), "{case}: {got:?}");
    let said = got.provider_error();
    assert!(said.as_str().is_some_and(|text| text.starts_with("served entity one: ")), "{case}: {said}");
    // What the simulator would have answered.
    assert!(!got.text.contains("mir zu") && !got.text.contains("SSH"), "{case}: {}", got.text);
    let settled = world.records.last();
    assert_eq!((settled.outcome, settled.status), (Outcome::Failed, 502), "{case}");
}

/// The next call is answered, and by a connection of its own.
async fn is_not_used_again(world: &World, provider: &'static str, case: &str) {
    world.chat("next", &[Entity::new(provider, "m")]);
    let broken = world.ledger.requests().pop().unwrap().connection;
    assert_eq!(world.ask("next", false).await.status, 200, "{case}");
    assert_ne!(world.ledger.requests().pop().unwrap().connection, broken, "{case}");
}

#[tokio::test]
async fn a_broken_answer_is_502_and_its_connection_is_not_used_again() {
    for provider in PROVIDERS {
        world(async |world| {
            for fault in NO_ANSWER.into_iter().chain(A_PART) {
                world.chat("e", &[Entity::new(provider, &format!("m;fault={fault}"))]);
                let case = format!("{provider} {fault}");
                one_error(world, &world.ask("e", false).await, &case);
                if fault != "empty" {
                    is_not_used_again(world, provider, &case).await;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_that_never_begins_is_502() {
    for provider in PROVIDERS {
        world(async |world| {
            for fault in NO_ANSWER {
                world.chat("e", &[Entity::new(provider, &format!("m;fault={fault}"))]);
                one_error(world, &world.ask("e", true).await, &format!("{provider} {fault}"));
            }
        })
        .await;
    }
}

/// A whole stream, or the beginning of one and an error: never a 200 that ends without a word.
#[tokio::test]
async fn a_broken_stream_ends_in_one_error() {
    for provider in PROVIDERS {
        world(async |world| {
            // These two are of text; `frames` has the same of binary frames.
            let of_text = ["end_early", "cut_rune"].into_iter().filter(|_| provider != "amazon-bedrock");
            for fault in A_PART.into_iter().chain(of_text) {
                let model = format!("m;answer=a%20na%C3%AFve%20stream;fault={fault}");
                world.chat("e", &[Entity::new(provider, &model)]);
                let got = world.ask("e", true).await;
                let case = format!("{provider} {fault}: {got:?}");
                let settled = world.records.last();
                // More was announced than came, and all that matters came.
                if fault == "long_length" && got.is_done() {
                    assert_eq!(
                        (got.streamed_text().as_str(), settled.outcome),
                        ("a naïve stream", Outcome::Completed),
                        "{case}"
                    );
                } else if got.status == 502 {
                    one_error(world, &got, &case);
                } else {
                    got.stream_error();
                    assert_eq!((settled.outcome, settled.status), (Outcome::Failed, 200), "{case}");
                    assert!("a naïve stream".starts_with(&got.streamed_text()), "{case}");
                }
                assert_eq!(settled.usage.is_some(), got.status == 200, "{case}");
            }
        })
        .await;
    }
}

/// What is odd and not wrong is a stream like any other, usage and all.
#[tokio::test]
async fn odd_streams_are_whole() {
    for provider in textual() {
        world(async |world| {
            let script = "m;answer=a%20na%C3%AFve%20stream;chunk_ms=0";
            world.chat("e", &[Entity::new(provider, script)]);
            let plain = world.ask("e", true).await;
            for fault in ["mixed_lines", "drip", "wrong_type"] {
                world.chat("e", &[Entity::new(provider, &format!("{script};fault={fault}"))]);
                let got = world.ask("e", true).await;
                assert!(got.is_done(), "{provider} {fault}: {got:?}");
                assert_eq!(got.streamed_text(), "a naïve stream", "{provider} {fault}");
                assert_eq!(got.events().len(), plain.events().len(), "{provider} {fault}");
                let usages: Vec<_> = world.records.settlements().iter().map(|s| s.usage.clone()).collect();
                assert_eq!(usages.last(), usages.first(), "{provider} {fault}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn an_event_of_ten_mebibytes_passes() {
    for provider in ["openai", "anthropic", "google"] {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;content_bytes=10485760;chunks=1")]);
            let got = world.ask("e", true).await;
            assert!(got.is_done());
            assert_eq!(got.streamed_text().len(), 10 << 20);
        })
        .await;
    }
}

#[tokio::test]
async fn a_bomb_is_refused_for_what_it_would_come_to() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;fault=gzip_bomb")]);
        for stream in [false, true] {
            let got = world.ask("e", stream).await;
            one_error(world, &got, "bomb");
            assert!(got.text.contains("more than 100 times as long"), "{got:?}");
        }
    })
    .await;
}

/// Each fault before the first byte goes to the next entity, which answers as if it had been asked alone.
#[tokio::test]
async fn what_breaks_before_the_first_byte_is_served_by_the_next() {
    world(async |world| {
        let gates = [world.gate(Gate::Closed).await, world.gate(Gate::Reset).await];
        let second = || Entity::new("openai", "well").named("b", 0);
        let scripted = NO_ANSWER.iter().chain(&["gzip_bomb"]);
        let firsts = scripted.map(|fault| Entity::new("openai", &format!("m;fault={fault}")));
        let unreached = gates.iter().map(|gate| Entity::new("openai", "m").at(gate.url()));
        for first in firsts.chain(unreached) {
            world.endpoint("e", CHAT, true, &[first.named("a", 100), second()]);
            for stream in [false, true] {
                let got = world.ask("e", stream).await;
                assert_eq!((got.status, served(&got)), (200, "b"), "{got:?}");
                assert!(!stream || got.is_done(), "{got:?}");
                let attempts = world.records.last().attempts;
                assert_eq!(attempts.len(), 2, "{attempts:?}");
            }
        }
        assert!(gates[0].connections() == 0 && gates[1].connections() == 2);
    })
    .await;
}
