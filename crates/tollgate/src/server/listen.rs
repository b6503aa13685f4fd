//! The accept loop, the limits of a connection, and the drain.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use journal::audit::Peer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::Front;
use super::health::Health;
use super::tls::Reloading;
use crate::config::ServerConfig;

const HEADERS_WITHIN: Duration = Duration::from_secs(10);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Clients may come in a burst. Those beyond the backlog, which is 128 unless set, try again after a second.
const BACKLOG: u32 = 4096;
const MAX_HEADERS: usize = 100;
/// All headers of a request together, in bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// After the drain, connections that are still open are cut; they get this long to notice.
const CUT_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn bind(config: &ServerConfig) -> anyhow::Result<TcpListener> {
    let listen = config.listen;
    let bound = match open(listen) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && config.any_port => {
            open(SocketAddr::new(listen.ip(), 0))
        }
        bound => bound,
    };
    bound.with_context(|| format!("cannot listen on {listen}"))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Else a restart would have to wait for the connections of before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop`. True when every call under way ended by itself.
pub(super) async fn serve(
    listener: TcpListener,
    front: Front,
    tls: Option<Reloading>,
    config: &ServerConfig,
    stop: CancellationToken,
    health: &Health,
) -> bool {
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(config.max_connections));
    let http = Arc::new(http());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let connection = Connection {
            http: Arc::clone(&http),
            front: front.clone(),
            watcher: graceful.watcher(),
            cut: cut.clone(),
            peer,
        };
        let tls = tls.clone();
        connections.spawn(async move {
            connection.serve(stream, tls).await;
            drop(permit);
        });
    }
    health.ready(false);
    drop(listener);
    connections.close();
    let drained = tokio::time::timeout(config.drain, graceful.shutdown()).await.is_ok();
    if !drained {
        tracing::warn!(
            open = connections.len(),
            drain_seconds = config.drain.as_secs(),
            "the drain is over, cutting what is open"
        );
    }
    cut.cancel();
    let _ = tokio::time::timeout(CUT_WITHIN, connections.wait()).await;
    drained
}

/// The next connection, when there is room for it. Errors of accept are the machine's (no descriptors
/// left): they pass, and a pause keeps them from spinning.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, Peer(address.ip()), permit)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(16 << 10)
        .initial_stream_window_size(1 << 16)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

struct Connection {
    http: Arc<auto::Builder<TokioExecutor>>,
    front: Front,
    watcher: Watcher,
    cut: CancellationToken,
    peer: Peer,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<Reloading>) {
        // Small chunks of a stream must not wait for more.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return self.speak(TokioIo::new(stream)).await };
        match tokio::time::timeout(HANDSHAKE_WITHIN, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.speak(TokioIo::new(stream)).await,
            Ok(Err(error)) => tracing::debug!(%error, "tls handshake failed"),
            Err(_) => tracing::debug!("tls handshake took too long"),
        }
    }

    async fn speak<S: Read + Write + Unpin + Send + 'static>(self, stream: S) {
        let Self { http, front, watcher, cut, peer } = self;
        let asked = Arc::new(AtomicBool::new(false));
        let has_asked = Arc::clone(&asked);
        let service = service_fn(move |request: http::Request<Incoming>| {
            has_asked.store(true, Ordering::Relaxed);
            front.clone().serve(request, peer)
        });
        let connection = http.serve_connection(stream, service).into_owned();
        let connection = watcher.watch(connection);
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "connection ended with an error");
            },
            () = silence(&asked) => tracing::debug!("no request came in time"),
            () = cut.cancelled() => {}
        }
    }
}

/// Ends when a new connection has brought no request in time. The limit on reading a head does not see this:
/// it begins when the version of HTTP is known.
async fn silence(asked: &AtomicBool) {
    tokio::time::sleep(HEADERS_WITHIN).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
