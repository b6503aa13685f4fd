//! A small, fast stand-in for a provider, for load on the loopback interface. One thread.
//!
//!   stub port=9100 latency_us=0 chunks=100 pace_us=0 stamp=1
//!
//!   POST …/chat/completions   OpenAI chat, plain and streamed
//!   POST …/messages           Anthropic messages, plain and streamed
//!   POST /_ctl?latency_us=&chunks=&pace_us=&stamp=   changes the settings; answers like GET /_ctl
//!   GET  /_ctl                what was served so far
//!
//! Every answer is the text of `protocol::text` with `chunks` tokens: as one piece, or one token a chunk, the
//! chunks `pace_us` apart on an absolute schedule.

mod connection;
mod replies;

use protocol::args::Args;
use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use tokio::net::TcpSocket;
use tokio::task::LocalSet;

/// Settings, counters and the prepared answers, shared by all connections of the one thread.
struct Stub {
    latency_us: Cell<u64>,
    chunks: Cell<u64>,
    pace_us: Cell<u64>,
    stamp: Cell<bool>,
    requests: Cell<u64>,
    streams_done: Cell<u64>,
    plain: RefCell<Rc<replies::Plain>>,
}

impl Stub {
    fn new() -> Self {
        const CHUNKS: u64 = 100;
        Self {
            latency_us: Cell::new(0),
            chunks: Cell::new(CHUNKS),
            pace_us: Cell::new(0),
            stamp: Cell::new(true),
            requests: Cell::new(0),
            streams_done: Cell::new(0),
            plain: RefCell::new(Rc::new(replies::Plain::new(CHUNKS))),
        }
    }

    /// False if there is no such setting.
    fn set(&self, key: &str, value: u64) -> bool {
        match key {
            "latency_us" => self.latency_us.set(value),
            "pace_us" => self.pace_us.set(value),
            "stamp" => self.stamp.set(value != 0),
            "chunks" => {
                self.chunks.set(value);
                self.plain.replace(Rc::new(replies::Plain::new(value)));
            }
            _ => return false,
        }
        true
    }

    fn counters(&self) -> String {
        format!(r#"{{"requests":{},"streams_done":{}}}"#, self.requests.get(), self.streams_done.get())
    }
}

async fn serve(stub: Rc<Stub>, port: u16) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(4096)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stub = stub.clone();
        // A connection that breaks is the other side's finding; there is nobody to tell here.
        tokio::task::spawn_local(async move { connection::run(stream, &stub).await.ok() });
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::from_process()?;
    let stub = Rc::new(Stub::new());
    for key in ["latency_us", "chunks", "pace_us", "stamp"] {
        if args.get(key).is_some() {
            stub.set(key, args.number(key, 0.0)? as u64);
        }
    }
    let port = args.number("port", 9100.0)? as u16;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, serve(stub, port))
}
