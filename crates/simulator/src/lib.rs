//! A provider simulator: upstream wire formats with a deterministic answer, scripted faults and latency, and a ledger of
//! every request. It has no part in serving real traffic; tests, benchmarks and `demo` run it.
//!
//! Each wire format is one file that implements `format::Format` and one line in `FORMATS`.

mod anthropic;
mod bedrock;
mod clock;
mod cohere;
mod control;
mod echo;
mod entra;
mod exchange;
mod fault;
mod format;
mod frames;
mod gates;
mod gemini;
mod google_token;
mod ledger;
mod openai;
mod pace;
mod plan;
mod recording;
mod script;
mod serve;
mod stage;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::exchange::Shared;
use crate::format::Format;

pub use crate::fault::Fault;
pub use crate::gates::{Gate, Gates, Opened};
pub use crate::google_token::Exchanges;
pub use crate::ledger::{Ledger, Record, State, Summary};
pub use crate::plan::Plan;
pub use crate::recording::{Recording, Recordings};
pub use crate::script::{Hang, SCRIPT_HEADER, Script, ScriptError, Scripts};

/// Every wire format that is spoken.
///
/// The first that claims a path speaks it: the narrower ones go before.
const FORMATS: &[&dyn Format] = &[
    &openai::Azure,
    &openai::Databricks,
    &openai::OpenAi,
    &anthropic::Anthropic,
    &bedrock::Bedrock,
    &gemini::Gemini,
    &cohere::Cohere,
    &entra::Entra,
];

fn format_of(path: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.claims(path))
}

/// The format in which an unknown path is refused.
fn unclaimed() -> &'static dyn Format {
    &openai::OpenAi
}

/// A simulator that is bound to its address and not yet serving.
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Simulator {
    /// Binds a loopback address (port 0 chooses a free one); must be called within a tokio runtime. Clients can connect
    /// from here on and are answered once [`Simulator::serve`] runs.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let listener = serve::listen(addr)?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, shared: Arc::default() })
    }

    /// The address that was bound.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The ledger, to be read while the simulator serves.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.shared.ledger.clone()
    }

    /// The tokens of Google that were asked for; these requests are not in the ledger.
    pub fn exchanges(&self) -> Arc<Exchanges> {
        self.shared.exchanges.clone()
    }

    /// The answers that are played as they were recorded, to be changed while the simulator serves.
    pub fn recordings(&self) -> Arc<Recordings> {
        self.shared.recordings.clone()
    }

    /// The posted scripts, to be changed while the simulator serves.
    pub fn scripts(&self) -> Arc<Scripts> {
        self.shared.scripts.clone()
    }

    /// Addresses where connections fail before any request.
    pub fn gates(&self) -> Arc<Gates> {
        self.shared.gates.clone()
    }

    /// Serves until `shutdown` is cancelled; then stops accepting and gives running responses a second to end.
    pub async fn serve(self, shutdown: CancellationToken) {
        let gates = self.gates();
        serve::run(self.listener, control::router(self.shared), shutdown).await;
        gates.close().await;
    }
}
