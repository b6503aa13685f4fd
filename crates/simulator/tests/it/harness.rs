//! A running simulator and a client for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_simulator::{Ledger, Record, Simulator, State};

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const MESSAGES: &str = "/v1/messages";

/// A simulator that serves until the end of the test.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) url: String,
    pub(crate) addr: SocketAddr,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer that was read to its end, or to where it broke.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) broke: bool,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The JSON of every data line, the terminator left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// The strings at a JSON pointer of all events, put together.
    pub(crate) fn joined(&self, pointer: &str) -> String {
        let events = self.events();
        events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
    }
}

impl Bench {
    pub(crate) fn start() -> Self {
        let simulator = Simulator::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let (url, addr, ledger) = (simulator.url(), simulator.addr(), simulator.ledger());
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(simulator.serve(shutdown.clone()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { url, addr, ledger, shutdown, tasks, client }
    }

    /// A request with the credentials of all formats.
    pub(crate) fn request(&self, path: &str) -> http::request::Builder {
        Request::post(format!("{}{path}", self.url))
            .header("authorization", "Bearer key")
            .header("x-api-key", "key")
            .header("x-goog-api-key", "key")
            .header("anthropic-version", "2023-06-01")
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    pub(crate) async fn open(&self, path: &str, body: &Value) -> Response<Incoming> {
        self.send(self.request(path).body(Full::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Got {
        read(self.open(path, body).await).await
    }

    pub(crate) async fn post_with(&self, path: &str, name: &str, value: &str, body: &Value) -> Got {
        let request = self.request(path).header(name, value).body(Full::from(body.to_string()));
        read(self.send(request.unwrap()).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        let request = Request::get(format!("{}{path}", self.url)).body(Full::default());
        read(self.send(request.unwrap()).await).await
    }

    /// The newest record, once it stands like this; panics after the given time.
    pub(crate) async fn newest(&self, state: State, within: Duration) -> Record {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let newest = self.ledger.requests().pop();
            match newest {
                Some(record) if record.state == state => return record,
                newest => assert!(tokio::time::Instant::now() < deadline, "not {state:?}: {newest:?}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub(crate) async fn read(response: Response<Incoming>) -> Got {
    let (parts, mut body) = response.into_parts();
    let (mut bytes, mut broke) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Err(_) => {
                broke = true;
                break;
            }
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    Got { status: parts.status, headers: parts.headers, text, broke }
}

pub(crate) fn chat(model: &str, stream: bool) -> Value {
    json!({
        "model": model, "stream": stream, "stream_options": {"include_usage": true},
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "höre mir zu"}]
    })
}

pub(crate) fn messages(model: &str, stream: bool) -> Value {
    json!({
        "model": model, "stream": stream, "max_tokens": 100, "system": "be brief",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "höre mir zu"}]}]
    })
}
