//! Streams in binary frames: cut, broken, too long, and in any pieces.

use serde_json::{Value, json};
use wire::eventstream::frame;
use wire::sse::Event;

use crate::client::Got;
use crate::raw::{Play, Raw};
use crate::world::{Entity, World, world};

fn event(name: &str, payload: Value) -> Vec<u8> {
    frame(&Event { name: name.to_owned(), data: payload.to_string().into() }).unwrap().to_vec()
}

fn delta(text: &str) -> Vec<u8> {
    event("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": text}}))
}

fn answer() -> Vec<Vec<u8>> {
    vec![
        event("messageStart", json!({"role": "assistant"})),
        delta("a"),
        event("xLater", json!({"x": [1]})),
        delta("ö😀"),
        event("contentBlockStop", json!({"contentBlockIndex": 0})),
        event("messageStop", json!({"stopReason": "end_turn"})),
        event("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}})),
    ]
}

async fn through<T: AsRef<[u8]>>(world: &World, pieces: &[T]) -> Got {
    let raw = Raw::start(world, Play::stream(pieces)).await;
    world.chat("e", &[Entity::new("amazon-bedrock", "m").at(&raw.url)]);
    world.ask("e", true).await
}

#[tokio::test]
async fn frames_may_come_in_any_pieces() {
    world(async |world| {
        let bytes = answer().concat();
        for size in [1, 7, 100, bytes.len()] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let got = through(world, &pieces).await;
            assert!(got.is_done() && got.streamed_text() == "aö😀", "{size}: {got:?}");
            assert_eq!(got.usage()["total_tokens"], 3, "{size}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_cut_within_or_between_frames_is_no_clean_end() {
    world(async |world| {
        let bytes = answer().concat();
        let stop = answer()[..5].concat().len();
        for length in [stop - 1, stop, stop + 1, bytes.len() - 1] {
            let got = through(world, &[&bytes[..length]]).await;
            got.stream_error();
        }
    })
    .await;
}

#[tokio::test]
async fn a_broken_checksum_is_an_error() {
    world(async |world| {
        let mut frames = answer();
        *frames[3].last_mut().unwrap() ^= 1;
        let got = through(world, &frames).await;
        assert!(got.stream_error()["message"].as_str().unwrap().contains("frame"), "{got:?}");
        assert!(got.text.contains("\"a\""), "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused_before_it_comes() {
    world(async |world| {
        let got = through(world, &[[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]]).await;
        assert_eq!(got.status, 502, "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn an_exception_is_a_status_while_nothing_was_said_and_an_event_after() {
    world(async |world| {
        let exception = event("exception:throttlingException", json!({"message": "slow down"}));
        let got = through(world, &[&exception]).await;
        assert_eq!((got.status, got.provider_error()["message"].clone()), (429, json!("slow down")));
        let got = through(world, &[&answer()[..2].concat(), &exception]).await;
        assert_eq!(got.stream_error()["message"], "slow down");
    })
    .await;
}
