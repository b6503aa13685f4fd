//! Many calls at once, of clients that leave at moments drawn from a seed, to upstreams of every kind of luck: what
//! is on record, what limits hold and what the upstreams saw agree in the end.

use std::time::Duration;

use futures_util::future::join_all;
use journal::{Outcome, Provenance};
use policy::guardrails::Protocol;
use policy::limits::Measure;
use serde_json::json;
use simulator::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{chat, invocations};
use crate::judges::{judge, says, set};
use crate::limits::standing_of;
use crate::world::{CHAT, Entity, TOKEN, World, eventually, world};

const AT_LAST: Duration = Duration::from_secs(20);
const PROVIDERS: [&str; 4] = ["openai", "anthropic", "google", "cohere"];

/// What an upstream does, and whether that is an answer.
const SCRIPTS: [(&str, bool); 6] = [
    ("latency_ms=15;chunks=4", true),
    ("first_token_ms=15;chunks=4", true),
    ("chunks=10;chunk_ms=3", true),
    ("latency_ms=10;status=500", false),
    ("latency_ms=10;malformed", false),
    ("chunks=10;chunk_ms=2;cut_after=5", false),
];

/// An endpoint for each kind of luck, and whether what is left is read on there.
fn endpoints(world: &World) -> Vec<(String, bool, bool)> {
    let limits = json!([{"renewal_period": "minute", "tokens": 100_000_000, "concurrent_calls": 10_000}]);
    let mut names = Vec::new();
    for judged in [false, true] {
        if judged {
            let settings = judge(world, Protocol::LlamaGuard);
            world.chat("judge", &[says("safe")]);
            set(world, settings, json!({"input": {"safety": true}, "output": {"safety": true}}));
        }
        for (at, provider) in PROVIDERS.into_iter().enumerate() {
            for (nth, (script, answers)) in SCRIPTS.into_iter().enumerate() {
                for drains in [false, true] {
                    let what = if drains { "drain" } else { "cancel" };
                    let entity = |name: &str, script: &str, percentage| {
                        let model = format!("{what};{script}");
                        Entity::new(provider, &model).named(name, percentage).on_disconnect(what)
                    };
                    let entities = [entity("a", script, 100), entity("b", "latency_ms=5", 0)];
                    let name = format!("e-{judged}-{at}-{nth}-{what}");
                    world.limited(&name, CHAT, true, &limits, &entities);
                    names.push((name, drains, answers));
                }
            }
        }
    }
    names
}

/// Asks, and leaves after so long or stays to the end.
async fn call(world: &World, endpoint: &str, stream: bool, leaves: Option<Duration>) {
    let (path, body) = (invocations(endpoint), chat(stream).to_string());
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {TOKEN}\r\nconnection: close");
    let mut socket = TcpStream::connect(world.gateway).await.unwrap();
    let request = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Whatever comes, or nothing.
    let _ = tokio::time::timeout(leaves.unwrap_or(AT_LAST), socket.read_to_end(&mut answer)).await;
}

/// Waits until nothing is under way any more.
async fn rest(world: &World) {
    let is_over = async || {
        let is_settled = world.records.settlements().len() == world.records.admissions().len();
        (is_settled && world.ledger.summary().open == 0).then_some(())
    };
    eventually(AT_LAST, is_over).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_clients_leave_records_limits_and_upstreams_agree() {
    world(async |world| {
        let endpoints = endpoints(world);
        fastrand::seed(20_261_127);
        // Fewer at once than there is room for to be read on.
        for some in endpoints.chunks(24).cycle().take(12) {
            let calls = some.iter().flat_map(|(name, ..)| [(name, false), (name, true)]);
            join_all(calls.map(|(name, stream)| {
                let leaves =
                    (fastrand::u8(0..4) > 0).then(|| Duration::from_micros(fastrand::u64(0..40_000)));
                call(world, name, stream, leaves)
            }))
            .await;
            rest(world).await;
        }
        for (name, drains, answers) in &endpoints {
            check(world, name, *drains, *answers).await;
        }
        let left = |record: &simulator::Record| {
            record.model.as_deref().is_some_and(|model| model.starts_with("drain"))
        };
        let cancelled = |record: &simulator::Record| record.state == State::Cancelled;
        assert!(!world.ledger.requests().iter().any(|record| left(record) && cancelled(record)));
        assert!(world.ledger.requests().iter().any(cancelled));
    })
    .await;
}

async fn check(world: &World, name: &str, drains: bool, answers: bool) {
    let settled = world.records.settled();
    let mut used = 0;
    for (_, settlement) in settled.iter().filter(|(admission, _)| &*admission.endpoint == name) {
        let case = format!("{name}: {settlement:?}");
        used += settlement.usage.as_ref().map_or(0, |usage| usage.tokens().total());
        assert_eq!(settlement.outcome == Outcome::Cancelled, settlement.status == 499, "{case}");
        let last = settlement.attempts.last();
        if drains && answers && last.is_some_and(|last| last.status == Some(200)) {
            let counted = settlement.usage.as_ref().expect(&case);
            assert_eq!(counted.provenance, Provenance::Provider, "{case}");
        }
    }
    assert_eq!(standing_of(world, name, Measure::Tokens).await.used, used, "{name}");
    assert_eq!(standing_of(world, name, Measure::ConcurrentCalls).await.used, 0, "{name}");
}
