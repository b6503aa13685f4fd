//! Getting what was written onto the disk, in groups.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::Durable;
use crate::writer::{Fsync, Inner, Journal};

impl Journal {
    /// Brings records onto the disk until `stop`, and once more after it. A caller spawns it.
    pub async fn sync(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.inner.dirty.notified() => {}
                () = stop.cancelled() => break,
            }
            if let Fsync::Every(interval) = self.inner.config.fsync {
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = stop.cancelled() => break,
                }
            }
            sync_once(&self.inner).await;
        }
        sync_once(&self.inner).await;
    }

    /// Resolves when all that was written up to now is on the disk.
    pub(crate) fn on_disk(&self) -> Durable {
        let wanted = self.inner.state.lock().written;
        let mut synced = self.inner.synced.subscribe();
        self.inner.dirty.notify_one();
        Box::pin(async move {
            // The sender lives as long as the journal: when it is gone nobody is left to wait for.
            let _ = synced.wait_for(|synced| *synced >= wanted).await;
        })
    }
}

async fn sync_once(inner: &Arc<Inner>) {
    inner.retry_queue();
    let (files, written) = {
        let mut state = inner.state.lock();
        let mut files = std::mem::take(&mut state.unsynced);
        files.push(Arc::clone(&state.segment.file));
        (files, state.written)
    };
    if *inner.synced.borrow() >= written {
        return;
    }
    match tokio::task::spawn_blocking(move || sync_files(&files)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            inner.failed_syncs();
            tracing::error!(%error, "records of usage are not on the disk: they would be lost to a power cut");
        }
        // The runtime is going down.
        Err(_) => return,
    }
    // Who waits is not held for ever by a disk that fails.
    inner.synced.send_replace(written);
}

fn sync_files(files: &[Arc<File>]) -> io::Result<()> {
    files.iter().try_for_each(|file| file.sync_data())
}
