//! A client that leaves is seen.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tollgate_simulator::State;

use crate::harness::{Bench, CHAT, MESSAGES, chat, messages};

const SOON: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn leaving_in_the_middle_of_a_stream_is_seen() {
    let bench = Bench::start();
    let mut body = bench.open(CHAT, &chat("echo;chunks=1000;chunk_ms=20", true)).await.into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
    }
    bench.newest(State::Open, SOON).await;
    drop(body);
    let record = bench.newest(State::Cancelled, AT_ONCE).await;
    assert!(record.chunks_sent >= 1 && record.chunks_sent < 1_000);
    assert_eq!(record.status, Some(200));
    assert!(record.finished_at_ms.is_some());
}

#[tokio::test]
async fn leaving_a_silent_stream_is_seen() {
    let bench = Bench::start();
    let mut body = bench.open(MESSAGES, &messages("echo;hang=body", true)).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    bench.newest(State::Cancelled, AT_ONCE).await;
}

#[tokio::test]
async fn leaving_before_the_headers_is_seen() {
    let bench = Bench::start();
    for model in ["echo;hang=headers", "echo;latency_ms=60000"] {
        let body = chat(model, true).to_string();
        let mut socket = TcpStream::connect(bench.addr).await.unwrap();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body.as_bytes()).await.unwrap();
        let open = bench.newest(State::Open, SOON).await;
        assert_eq!((open.model.as_deref(), open.status), (Some(model), None));
        drop(socket);
        let record = bench.newest(State::Cancelled, AT_ONCE).await;
        assert_eq!(record.status, None);
    }
    assert_eq!(bench.ledger.summary().cancelled, 2);
}
