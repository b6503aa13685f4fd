//! Calls whose body does not come, or is not taken: on record where the path names the endpoint.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use journal::{Admission, Captured, Outcome, Payload, Settlement};
use policy::endpoint::Accounting;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_gateway::GatewayConfig;

use crate::client::invocations;
use crate::world::{Entity, Setup, TOKEN, World, eventually, world_with};

const AT_LAST: Duration = Duration::from_secs(5);
const BY_MODEL: &str = "/serving-endpoints/chat/completions";

/// Every kind of path that names its endpoint, and whether it asks for a stream.
fn by_path() -> [(String, bool); 5] {
    [
        (invocations("e"), false),
        ("/gemini/v1beta/models/e:generateContent".to_owned(), false),
        ("/gemini/v1beta/models/e:streamGenerateContent".to_owned(), true),
        ("/model/e/converse".to_owned(), false),
        ("/model/e/converse-stream".to_owned(), true),
    ]
}

async fn small(test: impl AsyncFnOnce(&World)) {
    let config = GatewayConfig {
        max_body_bytes: 10_000,
        body_timeout: Duration::from_millis(200),
        ..GatewayConfig::default()
    };
    world_with(Setup { config, ..Setup::default() }, async |world| {
        *world.accounting.lock() =
            Accounting { usage_tracking: true, payload_table: Some("c.s.e_payload".into()) };
        world.chat("e", &[Entity::new("openai", "m")]);
        test(world).await;
        assert!(world.ledger.requests().is_empty());
    })
    .await;
}

fn head(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n")
}

/// Sends `text` and reads the answer: status and body.
async fn exchange(world: &World, text: &str) -> (u16, Bytes) {
    let mut socket = TcpStream::connect(world.gateway).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned().into())
}

async fn newest(world: &World, count: usize) -> (Admission, Settlement) {
    let settled = async || world.records.settled().get(count).cloned();
    eventually(AT_LAST, settled).await.expect("it is not on record")
}

/// Used nothing, asked nobody.
fn check(settled: &Settlement, outcome: Outcome, status: u16, bodies: Payload) {
    assert_eq!((settled.outcome, settled.status), (outcome, status));
    assert_eq!((settled.attempts.len(), &settled.usage, &settled.cost), (0, &None, &None));
    assert_eq!(settled.payload.as_deref(), Some(&bodies));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_on_record_without_it() {
    small(async |world| {
        let chunked = "1000\r\n".to_owned() + &"y".repeat(0x1000) + "\r\n";
        for body in [
            "content-length: 10001\r\n\r\n".to_owned(),
            format!("transfer-encoding: chunked\r\n\r\n{}", chunked.repeat(3)),
        ] {
            for (path, stream) in by_path() {
                let count = world.records.settled().len();
                let (status, told) = exchange(world, &format!("{}{body}", head(&path))).await;
                assert_eq!(status, 413, "{path}: {told:?}");
                let (admission, settled) = newest(world, count).await;
                let bodies = Payload { request: Captured::TooLong, response: Captured::Whole(told) };
                check(&settled, Outcome::Refused, 413, bodies);
                assert_eq!((&*admission.endpoint, &*admission.requester), ("e", "ann"));
                assert_eq!((admission.path, admission.stream), (path, stream));
            }
            assert_eq!(exchange(world, &format!("{}{body}", head(BY_MODEL))).await.0, 413);
        }
        assert_eq!(
            world.records.settled().len(),
            10,
            "nobody knows which endpoint the body would have named"
        );
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_on_record_without_it() {
    small(async |world| {
        let begun = "content-length: 100\r\n\r\n{\"mess";
        for (count, (path, _)) in by_path().into_iter().enumerate() {
            let (status, told) = exchange(world, &format!("{}{begun}", head(&path))).await;
            assert_eq!(status, 408, "{path}: {told:?}");
            let (_, settled) = newest(world, count).await;
            let bodies = Payload { request: Captured::Absent, response: Captured::Whole(told) };
            check(&settled, Outcome::Refused, 408, bodies);
            assert!(settled.duration_ms >= 200.0, "{settled:?}");
        }
        assert_eq!(exchange(world, &format!("{}{begun}", head(BY_MODEL))).await.0, 408);
        assert_eq!(world.records.settled().len(), 5);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_on_record_as_of_a_client_that_left() {
    small(async |world| {
        let nothing = Payload { request: Captured::Absent, response: Captured::Absent };
        for begun in ["content-length: 100\r\n\r\n{\"mess", "transfer-encoding: chunked\r\n\r\n5\r\n{\"m"] {
            for path in by_path().into_iter().map(|(path, _)| path).chain([BY_MODEL.to_owned()]) {
                let count = world.records.settled().len();
                let mut socket = TcpStream::connect(world.gateway).await.unwrap();
                socket.write_all(format!("{}{begun}", head(&path)).as_bytes()).await.unwrap();
                drop(socket);
                if path != BY_MODEL {
                    check(&newest(world, count).await.1, Outcome::Cancelled, 499, nothing.clone());
                }
            }
        }
        assert_eq!(world.records.settled().len(), 10);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_dropped_while_its_body_is_read_is_on_record_once() {
    small(async |world| {
        for (path, recorded) in [(invocations("e"), 1), (invocations("nope"), 1), (BY_MODEL.to_owned(), 1)] {
            let request = Request::post(path).header("authorization", format!("Bearer {TOKEN}"));
            let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
            let service = TowerToHyperService::new(world.router.clone());
            let called = service.call(request.body(never).unwrap());
            assert!(tokio::time::timeout(Duration::from_millis(50), called).await.is_err());
            assert_eq!(world.records.settled().len(), recorded);
        }
        assert_eq!((world.records.only().outcome, world.records.only().status), (Outcome::Cancelled, 499));
    })
    .await;
}
