//! The client against servers that close their connections at awkward moments.

#![expect(clippy::unwrap_used, reason = "the harness is test code that is not inside a #[test]")]

use std::time::Duration;

use bytes::Bytes;
use egress::{AddressPolicy, Client, ClientConfig};
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use tollgate_egress as egress;

fn client() -> Client {
    let policy = AddressPolicy::new(&["127.0.0.1"]).unwrap();
    Client::new(ClientConfig { policy, ..ClientConfig::default() }).unwrap()
}

async fn ask(client: &Client, address: &str) -> Result<Bytes, egress::Failure> {
    let request =
        Request::post(format!("http://{address}/")).body(Full::new(Bytes::from("question"))).unwrap();
    let response = client.send(request, Duration::from_secs(5)).await?;
    Ok(response.into_body().collect().await.unwrap().to_bytes())
}

/// Reads one request; false when the client has closed.
async fn request(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"question") {
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    true
}

/// Serves connections one after the other, answering `answers` requests on each before it closes; counts
/// the requests that it read.
async fn serve(listener: TcpListener, answers: usize, connections: usize) -> usize {
    let mut requests = 0;
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().await.unwrap();
        for at in 0..=answers {
            if !request(&mut stream).await {
                break;
            }
            requests += 1;
            if at < answers {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        }
    }
    requests
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn a_kept_connection_that_turns_out_stale_costs_nothing() {
    let (listener, address) = listener().await;
    let client = client();
    // Each connection answers once and closes on the second request, as an engine does that was about to.
    let asked = async {
        for turn in 0..3 {
            assert_eq!(ask(&client, &address).await.unwrap(), "ok", "turn {turn}");
        }
        drop(client);
    };
    let served = tokio::time::timeout(Duration::from_secs(5), serve(listener, 1, 3));
    let ((), requests) = tokio::join!(asked, served);
    // Three answers, and the request that the stale connection swallowed; the one in its place is not kept.
    assert_eq!(requests.unwrap(), 4);
}

#[tokio::test]
async fn on_a_new_connection_nothing_is_repeated() {
    let (listener, address) = listener().await;
    let client = client();
    let (answer, requests) = tokio::join!(ask(&client, &address), serve(listener, 0, 1));
    assert!(answer.is_err());
    assert_eq!(requests, 1);
}
