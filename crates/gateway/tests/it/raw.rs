//! An upstream of bytes: it reads a request and plays what it was given, HTTP or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, small_buffers};

/// What is played for each request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Play {
    /// Written one after the other, each flushed.
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) pause: Duration,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection takes the next request.
    #[default]
    Keep,
    Close,
    Reset,
    /// Nothing more comes.
    Hang,
}

pub(crate) struct Raw {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

/// What came and went.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    written: AtomicUsize,
    bodies: Mutex<Vec<Vec<u8>>>,
}

impl Play {
    /// A whole answer with a correct length.
    pub(crate) fn whole(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
        Self { pieces: vec![answer.into_bytes()], ..Self::default() }
    }

    /// A stream: each piece a chunk of the transfer, the end of it announced.
    pub(crate) fn stream<T: AsRef<[u8]>>(pieces: &[T]) -> Self {
        let mut play = Self::open_stream(pieces);
        play.pieces.push(b"0\r\n\r\n".to_vec());
        play
    }

    /// A stream whose end is never announced.
    pub(crate) fn open_stream<T: AsRef<[u8]>>(pieces: &[T]) -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = |piece: &T| {
            let piece = piece.as_ref();
            [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
        };
        let chunks = pieces.iter().filter(|piece| !piece.as_ref().is_empty()).map(chunk);
        Self { pieces: std::iter::once(head.as_bytes().to_vec()).chain(chunks).collect(), ..Self::default() }
    }

    pub(crate) fn end(self, end: End) -> Self {
        Self { end, ..self }
    }

    pub(crate) fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }
}

impl Raw {
    pub(crate) async fn start(world: &World, play: Play) -> Self {
        Self::with(world, move |_| play.clone()).await
    }

    /// `play` is asked for each request with its number, from 0.
    pub(crate) async fn with(world: &World, play: impl Fn(usize) -> Play + Send + Sync + 'static) -> Self {
        let listener = small_buffers();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let raw = Self { url, seen: Arc::default() };
        let (seen, play, tasks) = (raw.seen.clone(), Arc::new(play), world.tasks.clone());
        world.tasks.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, play) = (seen.clone(), play.clone());
                // A peer that leaves early is part of many tests.
                tasks.spawn(async move { drop(serve(socket, &seen, play.as_ref()).await) });
            }
        });
        raw
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// The bodies that came, in order.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.seen.bodies.lock().iter().map(|body| serde_json::from_slice(body).unwrap()).collect()
    }

    /// Bytes that the kernel took.
    pub(crate) fn written(&self) -> usize {
        self.seen.written.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut socket: TcpStream,
    seen: &Seen,
    play: &(dyn Fn(usize) -> Play + Send + Sync),
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    loop {
        let Some(body) = read_request(&mut socket).await? else { return Ok(()) };
        seen.bodies.lock().push(body);
        let play = play(seen.requests.fetch_add(1, Ordering::SeqCst));
        for piece in &play.pieces {
            socket.write_all(piece).await?;
            seen.written.fetch_add(piece.len(), Ordering::SeqCst);
            if !play.pause.is_zero() {
                tokio::time::sleep(play.pause).await;
            }
        }
        match play.end {
            End::Keep => {}
            End::Close => return socket.shutdown().await,
            End::Reset => return reset(socket).await,
            End::Hang => {
                // Until the peer leaves.
                while socket.read(&mut [0; 64]).await? > 0 {}
                return Ok(());
            }
        }
    }
}

/// A close with unread input is a reset; a linger of zero makes it one in every case.
async fn reset(socket: TcpStream) -> std::io::Result<()> {
    // What was written is to arrive before the reset does.
    tokio::time::sleep(Duration::from_millis(20)).await;
    socket.set_zero_linger()?;
    Ok(())
}

/// The body of the next request; `None` at the end of the connection.
async fn read_request(socket: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let (mut head, mut byte) = (Vec::new(), [0; 1]);
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).await?;
    Ok(Some(body))
}
