//! One record per request, appended to a file by a task of its own.

use anyhow::Context;
use serde::Serialize;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

#[derive(Default, Serialize)]
pub(crate) struct Record {
    pub(crate) user: u32,
    pub(crate) status: u16,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) latency_us: u64,
}

/// Starts the writer; records sent to it land in `path`, or nowhere without one.
pub(crate) async fn start(path: Option<&str>) -> anyhow::Result<mpsc::Sender<Record>> {
    let file = match path {
        Some(path) => Some(File::create(path).await.with_context(|| format!("create `{path}`"))?),
        None => None,
    };
    let (sender, receiver) = mpsc::channel(65536);
    tokio_util::task::TaskTracker::new().spawn(write(receiver, file));
    Ok(sender)
}

async fn write(mut receiver: mpsc::Receiver<Record>, mut file: Option<File>) -> std::io::Result<()> {
    let mut batch = Vec::with_capacity(4096);
    let mut lines = Vec::new();
    while receiver.recv_many(&mut batch, 4096).await > 0 {
        lines.clear();
        for record in batch.drain(..) {
            serde_json::to_writer(&mut lines, &record)?;
            lines.push(b'\n');
        }
        if let Some(file) = file.as_mut() {
            file.write_all(&lines).await?;
        }
        // Records gather for a moment, so that one write serves many.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
