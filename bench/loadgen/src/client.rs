//! One request on one connection, its answer checked.

use crate::report::Report;
use crate::sse::Sse;
use memchr::memmem::Finder;
use protocol::clock::now_ns;
use protocol::http::{Framing, take_chunks};
use protocol::text;
use std::cell::RefCell;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where requests go and what must come back.
pub(crate) struct Target {
    host: String,
    request: Vec<u8>,
    streaming: bool,
    expected: String,
    finder: Finder<'static>,
    timeout: Duration,
}

impl Target {
    pub(crate) fn new(
        host: String,
        request: Vec<u8>,
        streaming: bool,
        chunks: u64,
        timeout: Duration,
    ) -> Self {
        let expected = text::answer(chunks);
        // With its quotes, so that a longer text is not taken for the right one.
        let finder = Finder::new(format!("\"{expected}\"").as_bytes()).into_owned();
        Self { host, request, streaming, expected, finder, timeout }
    }
}

/// As much of an unexpected body as helps.
fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buf: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: &Target, report: &RefCell<Report>) -> io::Result<Self> {
        let stream = TcpStream::connect(&target.host).await?;
        stream.set_nodelay(true)?;
        report.borrow_mut().connects += 1;
        Ok(Self { stream, buf: Vec::with_capacity(16384) })
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buf).await? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection closed before the answer was whole",
            )),
            _ => Ok(()),
        }
    }

    async fn head(&mut self) -> io::Result<(u16, Framing)> {
        loop {
            self.fill().await?;
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(len) = head.parse(&self.buf).map_err(io::Error::other)? {
                let answer = (head.code.unwrap_or(0), Framing::of(head.headers, len));
                self.buf.drain(..len);
                return Ok(answer);
            }
        }
    }

    /// Reads the body and hands over each piece as it arrives.
    async fn body(
        &mut self,
        framing: Framing,
        mut piece: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if framing.chunked {
            let mut data = Vec::new();
            while !take_chunks(&mut self.buf, &mut data)? {
                piece(&data)?;
                data.clear();
                self.fill().await?;
            }
            return piece(&data);
        }
        let Some(mut left) = framing.length else {
            return Err(io::Error::other("the answer says neither its length nor that it is chunked"));
        };
        while left > 0 {
            if self.buf.is_empty() {
                self.fill().await?;
            }
            let len = left.min(self.buf.len());
            piece(&self.buf[..len])?;
            self.buf.drain(..len);
            left -= len;
        }
        Ok(())
    }

    /// Sends the request and checks the answer; true if the connection can be used again.
    async fn exchange(&mut self, target: &Target, report: &RefCell<Report>, due_ns: u64) -> io::Result<bool> {
        self.buf.clear();
        self.stream.write_all(&target.request).await?;
        let (code, framing) = self.head().await?;
        if code != 200 {
            let mut body = Vec::new();
            self.body(framing, |data| {
                body.extend_from_slice(data);
                Ok(())
            })
            .await?;
            return Err(io::Error::other(format!("status {code}: {}", shown(&body))));
        }
        if target.streaming {
            self.read_stream(framing, target, report, due_ns).await?;
        } else {
            let mut body = Vec::with_capacity(framing.length.unwrap_or(4096));
            self.body(framing, |data| {
                body.extend_from_slice(data);
                Ok(())
            })
            .await?;
            if target.finder.find(&body).is_none() {
                return Err(io::Error::other(format!(
                    "not the expected text in: {}",
                    String::from_utf8_lossy(&body)
                )));
            }
        }
        Ok(!framing.close)
    }

    async fn read_stream(
        &mut self,
        framing: Framing,
        target: &Target,
        report: &RefCell<Report>,
        due_ns: u64,
    ) -> io::Result<()> {
        let mut sse = Sse::default();
        self.body(framing, |data| {
            let (now, before) = (now_ns(), sse.tokens);
            let mut report = report.borrow_mut();
            sse.feed(data, |ns| report.transit(now.saturating_sub(ns))).map_err(io::Error::other)?;
            if before == 0 && sse.tokens > 0 {
                report.first_token(now - due_ns);
            }
            report.chunks += sse.tokens - before;
            Ok(())
        })
        .await?;
        sse.check(&target.expected).map_err(io::Error::other)
    }
}

/// One request and its answer, on `idle` if there is one; the result goes to the report. Returns the connection
/// if it can be used again.
pub(crate) async fn once(
    idle: Option<Connection>,
    target: &Target,
    report: &RefCell<Report>,
    due_ns: u64,
) -> Option<Connection> {
    let attempt = async {
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(target, report).await?,
        };
        let reusable = connection.exchange(target, report, due_ns).await?;
        Ok::<_, io::Error>(reusable.then_some(connection))
    };
    match tokio::time::timeout(target.timeout, attempt).await {
        Ok(Ok(connection)) => {
            report.borrow_mut().answer(due_ns);
            connection
        }
        Ok(Err(error)) => {
            report.borrow_mut().error(&error.to_string());
            None
        }
        Err(_) => {
            report.borrow_mut().error(&format!("no whole answer within {:?}", target.timeout));
            None
        }
    }
}
