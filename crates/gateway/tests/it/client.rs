//! A client that sees everything: headers, each data line, and when it came.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::world::{TOKEN, World};

/// An answer that was read to its end, or to where it broke.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) broke: bool,
    /// From sending to the headers, and from the headers to the end.
    pub(crate) waited: Duration,
    pub(crate) took: Duration,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Error code and message of a Databricks error body.
    pub(crate) fn error(&self) -> (String, String) {
        assert_eq!(self.headers[CONTENT_TYPE], "application/json", "{self:?}");
        let body = self.json();
        let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("no {key}: {body}")).to_owned();
        (text("error_code"), text("message"))
    }

    /// What the provider said, out of the JSON in the message.
    pub(crate) fn provider_error(&self) -> Value {
        let (_, message) = self.error();
        let inner: Value = serde_json::from_str(&message).unwrap_or_else(|e| panic!("{e}: {message}"));
        assert!(inner["external_model_provider"].is_string(), "{inner}");
        inner["external_model_error"].clone()
    }

    /// The data of each event. Every line must be a data line or blank: mlflow raises on all else.
    pub(crate) fn data(&self) -> Vec<&str> {
        assert_eq!(self.headers[CONTENT_TYPE], "text/event-stream; charset=utf-8", "{self:?}");
        let lines = self.text.split('\n').filter(|line| !line.is_empty());
        lines.map(|line| line.strip_prefix("data: ").unwrap_or_else(|| panic!("{line:?}"))).collect()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.text.ends_with("data: [DONE]\n\n")
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let data = self.data().into_iter().filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"))).collect()
    }

    /// The text of a streamed chat.
    pub(crate) fn streamed_text(&self) -> String {
        let events = self.events();
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str()).collect()
    }

    /// The error event, which must be the last thing in the stream.
    pub(crate) fn stream_error(&self) -> Value {
        assert!(!self.text.contains("[DONE]") && !self.broke, "{self:?}");
        let mut events = self.events();
        let last = events.pop().unwrap_or_default();
        assert!(last["error"]["message"].is_string() && last["error"]["code"].is_string(), "{self:?}");
        assert!(events.iter().all(|event| event.get("error").is_none()), "{self:?}");
        last["error"].clone()
    }

    /// The last usage of a stream.
    pub(crate) fn usage(&self) -> Value {
        let events = self.events();
        events.iter().rev().find_map(|e| e.get("usage").filter(|u| !u.is_null())).cloned().expect("no usage")
    }
}

/// An answer that is still running, on a connection of its own; dropping it closes the connection.
pub(crate) struct Running {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    waited: Duration,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Running {
    /// The next piece; `None` at the end, an error when the connection broke.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        Some(self.body.frame().await?.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// Reads until `text` was there.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).contains(text) {
            let piece = self.piece().await.unwrap_or_else(|| panic!("the stream ended before {text:?}"));
            got.extend_from_slice(&piece.unwrap());
        }
        String::from_utf8(got).unwrap()
    }

    pub(crate) async fn read(mut self) -> Got {
        let since = Instant::now();
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
        let headers = std::mem::take(&mut self.headers);
        Got { status: self.status, headers, text, broke, waited: self.waited, took: since.elapsed() }
    }
}

impl World {
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Running {
        let stream = TcpStream::connect(self.gateway).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = self.tasks.spawn(async move {
            // An answer that breaks off is seen by its reader.
            let _ = connection.await;
        });
        let since = Instant::now();
        let response = sender.send_request(request).await.unwrap();
        let (waited, (parts, body)) = (since.elapsed(), response.into_parts());
        Running { status: parts.status.as_u16(), headers: parts.headers, body, waited, connection }
    }

    pub(crate) async fn open(&self, path: &str, body: &Value) -> Running {
        self.send(post(path, TOKEN, body.to_string())).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Got {
        self.open(path, body).await.read().await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl Into<Bytes>) -> Got {
        self.send(post(path, TOKEN, body)).await.read().await
    }

    /// Asks an endpoint of chat.
    pub(crate) async fn ask(&self, endpoint: &str, stream: bool) -> Got {
        self.post(&invocations(endpoint), &chat(stream)).await
    }

    pub(crate) async fn ask_running(&self, endpoint: &str) -> Running {
        self.open(&invocations(endpoint), &chat(true)).await
    }

    /// Sends a whole request and reads nothing.
    pub(crate) async fn ask_and_wait(&self, endpoint: &str, stream: bool) -> TcpStream {
        let body = chat(stream).to_string();
        let path = invocations(endpoint);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut socket = TcpStream::connect(self.gateway).await.unwrap();
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        socket
    }
}

pub(crate) fn invocations(endpoint: &str) -> String {
    format!("/serving-endpoints/{endpoint}/invocations")
}

pub(crate) fn post(path: &str, token: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "gateway")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

pub(crate) fn chat(stream: bool) -> Value {
    json!({"stream": stream, "messages": [
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "höre mir zu"}]})
}
