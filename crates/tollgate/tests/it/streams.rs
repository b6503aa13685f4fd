//! A thousand streams through the demo, all open at once.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::demo::{Demo, assert_calm};
use crate::world::client::Answer;
use crate::world::{PATIENCE, World, chat_config};

const STREAMS: u64 = 1000;
const CHUNKS: usize = 64;

/// An unoptimised build may take longer to open them all than the first stream takes to end: there the first
/// chunk waits.
const SCRIPT: &str = if cfg!(debug_assertions) {
    "echo;chunks=64;chunk_ms=20;first_token_ms=6000"
} else {
    "echo;chunks=64;chunk_ms=20"
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once() {
    let world = World::alone().await;
    assert_descriptors();
    let demo = Demo::start(&world, &[]).await;
    demo.client.create("thousand", &chat_config(&demo.simulator, SCRIPT)).await;
    let began = Instant::now();
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let client = demo.client.clone();
        streams.spawn(async move { client.ask_running("thousand").await.read().await });
    }
    let finished = tokio::time::timeout(Duration::from_secs(60), streams.join_all()).await.expect("too slow");
    println!("{STREAMS} streams after {:?}", began.elapsed());
    let expected: String = (0..CHUNKS).map(|chunk| format!("tok-{chunk} ")).collect();
    for answer in &finished {
        compare(answer, &expected);
    }
    let summary = demo.upstream().get("/_ledger/summary").await.json();
    println!("{summary}");
    for (count, wanted) in
        [("peak_open", STREAMS), ("completed", STREAMS), ("cancelled", 0), ("total", STREAMS)]
    {
        assert_eq!(summary[count], wanted, "{count}: {summary}");
    }
    let metrics = demo.client.get("/metrics").await.text;
    let counted = metrics.lines().find(|line| line.starts_with("tollgate_requests_total{"));
    assert!(
        counted.is_some_and(|line| line.ends_with(" 1000") && line.contains("status=\"200\"")),
        "{metrics}"
    );
    let done = demo.process.stop().await;
    assert_calm(&done.stderr);
}

/// A connection that finds no room in the backlog is tried again after a second: so none may have to.
#[tokio::test]
async fn a_burst_of_connections_is_taken() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    // Nothing is accepted while all of them come.
    server.process.signal("STOP").await;
    let mut connecting: JoinSet<_> =
        (0..600).map(|_| tokio::net::TcpStream::connect(server.client.address)).collect();
    let connected = async {
        let mut connections = Vec::new();
        while let Some(connection) = connecting.join_next().await {
            connections.push(connection.unwrap().unwrap());
        }
        connections
    };
    let connections = tokio::time::timeout(PATIENCE, connected).await.expect("the backlog is too short");
    server.process.signal("CONT").await;
    assert_eq!(connections.len(), 600);
    assert!(server.client.is_known().await);
}

fn compare(answer: &Answer, expected: &str) {
    assert!(answer.status == 200 && !answer.broke && answer.is_done(), "{answer:?}");
    assert_eq!(answer.streamed_text(), expected);
    let events = answer.events();
    let texts = events.iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str());
    assert_eq!(texts.filter(|text| !text.is_empty()).count(), CHUNKS, "chunks must stay apart");
    let finished =
        events.iter().filter(|event| event.pointer("/choices/0/finish_reason").is_some_and(|r| r == "stop"));
    assert_eq!(finished.count(), 1);
    let usage = events.iter().rev().find_map(|event| event.get("usage").filter(|usage| usage.is_object()));
    let usage = usage.unwrap_or_else(|| panic!("no usage: {answer:?}"));
    assert_eq!(usage["completion_tokens"], expected.len().div_ceil(4));
}

/// This process holds one connection a stream.
fn assert_descriptors() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let open = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: Option<u64> = open.split_whitespace().nth(3).and_then(|soft| soft.parse().ok());
    assert!(
        soft.is_none_or(|soft| soft > STREAMS + 100),
        "raise the limit of open files: `ulimit -n 8192`; {open}"
    );
}
