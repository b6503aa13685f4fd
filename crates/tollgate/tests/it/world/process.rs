//! The binary as a process: its lines, its signals, its end. It does not outlive the test.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

use super::{PATIENCE, eventually};

pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

/// What a process has written so far.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    is_closed: bool,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(super) fn start(
        folder: &Path,
        temporary: &Path,
        tasks: &TaskTracker,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = command(env!("CARGO_BIN_EXE_tollgate"))
            .args(arguments)
            .env_clear()
            .env("TMPDIR", temporary)
            .envs(variables.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap(), tasks);
        let stderr = Lines::of(child.stderr.take().unwrap(), tasks);
        Self { child, stdout, stderr }
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("the process has ended").to_string();
        // The shell's own `kill`: not every machine has the program.
        let line = format!("kill -s {name} {id}");
        let status = command("sh").args(["-c", &line]).status().await.unwrap();
        assert!(status.success(), "kill -s {name}: {status}");
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// The exit code; none when a signal ended it.
    pub(crate) async fn exit(&mut self, within: Duration) -> Option<i32> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("not ended after {within:?}: {}", self.stderr.text()));
        // Its last lines may still be on their way.
        for lines in [&self.stdout, &self.stderr] {
            lines.closed().await;
        }
        status.unwrap().code()
    }

    /// Waits for its end.
    pub(crate) async fn done(mut self) -> Done {
        let code = self.exit(PATIENCE).await;
        Done { code, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// SIGTERM, and an end without complaint.
    pub(crate) async fn stop(self) -> Done {
        self.signal("TERM").await;
        let done = self.done().await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done
    }
}

impl Lines {
    fn of(pipe: impl AsyncRead + Send + Unpin + 'static, tasks: &TaskTracker) -> Self {
        let written = Self::default();
        let into = written.clone();
        tasks.spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                into.0.lock().lines.push(line);
            }
            into.0.lock().is_closed = true;
        });
        written
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().lines.clone()
    }

    pub(crate) fn text(&self) -> String {
        self.all().join("\n")
    }

    async fn closed(&self) {
        let closed = async || self.0.lock().is_closed.then_some(());
        eventually(PATIENCE, closed).await.expect("open after the end of the process");
    }

    /// The first line like this, once it is written.
    pub(crate) async fn until(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let look = async || {
            let written = self.0.lock();
            let line = written.lines.iter().find(|line| is_it(line)).cloned();
            // The end is an answer too.
            if line.is_none() && written.is_closed { Some(None) } else { line.map(Some) }
        };
        let found = eventually(PATIENCE, look).await.flatten();
        found.unwrap_or_else(|| panic!("no line with {what:?}:\n{}", self.text()))
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests run the program")]
fn command(program: &str) -> Command {
    Command::new(program)
}
