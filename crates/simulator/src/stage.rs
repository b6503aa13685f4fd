//! One connection as its requests see it: its number, and the way to take its socket away from HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ledger::Track;
use crate::pace::CutByScript;

/// What was written is to arrive before a reset does.
const BEFORE_RESET: Duration = Duration::from_millis(20);

/// How a socket is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    Orderly,
    Reset,
    /// By the client.
    Never,
}

/// Bytes in place of an answer by HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Take {
    pub(crate) bytes: Bytes,
    pub(crate) close: Close,
}

/// Travels with every request of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Connections are counted from 1.
    pub(crate) connection: u64,
    taken: Arc<Mutex<Option<(Take, Track)>>>,
}

impl Stage {
    pub(crate) fn new(connection: u64) -> Self {
        Self { connection, taken: Arc::default() }
    }

    /// Has HTTP leave the connection once the handler returns; [`Stage::play`] goes on from there.
    pub(crate) fn take(&self, take: Take, track: Track) {
        *self.taken.lock() = Some((take, track));
    }

    /// Calls the routes with the stage among the request's extensions; an error where the socket was taken.
    pub(crate) fn service(
        self,
        app: Router,
    ) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = CutByScript, Future: Send> {
        let app = TowerToHyperService::new(app);
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(self.clone());
            let (called, taken) = (app.call(request), self.taken.clone());
            async move {
                let response: Result<_, Infallible> = called.await;
                let Ok(response) = response;
                if taken.lock().is_some() { Err(CutByScript) } else { Ok(response) }
            }
        })
    }

    /// Plays what a request wanted on the socket, if one did.
    pub(crate) async fn play(&self, mut socket: TcpStream) {
        let Some((take, mut track)) = self.taken.lock().take() else { return };
        // A client that has left is in the ledger, as the track is dropped before its end.
        if socket.write_all(&take.bytes).await.is_err() {
            return;
        }
        track.sent(take.bytes.len(), true);
        track.complete();
        match take.close {
            Close::Orderly => drop(socket.shutdown().await),
            Close::Reset => {
                tokio::time::sleep(BEFORE_RESET).await;
                // A close with a linger of zero is a reset; refused, it is a close.
                let _ = socket.set_zero_linger();
            }
            Close::Never => while socket.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {},
        }
    }
}
