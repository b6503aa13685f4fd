//! Faults of bytes and connections, as a client sees them that reads the socket itself.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_simulator::State;

use crate::harness::{Bench, CHAT, chat};

const SOON: Duration = Duration::from_secs(5);

/// What came, until the connection ended or nothing more came; and how it ended.
struct Heard {
    bytes: Vec<u8>,
    end: Option<ErrorKind>,
    is_open: bool,
}

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn body(&self) -> String {
        self.text().split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    fn announced(&self) -> usize {
        let text = self.text();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        length.parse().unwrap()
    }
}

async fn ask(bench: &Bench, model: &str, stream: bool) -> Heard {
    let body = chat(model, stream).to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: s\r\nauthorization: Bearer k\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(bench.addr).await.unwrap();
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    hear(socket).await
}

async fn hear(mut socket: TcpStream) -> Heard {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match tokio::time::timeout(Duration::from_millis(500), socket.read(&mut buffer)).await {
            Err(_) => return Heard { bytes, end: None, is_open: true },
            Ok(Ok(0)) => return Heard { bytes, end: None, is_open: false },
            Ok(Ok(read)) => bytes.extend_from_slice(&buffer[..read]),
            Ok(Err(error)) => return Heard { bytes, end: Some(error.kind()), is_open: false },
        }
    }
}

#[tokio::test]
async fn connections_end_as_the_fault_says() {
    let bench = Bench::start();
    for stream in [false, true] {
        let reset = ask(&bench, "m;fault=reset", stream).await;
        assert_eq!((reset.bytes.len(), reset.end), (0, Some(ErrorKind::ConnectionReset)));
        assert_eq!(bench.newest(State::Completed, SOON).await.status, None);
        let cut = ask(&bench, "m;fault=reset_body", stream).await;
        assert_eq!(cut.end, Some(ErrorKind::ConnectionReset));
        assert!(cut.body().len() == cut.announced() / 2 && !cut.body().is_empty(), "{}", cut.text());
        let closed = ask(&bench, "m;fault=close", stream).await;
        assert_eq!((closed.bytes.len(), closed.end, closed.is_open), (0, None, false));
        let garbage = ask(&bench, "m;fault=garbage", stream).await;
        assert!(garbage.text().starts_with("SSH-") && !garbage.is_open);
        let long = ask(&bench, "m;fault=long_length", stream).await;
        assert_eq!((long.announced(), long.is_open), (long.body().len() + 10, false));
        let short = ask(&bench, "m;fault=short_length", stream).await;
        assert_eq!((short.announced(), short.is_open), (short.body().len() / 2, true));
    }
    let newest = bench.newest(State::Completed, SOON).await;
    assert_eq!((newest.status, newest.connection), (Some(200), 12), "a connection for each");
}

#[tokio::test]
async fn bodies_are_wrong_as_the_fault_says() {
    let bench = Bench::start();
    let whole = bench.post(CHAT, &chat("m", true)).await;
    for stream in [false, true] {
        let empty = bench.post(CHAT, &chat("m;fault=empty", stream)).await;
        assert_eq!((empty.status.as_u16(), empty.text.as_str(), empty.broke), (200, "", false));
        let typed = bench.post(CHAT, &chat("m;fault=wrong_type", stream)).await;
        assert_eq!(typed.headers["content-type"], "application/octet-stream");
        assert!(typed.text.contains("höre"));
    }
    let early = bench.post(CHAT, &chat("m;fault=end_early", true)).await;
    assert!(!early.broke && early.text.len() > 10 && early.text.len() < whole.text.len());
    let cut = bench.post(CHAT, &chat("m;chunks=3;fault=cut_event", true)).await;
    assert!(cut.broke && cut.text.contains("tok-1") && !cut.text.ends_with('\n'), "{}", cut.text);
    let mixed = bench.post(CHAT, &chat("m;chunks=3;fault=mixed_lines", true)).await;
    let lines = mixed.text.replace("\r\n", "\n").replace('\r', "\n");
    assert!(["\r\n", "\n\n", "\r\r"].iter().all(|end| mixed.text.contains(end)));
    let events = lines.replace(": comment\n\n", "");
    assert_eq!(
        events,
        bench
            .post(CHAT, &chat("m;chunks=3", true))
            .await
            .text
            .replace("m;chunks=3", "m;chunks=3;fault=mixed_lines")
    );
}

#[tokio::test]
async fn a_character_is_cut_in_two() {
    let bench = Bench::start();
    let heard = ask(&bench, "m;answer=na%C3%AFve;fault=cut_rune", true).await;
    let at = heard.bytes.iter().position(|byte| !byte.is_ascii()).unwrap();
    assert_eq!(heard.bytes[at], 0xc3);
    assert!(!heard.is_open && !heard.bytes.contains(&0xaf));
    let plain = bench.post(CHAT, &chat("m;answer=plain;fault=cut_rune", true)).await;
    assert_eq!(plain.status, 400, "{}", plain.text);
}

#[tokio::test]
async fn a_drip_is_a_byte_at_a_time() {
    let bench = Bench::start();
    let started = Instant::now();
    let mut body = bench.open(CHAT, &chat("m;answer=x;fault=drip;chunk_ms=1", false)).await.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    let answer: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "x");
    assert!(started.elapsed() >= Duration::from_millis(text.len() as u64 - 1));
    let record = bench.newest(State::Completed, SOON).await;
    assert_eq!((record.chunks_sent, record.bytes_sent), (text.len() as u64, text.len() as u64));
}

#[tokio::test]
async fn a_bomb_is_small_and_is_what_it_says() {
    let bench = Bench::start();
    let heard = ask(&bench, "m;fault=gzip_bomb", false).await;
    assert!(heard.text().contains("content-encoding: gzip"));
    let start = heard.bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let packed = &heard.bytes[start..];
    assert!(packed.len() < 1 << 20, "{}", packed.len());
    let (mut inflater, mut block) = (flate2::read::GzDecoder::new(packed), vec![0; 1 << 20]);
    for _ in 0..256 {
        std::io::Read::read_exact(&mut inflater, &mut block).unwrap();
        assert!(block.iter().all(|byte| *byte == b' '));
    }
    let answer: Value = serde_json::from_reader(inflater).unwrap();
    assert_eq!(answer["object"], "chat.completion");
}

#[tokio::test]
async fn nothing_of_the_body_comes_after_the_headers() {
    let bench = Bench::start();
    for stream in [false, true] {
        let heard = ask(&bench, "m;hang=answer", stream).await;
        assert!(heard.text().starts_with("HTTP/1.1 200") && heard.body().is_empty() && heard.is_open);
    }
}

#[tokio::test]
async fn gates_fail_before_a_request() {
    let bench = Bench::start();
    let open = async |gate: &str| {
        let opened = bench.post("/_gate", &json!({"gate": gate})).await.json();
        opened["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned()
    };
    let refused = TcpStream::connect(open("closed").await).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let reset = hear(TcpStream::connect(open("reset").await).await.unwrap()).await;
    assert_eq!(reset.end, Some(ErrorKind::ConnectionReset));
    let mut hanging = TcpStream::connect(open("hang").await).await.unwrap();
    hanging.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(hear(hanging).await.is_open);
    let nowhere = open("black_hole").await;
    assert!(tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(nowhere)).await.is_err());
    assert_eq!(bench.post("/_gate", &json!({"gate": "ajar"})).await.status, 400);
}

#[tokio::test]
async fn all_kinds_of_tokens_are_told_and_kept() {
    let bench = Bench::start();
    let model = "m;answer=abcd;cached_tokens=100;reasoning_tokens=30";
    let usage = bench.post(CHAT, &chat(model, false)).await.json()["usage"].clone();
    assert_eq!(usage["prompt_tokens"], 105);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 100);
    assert_eq!((&usage["completion_tokens"], &usage["total_tokens"]), (&json!(31), &json!(136)));
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 30);
    let written = "m;answer=abcd;cached_tokens=100;cache_write_tokens=20;reasoning_tokens=30";
    let usage = bench.post(crate::harness::MESSAGES, &crate::harness::messages(written, false)).await.json();
    let expected = json!({"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100,
        "output_tokens": 31, "output_tokens_details": {"thinking_tokens": 30}});
    assert_eq!(usage["usage"], expected);
    bench.newest(State::Completed, SOON).await;
    let all = bench.ledger.summary();
    assert_eq!((all.input_tokens, all.cached_tokens, all.cache_write_tokens), (230, 200, 20));
    assert_eq!((all.output_tokens, all.reasoning_tokens), (62, 60));
}
