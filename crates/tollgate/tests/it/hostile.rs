//! Input that no client would send. The server says no, or closes, and goes on serving.

use std::time::Duration;

use tokio::time::Instant;

use crate::world::socket::Socket;
use crate::world::{PATIENCE, Server, World};

/// What came back for these bytes, and that the connection was closed behind it.
async fn said(server: &Server, bytes: &[u8]) -> String {
    let mut socket = Socket::connect(server.client.address).await;
    socket.write(bytes).await;
    socket
        .closed(Duration::from_secs(5))
        .await
        .unwrap_or_else(|| panic!("open: {:?}", &bytes[..bytes.len().min(60)]))
}

fn status(said: &str) -> &str {
    said.split(' ').nth(1).unwrap_or("none")
}

async fn goes_on(server: &Server) {
    assert!(server.client.is_known().await);
    assert_eq!(server.client.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn bytes_that_are_no_request() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let garbage: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [
        garbage.as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame of HTTP/2 at all",
    ] {
        let said = said(&server, bytes).await;
        assert!(!said.contains(" 200 ") && !said.contains(" 500 "), "{said:?}");
    }
    goes_on(&server).await;
}

#[tokio::test]
async fn two_lengths_are_one_too_many() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    // What a proxy in front of us would read differently: request smuggling.
    for headers in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity",
        "content-length: +5",
        "content-length: -1",
    ] {
        let request = format!("POST /healthz HTTP/1.1\r\nhost: t\r\n{headers}\r\n\r\nhello");
        assert_eq!(status(&said(&server, request.as_bytes()).await), "400", "{headers:?}");
    }
    goes_on(&server).await;
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let said = said(&server, b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.0 200 OK\r\n") && said.ends_with("\r\n\r\nok\n"), "{said:?}");
    assert!(said.contains("x-request-id: "), "{said:?}");
}

#[tokio::test]
async fn heads_are_bounded() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{headers}\r\n")
    };
    let many = |number: usize| (0..number).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let long = |length: usize| format!("x-long: {}\r\n", "y".repeat(length));
    let cases = [
        (get("/healthz", &many(98)), "200"),
        (get("/healthz", &many(99)), "431"),
        (get("/healthz", &long(50 << 10)), "200"),
        (get("/healthz", &long(70 << 10)), "431"),
        (get(&format!("/{}", "a".repeat(50 << 10)), ""), "404"),
    ];
    for (request, expected) in cases {
        let said = said(&server, request.as_bytes()).await;
        assert_eq!(status(&said), expected, "{} bytes: {said:?}", request.len());
    }
    let said = said(&server, get(&format!("/{}", "a".repeat(70 << 10)), "").as_bytes()).await;
    assert!(["414", "431"].contains(&status(&said)), "{said:?}");
    goes_on(&server).await;
}

/// Slow: it is about a limit of ten seconds.
#[tokio::test]
async fn a_head_has_ten_seconds() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let began = Instant::now();
    let drip = async |head: &'static [u8]| {
        let mut socket = Socket::connect(server.client.address).await;
        let mut bytes = head.iter();
        while began.elapsed() < Duration::from_secs(20) {
            if let Some(byte) = bytes.next() {
                socket.write(&[*byte]).await;
            }
            if socket.closed(Duration::from_millis(250)).await.is_some() {
                break;
            }
        }
        began.elapsed()
    };
    let heads: [&[u8]; 6] = [
        b"",
        b"P",
        b"POST / HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: t\r\nx-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let ended = futures_util::future::join_all(heads.map(drip)).await;
    for (head, after) in heads.iter().zip(ended) {
        let head = String::from_utf8_lossy(head);
        println!("{head:?}: {after:?}");
        assert!(after > Duration::from_secs(9), "{head:?} was given {after:?} only");
        assert!(after < Duration::from_secs(12), "{head:?} held a connection for {after:?}");
    }
    goes_on(&server).await;
    assert!(began.elapsed() < PATIENCE * 2);
}
