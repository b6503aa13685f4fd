//! Upstreams that compress what they were asked to send as it is.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::raw::{End, Play, Raw};
use crate::world::{Entity, world};

const ANSWER: &str = r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"höre"},"finish_reason":"stop"}]}"#;
const STREAM: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hö\"}}]}\n\n\
    data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"re\"},\"finish_reason\":\"stop\"}]}\n\n\
    data: [DONE]\n\n";

fn packed(encoding: &str, text: &str) -> Vec<u8> {
    if encoding == "gzip" {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    } else {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }
}

/// An answer of `bytes`, each `size` of them written on their own.
fn play(status: &str, encoding: &str, bytes: &[u8], size: usize) -> Play {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    );
    let pieces = bytes.chunks(size).map(<[u8]>::to_vec);
    Play { pieces: std::iter::once(head.into_bytes()).chain(pieces).collect(), ..Play::default() }
}

#[tokio::test]
async fn answers_errors_and_streams_are_read_wherever_they_are_cut() {
    for encoding in ["gzip", "deflate"] {
        for size in [1, 7, 100_000] {
            world(async |world| {
                let ask = async |status: &str, text: &str, stream: bool| {
                    let raw = Raw::start(world, play(status, encoding, &packed(encoding, text), size)).await;
                    world.chat("e", &[Entity::new("openai", "m").at(&raw.url)]);
                    world.ask("e", stream).await
                };
                let got = ask("200 OK", ANSWER, false).await;
                assert_eq!(got.json()["choices"][0]["message"]["content"], "höre");
                assert!(!got.headers.contains_key("content-encoding"));
                let got = ask("200 OK", STREAM, true).await;
                assert!(got.is_done(), "{got:?}");
                assert_eq!(got.streamed_text(), "höre");
                let got = ask("429 Slow", r#"{"error":{"message":"slow down"}}"#, true).await;
                assert_eq!(
                    (got.status, &got.provider_error()["error"]["message"]),
                    (429, &json!("slow down"))
                );
            })
            .await;
        }
    }
}

#[tokio::test]
async fn what_cannot_be_inflated_is_502() {
    let whole = packed("gzip", ANSWER);
    let cut = play("200 OK", "gzip", &whole[..whole.len() - 9], 100_000);
    for play in
        [play("200 OK", "br", &whole, 100_000), play("200 OK", "gzip", ANSWER.as_bytes(), 100_000), cut]
    {
        world(async |world| {
            let raw = Raw::start(world, play.clone().end(End::Close)).await;
            world.chat("e", &[Entity::new("openai", "m").at(&raw.url)]);
            let got = world.ask("e", false).await;
            assert_eq!(got.status, 502, "{got:?}");
            assert!(got.text.contains("compressed"), "{got:?}");
        })
        .await;
    }
}

/// A thousand times as long when inflated: refused, not kept.
#[tokio::test]
async fn a_body_that_inflates_to_far_more_is_refused() {
    world(async |world| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..80 {
            encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
        }
        let raw = Raw::start(world, play("200 OK", "gzip", &encoder.finish().unwrap(), 100_000)).await;
        world.chat("e", &[Entity::new("openai", "m").at(&raw.url)]);
        let got = world.ask("e", false).await;
        assert_eq!(got.status, 502);
        assert!(got.text.contains("more than 100 times as long"), "{got:?}");
    })
    .await;
}
