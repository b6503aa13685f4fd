//! Every script key, the three ways to give a script, and pacing under load.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tollgate_simulator::{SCRIPT_HEADER, Simulator, State};

use crate::harness::{Bench, CHAT, Got, MESSAGES, chat, messages, read};

const SOON: Duration = Duration::from_secs(5);

fn chunk_texts(got: &Got) -> Vec<String> {
    let events = got.events();
    let texts = events.iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str());
    texts.filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn pauses_are_kept() {
    let bench = Bench::start();
    let started = Instant::now();
    let response =
        bench.open(CHAT, &chat("echo;latency_ms=100;first_token_ms=150;chunks=6;chunk_ms=30", true)).await;
    let headers = started.elapsed();
    assert!(headers >= Duration::from_millis(100), "{headers:?}");
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    let first = started.elapsed();
    assert!(first >= Duration::from_millis(250), "{first:?}");
    while body.frame().await.is_some() {}
    let all = started.elapsed();
    assert!(all >= Duration::from_millis(400), "{all:?}");

    let started = Instant::now();
    bench.post(MESSAGES, &messages("echo;chunks=11;tokens_per_second=100", true)).await;
    assert!(started.elapsed() >= Duration::from_millis(100));
    let started = Instant::now();
    bench.post(CHAT, &chat("slow-model", false)).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn texts_are_exact() {
    let bench = Bench::start();
    let numbered = bench.post(CHAT, &chat("echo;chunks=3", true)).await;
    assert_eq!(chunk_texts(&numbered), ["tok-0 ", "tok-1 ", "tok-2 "]);
    let said = |answer: Value| answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(said(bench.post(CHAT, &chat("echo;answer=a%3Bb", false)).await.json()), "a;b");
    assert_eq!(said(bench.post(CHAT, &chat("echo;content_bytes=5000", false)).await.json()).len(), 5_000);
}

#[tokio::test]
async fn statuses_have_the_error_of_the_provider() {
    let bench = Bench::start();
    let limited = bench.post(CHAT, &chat("echo;status=429;retry_after=7", true)).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.headers["retry-after"], "7");
    assert_eq!(limited.json()["error"]["code"], "rate_limit_exceeded");
    let named = bench.post(CHAT, &chat("fail-429", false)).await;
    assert_eq!((named.status.as_u16(), &named.headers["retry-after"]), (429, &"1".parse().unwrap()));
    let failed = bench.post(MESSAGES, &messages("fail-500", false)).await;
    assert_eq!(failed.json()["error"]["type"], "api_error");
    let empty = bench.post(CHAT, &chat("echo;status=204", false)).await;
    assert_eq!(empty.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.newest(State::Completed, SOON).await.status, Some(204));
}

#[tokio::test]
async fn broken_answers_are_broken() {
    let bench = Bench::start();
    for (path, whole, stream) in [
        (CHAT, chat("echo;malformed", false), chat("echo;malformed", true)),
        (MESSAGES, messages("echo;malformed", false), messages("echo;malformed", true)),
    ] {
        let whole = bench.post(path, &whole).await;
        assert_eq!(whole.status, StatusCode::OK);
        assert!(!whole.broke && serde_json::from_str::<Value>(&whole.text).is_err());
        let stream = bench.post(path, &stream).await;
        let data = stream.text.lines().filter_map(|line| line.strip_prefix("data: "));
        let data = data.filter(|data| *data != "[DONE]");
        assert_eq!(data.filter(|data| serde_json::from_str::<Value>(data).is_err()).count(), 1);
    }
    let page = bench.post(CHAT, &chat("echo;html", true)).await;
    assert_eq!(
        (page.status, &page.headers["content-type"]),
        (StatusCode::BAD_GATEWAY, &"text/html".parse().unwrap())
    );
    assert_eq!(bench.post(CHAT, &chat("echo;html;status=200", true)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn streams_are_cut_after_the_chunk_asked_for() {
    let bench = Bench::start();
    for after in [0, 1, 3] {
        let model = format!("echo;chunks=5;cut_after={after}");
        let cut = bench.post(CHAT, &chat(&model, true)).await;
        assert!(cut.broke, "{model}");
        assert_eq!(chunk_texts(&cut).len(), after);
        assert!(!cut.text.contains("finish_reason\":\"stop"));
        let record = bench.newest(State::Completed, SOON).await;
        assert_eq!(record.chunks_sent, after as u64);
    }
    let whole = bench.post(CHAT, &chat("echo;cut_after=1", false)).await;
    assert!(whole.broke && !whole.text.is_empty());
    let named = bench.post(CHAT, &chat("fail-stream", true)).await;
    assert!(named.broke);
    assert_eq!(chunk_texts(&named).len(), 2);
    assert!(!bench.post(CHAT, &chat("fail-stream", false)).await.broke);
}

#[tokio::test]
async fn streams_end_with_an_error_event() {
    let bench = Bench::start();
    let failed = bench.post(CHAT, &chat("echo;chunks=5;error_after=2", true)).await;
    assert_eq!(chunk_texts(&failed).len(), 2);
    assert_eq!(failed.events().last().unwrap()["error"]["type"], "server_error");
    assert!(!failed.broke && !failed.text.contains("[DONE]"));
    let failed = bench.post(MESSAGES, &messages("echo;error_after=0", true)).await;
    assert_eq!(failed.events().len(), 1);
    assert_eq!(failed.events()[0]["error"]["type"], "overloaded_error");
    assert!(failed.text.starts_with("event: error\n"));
}

#[tokio::test]
async fn usage_and_terminator_can_be_left_out() {
    let bench = Bench::start();
    let silent = "echo;no_usage;no_done";
    assert_eq!(bench.post(CHAT, &chat(silent, false)).await.json().get("usage"), None);
    assert_eq!(bench.post(MESSAGES, &messages(silent, false)).await.json().get("usage"), None);
    let stream = bench.post(CHAT, &chat(silent, true)).await;
    assert!(!stream.broke && !stream.text.contains("[DONE]") && !stream.text.contains("\"usage\""));
    let stream = bench.post(MESSAGES, &messages(silent, true)).await;
    assert!(!stream.text.contains("event: message_stop") && !stream.text.contains("\"usage\""));
}

#[tokio::test]
async fn hanging_bodies_send_the_first_chunk() {
    let bench = Bench::start();
    for stream in [true, false] {
        let mut body = bench.open(CHAT, &chat("echo;chunks=5;hang=body", stream)).await.into_body();
        let first = body.frame().await.unwrap().unwrap();
        assert!(first.is_data());
        let more = tokio::time::timeout(Duration::from_millis(50), async {
            while let Some(Ok(_)) = body.frame().await {}
        });
        assert!(more.await.is_err(), "the body ended");
        let record = bench.newest(State::Open, SOON).await;
        assert_eq!(record.chunks_sent, 1);
    }
}

#[tokio::test]
async fn the_header_wins_over_posted_over_the_name() {
    let bench = Bench::start();
    let model = "echo;status=500";
    let posted = json!({"model": model, "script": "status=503"});
    assert_eq!(bench.post(CHAT, &chat(model, false)).await.status.as_u16(), 500);
    assert_eq!(bench.post("/_script", &posted).await.status, StatusCode::OK);
    assert_eq!(bench.post(CHAT, &chat(model, false)).await.status.as_u16(), 503);
    let by_header = bench.post_with(CHAT, SCRIPT_HEADER, "status=200;chunks=1", &chat(model, false)).await;
    assert_eq!(by_header.json()["choices"][0]["message"]["content"], "tok-0 ");
    assert_eq!(bench.post("/_reset", &json!({})).await.status, StatusCode::OK);
    assert_eq!(bench.post(CHAT, &chat(model, false)).await.status.as_u16(), 500);
}

#[tokio::test]
async fn unknown_keys_are_named() {
    let bench = Bench::start();
    for refused in [
        bench.post(CHAT, &chat("echo;speed=9", false)).await,
        bench.post_with(MESSAGES, SCRIPT_HEADER, "speed=9", &messages("m", true)).await,
        bench.post("/_script", &json!({"model": "m", "script": "speed=9"})).await,
    ] {
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text.contains("unknown script key `speed`"), "{}", refused.text);
    }
}

#[tokio::test]
async fn the_ledger_is_served() {
    let bench = Bench::start();
    let answer = bench.post("/v1/chat/completions?api-version=1", &chat("m", false)).await;
    bench.post(CHAT, &chat("fail-500", true)).await;
    bench.newest(State::Completed, SOON).await;
    let requests = bench.get("/_ledger?limit=1").await.json();
    let first = &requests["requests"][0];
    assert_eq!(requests["requests"].as_array().unwrap().len(), 1);
    assert_eq!(first["path"], "/v1/chat/completions?api-version=1");
    assert_eq!(first["headers"]["authorization"], "Bearer key");
    assert_eq!(first["body"], chat("m", false));
    assert_eq!((&first["status"], &first["state"]), (&json!(200), &json!("completed")));
    assert_eq!(first["bytes_sent"], answer.text.len());
    let next = bench.get(&format!("/_ledger?since={}", first["id"])).await.json();
    assert_eq!(next["requests"][0]["model"], "fail-500");
    let summary = json!({"total": 2, "open": 0, "completed": 2, "cancelled": 0, "peak_open": 1, "input_tokens": 5, "output_tokens": 5,
        "cached_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0});
    assert_eq!(bench.get("/_ledger/summary").await.json(), summary);
    bench.post("/_reset", &json!({})).await;
    assert_eq!(bench.get("/_ledger").await.json(), json!({"requests": []}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_paced_streams_finish_complete() {
    let bench = Bench::start();
    let expected: String = (0..16).map(|chunk| format!("tok-{chunk} ")).collect();
    let started = Instant::now();
    let streams: Vec<_> = (0..200)
        .map(|number| {
            let bench = bench.clone();
            bench.tasks.clone().spawn(async move {
                let model = "echo;chunks=16;chunk_ms=20";
                if number % 2 == 0 {
                    read(bench.open(CHAT, &chat(model, true)).await).await.joined("/choices/0/delta/content")
                } else {
                    read(bench.open(MESSAGES, &messages(model, true)).await).await.joined("/delta/text")
                }
            })
        })
        .collect();
    for stream in streams {
        assert_eq!(stream.await.unwrap(), expected);
    }
    assert!(started.elapsed() >= Duration::from_millis(300));
    let summary = bench.ledger.summary();
    assert_eq!((summary.completed, summary.cancelled, summary.open), (200, 0, 0));
    assert!(summary.peak_open > 100, "{summary:?}");
    assert!(bench.ledger.requests().iter().all(|record| record.chunks_sent == 16));
}

/// The load of a benchmark; run it alone, with `--release -- --ignored a_thousand`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the machine for itself"]
async fn a_thousand_paced_streams_keep_their_schedule() {
    let bench = Bench::start();
    let started = Instant::now();
    let streams: Vec<_> = (0..1_000)
        .map(|_| {
            let bench = bench.clone();
            bench.tasks.clone().spawn(async move {
                let mut body = bench.open(CHAT, &chat("echo;chunks=64;chunk_ms=20", true)).await.into_body();
                while let Some(frame) = body.frame().await {
                    frame.unwrap();
                }
            })
        })
        .collect();
    for stream in streams {
        stream.await.unwrap();
    }
    let (took, summary) = (started.elapsed(), bench.ledger.summary());
    assert_eq!((summary.completed, summary.peak_open), (1_000, 1_000));
    assert!(took < Duration::from_millis(63 * 20 + 500), "{took:?}");
}

#[tokio::test]
async fn shutdown_ends_hanging_requests_too() {
    let bench = Bench::start();
    let _hanging = bench.open(CHAT, &chat("echo;hang=body", true)).await;
    bench.shutdown.cancel();
    bench.tasks.close();
    tokio::time::timeout(SOON, bench.tasks.wait()).await.expect("serve returns");
    assert!(tokio::net::TcpStream::connect(bench.addr).await.is_err());
}

#[tokio::test]
async fn only_loopback_is_bound() {
    let refused = Simulator::bind(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}
