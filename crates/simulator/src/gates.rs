//! Gates: addresses where a connection fails before any request, for faults that no model's name can ask for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Gates at the same time.
const MAX_GATES: usize = 100;
/// Connections that may wait at a gate that answers them.
const BACKLOG: u32 = 1_024;
/// A connection that is not made by then is not let in by the kernel.
const NOT_LET_IN: Duration = Duration::from_millis(200);
/// Connections that fill the queue of a gate; kernels let in a few more than asked.
const MAX_QUEUE: usize = 100;

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Refused: nobody listens.
    Closed,
    /// Made, and reset at once.
    Reset,
    /// Made, read from, and never answered.
    Hang,
    /// Not made: a full queue drops what asks for it.
    BlackHole,
}

/// The gates that are open: each is a task that keeps its address.
#[derive(Debug, Default)]
pub struct Gates {
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// A gate that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Where it is, on loopback.
    pub addr: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Opened {
    /// The base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Connections that were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }
}

impl Gates {
    /// Opens a gate on a free port, until the simulator ends.
    pub async fn open(&self, gate: Gate) -> io::Result<Opened> {
        if self.tasks.len() >= MAX_GATES {
            return Err(io::Error::other(format!("{MAX_GATES} gates are open already")));
        }
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let opened = Opened { addr: socket.local_addr()?, connections: Arc::default() };
        match gate {
            Gate::Closed => self.hold(socket),
            Gate::Reset | Gate::Hang => {
                let (listener, connections) = (socket.listen(BACKLOG)?, opened.connections.clone());
                self.tasks.spawn(serve(listener, gate, connections, self.shutdown.clone()));
            }
            Gate::BlackHole => {
                let listener = socket.listen(0)?;
                let queue = filled(opened.addr).await?;
                self.hold((listener, queue));
            }
        }
        Ok(opened)
    }

    fn hold<T: Send + 'static>(&self, held: T) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.cancelled().await;
            drop(held);
        });
    }

    pub(crate) async fn close(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn serve(
    listener: TcpListener,
    gate: Gate,
    connections: Arc<AtomicUsize>,
    shutdown: CancellationToken,
) {
    let clients = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((mut socket, _)) = accepted else { return };
        connections.fetch_add(1, Ordering::AcqRel);
        if gate == Gate::Reset {
            // A close with a linger of zero is a reset; refused, it is a close.
            let _ = socket.set_zero_linger();
            continue;
        }
        let shutdown = shutdown.clone();
        clients.spawn(async move {
            let reading = async { while socket.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {} };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = reading => {}
            }
        });
    }
}

/// Connects until the kernel lets nobody in any more.
async fn filled(addr: SocketAddr) -> io::Result<Vec<TcpStream>> {
    let mut queue = Vec::new();
    while queue.len() < MAX_QUEUE {
        match tokio::time::timeout(NOT_LET_IN, TcpStream::connect(addr)).await {
            Ok(connected) => queue.push(connected?),
            Err(_) => return Ok(queue),
        }
    }
    Err(io::Error::other("the queue of the black hole has no end"))
}
