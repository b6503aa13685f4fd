//! A client that sees everything; each request has a connection of its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::{PATIENCE, chat, eventually};

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    token: String,
}

/// An answer that was read to its end, or to where it broke.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) broke: bool,
}

/// An answer that is still running; dropping it closes the connection.
pub(crate) struct Running {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned() }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self::new(self.address, token)
    }

    pub(crate) fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .unwrap()
    }

    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> Running {
        self.try_open(request).await.unwrap_or_else(|error| panic!("{}: {error}", self.address))
    }

    async fn try_open(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Running> {
        let opening = async {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let connection = TaskTracker::new().spawn(async move {
                // An answer that breaks off is seen by its reader.
                let _ = connection.await;
            });
            let (parts, body) = sender.send_request(request).await?.into_parts();
            anyhow::Ok(Running { status: parts.status.as_u16(), headers: parts.headers, body, connection })
        };
        tokio::time::timeout(PATIENCE * 2, opening).await.expect("no answer")
    }

    /// None when the server went away before the end of its answer.
    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> Option<Answer> {
        let answer = self.try_open(request).await.ok()?.read().await;
        (!answer.broke).then_some(answer)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        self.open(self.request(method, path, body)).await.read().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    /// Whether the token is good.
    pub(crate) async fn is_known(&self) -> bool {
        let answer = self.get("/api/2.0/serving-endpoints").await;
        assert!([200, 401, 403].contains(&answer.status), "{answer:?}");
        answer.status == 200
    }

    pub(crate) async fn create(&self, name: &str, config: &Value) {
        let answer = self.post("/api/2.0/serving-endpoints", &json!({"name": name, "config": config})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub(crate) async fn endpoints(&self) -> Vec<String> {
        let listed = self.get("/api/2.0/serving-endpoints").await.json();
        // An empty list is left out of the answer.
        let endpoints = listed["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.iter().map(|endpoint| endpoint["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Asks an endpoint of chat.
    pub(crate) async fn ask(&self, endpoint: &str, stream: bool) -> Answer {
        self.post(&invocations(endpoint), &chat(stream)).await
    }

    pub(crate) async fn ask_running(&self, endpoint: &str) -> Running {
        let body = chat(true).to_string();
        self.open(self.request(Method::POST, &invocations(endpoint), body)).await
    }

    /// True once a connection is refused.
    pub(crate) async fn is_refused(&self, within: Duration) -> bool {
        let refused = async || TcpStream::connect(self.address).await.is_err().then_some(());
        eventually(within, refused).await.is_some()
    }
}

pub(crate) fn invocations(endpoint: &str) -> String {
    format!("/serving-endpoints/{endpoint}/invocations")
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Running {
    /// The next piece; `None` at the end, an error when the connection broke.
    async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = tokio::time::timeout(PATIENCE * 2, self.body.frame()).await.expect("the answer stopped");
        Some(frame?.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// Reads until `text` was there.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).contains(text) {
            let piece = self.piece().await.unwrap_or_else(|| panic!("ended before {text:?}: {got:?}"));
            got.extend_from_slice(&piece.unwrap());
        }
        String::from_utf8(got).unwrap()
    }

    pub(crate) async fn read(mut self) -> Answer {
        let (mut bytes, mut broke) = (Vec::new(), false);
        while let Some(piece) = self.piece().await {
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(_) => {
                    broke = true;
                    break;
                }
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        Answer { status: self.status, headers: std::mem::take(&mut self.headers), text, broke }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn request_id(&self) -> &str {
        let id = self.headers.get("x-request-id").unwrap_or_else(|| panic!("no x-request-id: {self:?}"));
        id.to_str().unwrap()
    }

    /// The text of an unstreamed chat.
    pub(crate) fn content(&self) -> String {
        let body = self.json();
        body["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.text.ends_with("data: [DONE]\n\n")
    }

    /// The events of a stream. Every line must be a data line or blank.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.text.split('\n').filter(|line| !line.is_empty());
        let data = lines.map(|line| line.strip_prefix("data: ").unwrap_or_else(|| panic!("{line:?}")));
        let events = data.filter(|data| *data != "[DONE]");
        events.map(|data| serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"))).collect()
    }

    /// The text of a streamed chat.
    pub(crate) fn streamed_text(&self) -> String {
        let events = self.events();
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str()).collect()
    }
}
