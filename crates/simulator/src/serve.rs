//! The accept loop: HTTP/1.1 with keep-alive on loopback, every connection a tracked task.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::stage::Stage;

/// A thousand clients may connect at once; the default of the standard library is 128.
const BACKLOG: u32 = 4_096;
/// How long running responses get at shutdown: a hanging one would never end by itself.
const GRACE: Duration = Duration::from_secs(1);
/// After a failed accept (mostly: no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    if !addr.ip().is_loopback() {
        let message = format!("the simulator listens on loopback only, not on {addr}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // Registering the socket without a runtime would panic.
    tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

pub(crate) async fn run(listener: TcpListener, app: Router, shutdown: CancellationToken) {
    let tracker = TaskTracker::new();
    let mut connections = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections += 1;
                let stage = Stage::new(connections);
                tracker.spawn(connection(stream, stage, app.clone(), shutdown.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

async fn connection(stream: TcpStream, stage: Stage, app: Router, shutdown: CancellationToken) {
    // Without it a small chunk would wait for the acknowledgement of the one before; a refusal costs only speed.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    // No timer: idle connections stay open for as long as the gateway pools them.
    let service = stage.clone().service(app);
    let mut serving = http.header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    // A connection that fails is a client that left or a scripted fault; the ledger has it.
    tokio::select! {
        _ = &mut serving => {
            let socket = serving.into_parts().io.into_inner();
            tokio::select! {
                () = stage.play(socket) => {}
                () = shutdown.cancelled() => {}
            }
            return;
        }
        () = shutdown.cancelled() => {}
    }
    Pin::new(&mut serving).graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, serving).await;
}
