//! One client connection: read a request, answer it, again until it closes.

use crate::Stub;
use crate::replies::{self, Format};
use memchr::memmem;
use protocol::clock::{Timer, now_ns};
use protocol::http::{Framing, put_chunk, take_chunks};
use protocol::text;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Request {
    path: String,
    body: Vec<u8>,
    close: bool,
}

pub(crate) async fn run(mut stream: TcpStream, stub: &Stub) -> io::Result<()> {
    let mut buf = Vec::with_capacity(8192);
    let timer = Timer::new()?;
    while let Some(request) = read(&mut stream, &mut buf).await? {
        if request.path.starts_with("/_ctl") {
            control(&mut stream, stub, &request.path).await?;
        } else {
            stub.requests.set(stub.requests.get() + 1);
            timer.until(now_ns() + stub.latency_us.get() * 1000).await?;
            answer(&mut stream, stub, &timer, &request).await?;
        }
        if request.close {
            break;
        }
    }
    Ok(())
}

/// The next request, or `None` when the client has closed the connection.
async fn read(stream: &mut TcpStream, buf: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let (path, framing) = loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(len) = head.parse(buf).map_err(io::Error::other)? {
            break (head.path.unwrap_or("/").to_owned(), Framing::of(head.headers, len));
        }
        if stream.read_buf(buf).await? == 0 {
            return Ok(None);
        }
    };
    buf.drain(..framing.head);
    let mut body = Vec::new();
    if framing.chunked {
        while !take_chunks(buf, &mut body)? {
            if stream.read_buf(buf).await? == 0 {
                return Ok(None);
            }
        }
    } else {
        let len = framing.length.unwrap_or(0);
        while buf.len() < len {
            if stream.read_buf(buf).await? == 0 {
                return Ok(None);
            }
        }
        body.extend(buf.drain(..len));
    }
    Ok(Some(Request { path, body, close: framing.close }))
}

async fn control(stream: &mut TcpStream, stub: &Stub, path: &str) -> io::Result<()> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let known = pair.split_once('=').and_then(|(key, value)| Some(stub.set(key, value.parse().ok()?)));
        if known != Some(true) {
            return stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    }
    stream.write_all(&replies::json(&stub.counters())).await
}

async fn answer(stream: &mut TcpStream, stub: &Stub, timer: &Timer, request: &Request) -> io::Result<()> {
    let Some(format) = Format::of(request.path.split('?').next().unwrap_or("")) else {
        return stream.write_all(replies::NOT_FOUND).await;
    };
    if is_true(&request.body, b"\"stream\"") {
        return send_stream(stream, stub, timer, format, is_true(&request.body, b"\"include_usage\"")).await;
    }
    let plain = stub.plain.borrow().clone();
    let reply = if format == Format::Chat { &plain.chat } else { &plain.messages };
    stream.write_all(reply).await
}

async fn send_stream(
    stream: &mut TcpStream,
    stub: &Stub,
    timer: &Timer,
    format: Format,
    include_usage: bool,
) -> io::Result<()> {
    // The settings may change while a stream runs; a stream keeps those it began with.
    let (chunks, pace_ns, stamped) = (stub.chunks.get(), stub.pace_us.get() * 1000, stub.stamp.get());
    let mut buf = Vec::with_capacity(1024);
    stream.write_all(replies::SSE_HEAD).await?;
    for event in format.opening() {
        put_chunk(&mut buf, event.as_bytes());
        stream.write_all(&buf).await?;
    }
    let start = now_ns();
    for i in 0..chunks {
        timer.until(start + (i + 1) * pace_ns).await?;
        let stamp = if stamped { text::stamp(now_ns()) } else { String::new() };
        put_chunk(&mut buf, format.token(&(stamp + &text::token(i))).as_bytes());
        stream.write_all(&buf).await?;
    }
    for event in format.closing(chunks, include_usage) {
        put_chunk(&mut buf, event.as_bytes());
        stream.write_all(&buf).await?;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stub.streams_done.set(stub.streams_done.get() + 1);
    Ok(())
}

/// Whether a JSON body has `key: true` somewhere; parsing it whole would cost more than the answer.
fn is_true(body: &[u8], key: &[u8]) -> bool {
    memmem::find_iter(body, key).any(|at| {
        let mut rest = body[at + key.len()..].iter().skip_while(|b| b" \t\r\n:".contains(b));
        b"true".iter().all(|b| rest.next() == Some(b))
    })
}
