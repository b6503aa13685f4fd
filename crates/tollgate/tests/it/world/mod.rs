//! One world per test: a temporary folder, a provider simulator, and the real binary as its own process.

pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod process;
pub(crate) mod socket;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use simulator::{Ledger, Record, Simulator, State};
use tempfile::TempDir;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use client::Client;
use process::Process;

/// How long anything may take that has no limit of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Tests that measure time have the machine for themselves; all others share it.
static MACHINE: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

enum Share {
    One(#[expect(dead_code, reason = "held until the end of the test")] OwnedRwLockReadGuard<()>),
    All(#[expect(dead_code, reason = "held until the end of the test")] OwnedRwLockWriteGuard<()>),
}

pub(crate) struct World {
    folder: TempDir,
    pub(crate) simulator: String,
    pub(crate) ledger: Arc<Ledger>,
    tasks: TaskTracker,
    _stop: DropGuard,
    _share: Share,
}

/// A server that serves.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
}

impl World {
    pub(crate) async fn shared() -> Self {
        Self::new(Share::One(Arc::clone(&MACHINE).read_owned().await))
    }

    /// For tests that measure time.
    pub(crate) async fn alone() -> Self {
        Self::new(Share::All(Arc::clone(&MACHINE).write_owned().await))
    }

    fn new(share: Share) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let upstream = Simulator::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let (simulator, ledger) = (upstream.url(), upstream.ledger());
        tasks.spawn(upstream.serve(stop.clone()));
        Self { folder, simulator, ledger, tasks, _stop: stop.drop_guard(), _share: share }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Where the processes of this world put what is temporary.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Starts the binary with nothing in its environment but what is given.
    pub(crate) fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
        Process::start(self.folder.path(), &self.temporary(), &self.tasks, arguments, variables)
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> process::Done {
        self.start(arguments, variables).done().await
    }

    /// A server on the data folder of this world and a port of its own; upstreams may be on loopback.
    pub(crate) fn start_server(&self, variables: &[(&str, &str)]) -> Process {
        let data = self.data();
        let usual = [
            ("TOLLGATE_SERVER__LISTEN", "127.0.0.1:0"),
            ("TOLLGATE_SERVER__DATA", data.to_str().unwrap()),
            ("TOLLGATE_EGRESS__ALLOW", "127.0.0.1"),
        ];
        // A later one of the same name wins.
        self.start(&["serve"], &[&usual, variables].concat())
    }

    pub(crate) async fn serve(&self, variables: &[(&str, &str)]) -> Server {
        let process = self.start_server(variables);
        let line = process.stderr.until("serving", |line| line.contains("\"message\":\"serving\"")).await;
        let line: Value = serde_json::from_str(&line).unwrap();
        let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
        let client =
            Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())), &self.admin_token());
        Server { process, address, client }
    }

    pub(crate) fn admin_token(&self) -> String {
        first_line(&self.data().join("admin.token"))
    }

    pub(crate) fn master_key(&self) -> String {
        first_line(&self.data().join("master.key"))
    }

    /// The config of an endpoint for chat, whose model may carry a script of the simulator.
    pub(crate) fn chat_config(&self, model: &str) -> Value {
        chat_config(&self.simulator, model)
    }

    /// The newest request at the simulator, once it stands like this.
    pub(crate) async fn upstream(&self, state: State, within: Duration) -> Record {
        let newest = async || self.ledger.requests().pop().filter(|record| record.state == state);
        eventually(within, newest)
            .await
            .unwrap_or_else(|| panic!("not {state:?}: {:?}", self.ledger.requests()))
    }
}

pub(crate) fn chat_config(simulator: &str, model: &str) -> Value {
    json!({"served_entities": [{"name": "one", "external_model": {
        "name": model, "provider": "openai", "task": "llm/v1/chat",
        "openai_config": {
            "openai_api_key_plaintext": "sk-upstream", "openai_api_base": format!("{simulator}/v1")}}}]})
}

pub(crate) fn chat(stream: bool) -> Value {
    json!({"stream": stream, "messages": [{"role": "user", "content": "hello"}]})
}

fn first_line(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

/// Unix milliseconds, the clock of the simulator's ledger.
#[expect(clippy::disallowed_methods, reason = "the one place of the tests that reads the clock")]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Asks until there is an answer or the time is up.
pub(crate) async fn eventually<T>(within: Duration, ask: impl AsyncFn() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
