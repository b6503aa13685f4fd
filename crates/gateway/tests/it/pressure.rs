//! Clients that read slowly or not at all, and many at once.

use std::time::Duration;

use journal::Outcome;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::raw::{Play, Raw};
use crate::world::{Entity, PROVIDERS, eventually, textual, world};

/// What the gateway may hold for one client that does not read.
const HELD: usize = 256 << 10;
const EVENTS: usize = 2560;
const TEXT: usize = 8 << 10;

/// A stream of 20 MiB.
fn long_stream(provider: &str) -> Play {
    let text = "x".repeat(TEXT);
    let (piece, last) = if provider == "anthropic" {
        let delta =
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        (format!("data: {delta}\n\n"), "data: {\"type\":\"message_stop\"}\n\n")
    } else if provider.starts_with("google") {
        let event = json!({"candidates": [{"content": {"parts": [{"text": text}]}}]});
        (format!("data: {event}\n\n"), "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n")
    } else if provider == "cohere" {
        let message = json!({"content": {"text": text}});
        let delta = json!({"type": "content-delta", "index": 0, "delta": {"message": message}});
        (format!("data: {delta}\n\n"), "data: {\"type\":\"message-end\",\"delta\":{}}\n\n")
    } else {
        let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        (format!("data: {chunk}\n\n"), "data: [DONE]\n\n")
    };
    let pieces: Vec<&str> = std::iter::repeat_n(piece.as_str(), EVENTS).chain([last]).collect();
    Play::stream(&pieces)
}

/// What the upstream could send, once that does not grow any more.
async fn stalled_at(raw: &Raw) -> usize {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = raw.written();
        if now > 0 && now == last {
            return now;
        }
        last = now;
    }
}

fn port(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

/// Bytes in the send and receive queues of all connections to and from these ports. How much the kernel
/// takes is its own affair, and another amount each time.
fn in_the_kernel(ports: &[u16]) -> usize {
    let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let port = |address: &str| hex(address.split_once(':').unwrap().1);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ours = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1).take(2);
        fields.any(|address| ports.iter().any(|wanted| port(address) == usize::from(*wanted)))
    };
    let queues = |line: &str| {
        let (send, receive) = line.split_whitespace().nth(4).unwrap().split_once(':').unwrap();
        hex(send) + hex(receive)
    };
    table.lines().skip(1).filter(ours).map(queues).sum()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_the_upstream() {
    for provider in textual() {
        world(async |world| {
            let raw = Raw::start(world, long_stream(provider)).await;
            world.chat("e", &[Entity::new(provider, "m").at(&raw.url)]);
            let mut socket = world.ask_and_wait("e", true).await;
            let written = stalled_at(&raw).await;
            let kernel = in_the_kernel(&[port(&raw.url), world.gateway.port()]);
            assert!(written < EVENTS * TEXT / 2, "{provider}: the upstream was not stopped at {written}");
            assert!(written < kernel + HELD, "{provider}: of {written} bytes {kernel} are in the kernel");
            // Then it reads, and gets everything.
            let (mut total, mut buffer, mut tail) = (0, vec![0; 1 << 16], Vec::new());
            while !tail.ends_with(b"0\r\n\r\n") {
                let read = socket.read(&mut buffer).await.unwrap();
                assert!(read > 0, "cut after {total}");
                total += read;
                tail.extend_from_slice(&buffer[..read]);
                tail.drain(..tail.len().saturating_sub(64));
            }
            assert!(total > EVENTS * TEXT, "{total}");
            assert_eq!(world.settled(Duration::from_secs(1)).await.outcome, Outcome::Completed);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_streams_do_not_slow_others() {
    world(async |world| {
        world.chat("big", &[Entity::new("openai", "m;content_bytes=1048576;chunks=200")]);
        world.chat("e", &[Entity::new("openai", "m")]);
        let mut stalled = Vec::new();
        for _ in 0..20 {
            stalled.push(world.ask_and_wait("big", true).await);
        }
        let all = async || (world.ledger.summary().total == 20).then_some(());
        eventually(Duration::from_secs(5), all).await.unwrap();
        crate::timeouts::within_tries(async || {
            let got = world.ask("e", true).await;
            assert!(got.is_done(), "{got:?}");
            got.waited + got.took < Duration::from_millis(200)
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_are_all_answered() {
    world(async |world| {
        for (at, provider) in PROVIDERS.into_iter().enumerate() {
            world.chat(&format!("e{at}"), &[Entity::new(provider, "m;chunks=20;chunk_ms=2")]);
        }
        let ask = |at: usize| async move {
            let got = world.ask(&format!("e{}", at % 3), at.is_multiple_of(2)).await;
            assert_eq!(got.status, 200, "{got:?}");
            assert!(!at.is_multiple_of(2) || got.is_done(), "{got:?}");
        };
        let mut all: Vec<_> = (0..100).map(|at| Box::pin(ask(at))).collect();
        std::future::poll_fn(|cx| {
            all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
            if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        assert_eq!(world.records.settlements().len(), 100);
    })
    .await;
}
