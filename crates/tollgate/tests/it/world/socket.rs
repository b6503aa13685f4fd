//! A socket without a library between: for what no client would send.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::client::invocations;

pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends the whole of a model call and reads nothing.
    pub(crate) async fn ask(address: SocketAddr, token: &str, endpoint: &str, body: &Value) -> Self {
        let (path, body) = (invocations(endpoint), body.to_string());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut socket = Self::connect(address).await;
        socket.write(format!("{head}{body}").as_bytes()).await;
        socket
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // The peer may have had enough before the end.
        let _ = tokio::time::timeout(PATIENCE, self.0.write_all(bytes)).await.expect("nobody reads");
    }

    /// Reads until `text` was there.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let (mut got, mut buffer) = (String::new(), [0; 4096]);
        while !got.contains(text) {
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut buffer)).await.expect("nothing came");
            let read = read.unwrap();
            assert!(read > 0, "closed before {text:?}: {got:?}");
            got.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        got
    }

    /// Everything up to the close by the peer; none when it does not close in time.
    pub(crate) async fn closed(&mut self, within: Duration) -> Option<String> {
        let mut got = Vec::new();
        // A reset ends it as well.
        let _ = tokio::time::timeout(within, self.0.read_to_end(&mut got)).await.ok()?;
        Some(String::from_utf8_lossy(&got).into_owned())
    }

    /// Goes away with a reset, as a process that is killed with unread input does.
    pub(crate) fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}
