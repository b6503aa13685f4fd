//! Getting what was written onto the disk, in groups.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Durable;
use crate::writer::{Fsync, Inner, Journal, OnFull};

/// How long after a disk that failed it is tried again, when no call asks for it earlier.
const AGAIN: Duration = Duration::from_secs(1);

impl Journal {
    /// Brings records onto the disk until `stop`, and once more after it. A caller spawns it.
    pub async fn sync(self, stop: CancellationToken) {
        let mut failed = false;
        loop {
            tokio::select! {
                () = self.inner.dirty.notified() => {}
                () = tokio::time::sleep(AGAIN), if failed => {}
                () = stop.cancelled() => break,
            }
            if let Fsync::Every(interval) = self.inner.config.fsync {
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = stop.cancelled() => break,
                }
            }
            failed = !sync_once(&self.inner).await;
        }
        sync_once(&self.inner).await;
    }

    /// Resolves when all that was recorded up to now is on the disk: while the disk fails, and while records
    /// are in memory since it is full, not before that ends. Where calls are to be served from memory
    /// ([`OnFull::Serve`]), what is in memory is not waited for.
    pub(crate) fn on_disk(&self) -> Durable {
        let wanted = {
            let state = self.inner.state.lock();
            if self.inner.config.on_full == OnFull::Serve { state.written } else { state.taken }
        };
        let mut synced = self.inner.synced.subscribe();
        self.inner.dirty.notify_one();
        Box::pin(async move {
            // The sender lives as long as the journal: when it is gone nobody is left to wait for.
            let _ = synced.wait_for(|synced| *synced >= wanted).await;
        })
    }
}

/// False where the disk failed: what was to be brought there is tried again, and who waits for it goes on waiting.
async fn sync_once(inner: &Arc<Inner>) -> bool {
    inner.retry_queue();
    let (files, written) = {
        let mut state = inner.state.lock();
        if !std::mem::take(&mut state.is_dirty) {
            return true;
        }
        let mut files = std::mem::take(&mut state.unsynced);
        files.push(Arc::clone(&state.segment.file));
        (files, state.written)
    };
    let (of, all) = (Arc::clone(inner), files.clone());
    let synced = tokio::task::spawn_blocking(move || -> io::Result<()> {
        // A file that is new is lost with its name.
        of.seal_rolled()?;
        all.iter().try_for_each(|file| file.sync_data())
    });
    match synced.await {
        Ok(Ok(())) => drop(inner.synced.send_replace(written)),
        Ok(Err(error)) => {
            tracing::error!(%error, "records of usage are not on the disk: a power cut would lose them");
            let mut state = inner.state.lock();
            state.status.failed_syncs += 1;
            state.unsynced.splice(..0, files);
            state.is_dirty = true;
            return false;
        }
        // The runtime is going down.
        Err(_) => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;
    use crate::queue::Record;
    use crate::writer::JournalConfig;
    use crate::{Admission, RecordSink};

    fn journal(folder: &Path, max_bytes: u64, on_full: OnFull) -> Journal {
        Journal::open(JournalConfig {
            folder: folder.to_owned(),
            fsync: Fsync::Strict,
            segment_bytes: 1 << 20,
            max_bytes,
            on_full,
            queue_bytes: 1 << 20,
        })
        .unwrap()
    }

    #[tokio::test]
    async fn who_waits_for_a_disk_that_fails_goes_on_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 1 << 30, OnFull::Refuse);
        journal.admit(&Admission::default()).unwrap();
        // It cannot be synced.
        journal.inner.state.lock().unsynced.push(File::open("/dev/null").unwrap().into());
        assert!(!sync_once(&journal.inner).await);
        assert_eq!((*journal.inner.synced.borrow(), journal.status().failed_syncs), (0, 1));
        {
            let mut state = journal.inner.state.lock();
            assert_eq!(state.unsynced.len(), 2);
            state.unsynced.remove(0);
        }
        assert!(sync_once(&journal.inner).await);
        assert_eq!(*journal.inner.synced.borrow(), 1);
    }

    #[tokio::test]
    async fn what_is_in_memory_is_waited_for_unless_it_is_to_be_served() {
        for (on_full, is_waited_for) in [(OnFull::Refuse, true), (OnFull::Serve, false)] {
            let folder = tempfile::tempdir().unwrap();
            let journal = journal(folder.path(), 1, on_full);
            journal.admit(&Admission::default()).unwrap();
            {
                let mut state = journal.inner.state.lock();
                state.taken += 1;
                let place = state.taken;
                state.queue.push_back(Record { bytes: "x".into(), is_news: true, place });
            }
            sync_once(&journal.inner).await;
            let waited = tokio::time::timeout(Duration::ZERO, journal.on_disk()).await;
            assert_eq!(waited.is_err(), is_waited_for, "{on_full:?}");
        }
    }
}
