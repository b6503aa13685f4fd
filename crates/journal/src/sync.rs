//! Getting what was written onto the disk, in groups.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Durable;
use crate::writer::{Fsync, Inner, Journal, OnFull};

/// How long after a disk that failed it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Which records are on the disk, by their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    up_to: u64,
    /// Behind the first and up to the second some were lost.
    lost: Option<(u64, u64)>,
}

impl Synced {
    fn has(self, place: u64) -> bool {
        let is_lost = self.lost.is_some_and(|(behind, to)| behind < place && place <= to);
        self.up_to >= place && !is_lost
    }

    /// Of what is not on the disk yet, up to `place`, some never will be.
    pub(crate) fn lose(&mut self, place: u64) {
        let behind = self.lost.map_or(self.up_to, |(behind, _)| behind);
        self.lost = Some((behind, place));
    }
}

impl Journal {
    /// Brings records onto the disk until `stop`, and once more after it. A caller spawns it.
    pub async fn sync(self, stop: CancellationToken) {
        let mut failed = false;
        loop {
            let wait = async {
                if failed {
                    tokio::time::sleep(AGAIN).await;
                } else {
                    self.inner.dirty.notified().await;
                }
                if let Fsync::Every(interval) = self.inner.config.fsync {
                    tokio::time::sleep(interval).await;
                }
            };
            tokio::select! {
                () = wait => {}
                () = stop.cancelled() => break,
            }
            failed = !sync_once(&self.inner).await;
        }
        sync_once(&self.inner).await;
    }

    /// Resolves when all that was recorded up to now is on the disk: while the disk fails, and while records
    /// are in memory since it is full, not before that ends, and never for what is lost. Where calls are to be served
    /// from memory ([`OnFull::Serve`]), what is in memory is not waited for.
    pub(crate) fn on_disk(&self) -> Durable {
        let wanted = {
            let state = self.inner.state.lock();
            if self.inner.config.on_full == OnFull::Serve { state.written } else { state.taken }
        };
        let mut synced = self.inner.synced.subscribe();
        self.inner.dirty.notify_one();
        Box::pin(async move {
            // The sender lives as long as the journal: when it is gone nobody is left to wait for.
            let _ = synced.wait_for(|synced| synced.has(wanted)).await;
        })
    }
}

/// False where the disk failed: what was to be brought there is tried again, and who waits for it goes on waiting.
async fn sync_once(inner: &Arc<Inner>) -> bool {
    inner.retry_queue();
    let written = {
        let mut state = inner.state.lock();
        if !std::mem::take(&mut state.is_dirty) {
            return true;
        }
        state.written
    };
    let of = Arc::clone(inner);
    match tokio::task::spawn_blocking(move || of.secure()).await {
        Ok(Ok(())) => inner.synced.send_modify(|synced| synced.up_to = written),
        Ok(Err(error)) => {
            tracing::error!(%error, "records of usage are not on the disk: a power cut would lose them");
            inner.state.lock().is_dirty = true;
            return false;
        }
        // The runtime is going down.
        Err(_) => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::entry;
    use crate::frame::{Frame, HEAD};
    use crate::pieces::{PIECE, Pieces};
    use crate::queue::Record;
    use crate::segment::SegmentFile;
    use crate::writer::JournalConfig;
    use crate::{Admission, RecordSink, RequestId};

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

    /// As a disk that takes nothing any more: who asks is told once, and the next is told that all is well.
    fn fail(journal: &Journal) -> PathBuf {
        let mut state = journal.inner.state.lock();
        state.segment.file = SegmentFile::of(File::open("/dev/null").unwrap());
        state.segment.path.clone()
    }

    fn entries(path: &Path) -> usize {
        Pieces::open(path, entry::decode, PIECE).unwrap().contents().unwrap().entries.len()
    }

    async fn waits(durable: &mut Durable) -> bool {
        tokio::time::timeout(Duration::ZERO, durable).await.is_err()
    }

    #[tokio::test]
    async fn what_a_disk_failed_with_is_written_again_and_waited_for_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 1 << 30, OnFull::Refuse);
        journal.admit(&Admission::default()).unwrap();
        let mut durable = journal.on_disk();
        let path = fail(&journal);
        let before = fs::metadata(&path).unwrap().ino();
        // Nothing is written anew where a folder is.
        let again = path.with_extension("again");
        fs::create_dir(&again).unwrap();
        for failed in 1..3 {
            assert!(!sync_once(&journal.inner).await);
            assert!(waits(&mut durable).await);
            assert_eq!(journal.status().failed_syncs, failed);
        }
        fs::remove_dir(&again).unwrap();
        assert!(sync_once(&journal.inner).await);
        assert!(!waits(&mut durable).await);
        let sealed = journal.sealed().unwrap();
        assert_ne!(fs::metadata(&sealed[0].path).unwrap().ino(), before, "it is in another file");
        assert_eq!(entries(&sealed[0].path), 1);
        assert_eq!(journal.inner.state.lock().segment.number, 2, "what comes next goes into the next one");
    }

    #[tokio::test]
    async fn what_the_kernel_let_go_of_is_never_told_to_be_on_the_disk_and_what_comes_next_is() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 1 << 30, OnFull::Refuse);
        let admit = |id: &str| {
            let admission = Admission { request_id: RequestId(id.into()), ..Admission::default() };
            journal.admit(&admission).unwrap();
            journal.on_disk()
        };
        let mut kept = admit("a");
        assert!(sync_once(&journal.inner).await);
        let length = journal.status().bytes;
        let mut lost = admit("b");
        let path = fail(&journal);
        OpenOptions::new().write(true).open(path).unwrap().set_len(length + 5).unwrap();
        assert!(sync_once(&journal.inner).await);
        let mut next = admit("c");
        assert!(sync_once(&journal.inner).await);
        let waiting = [waits(&mut kept).await, waits(&mut lost).await, waits(&mut next).await];
        assert_eq!(waiting, [false, true, false]);
        assert_eq!(entries(&journal.sealed().unwrap()[0].path), 1);
        // Those under way are in memory, and in the next segment.
        assert_eq!(entries(&journal.inner.state.lock().segment.path), 3);
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
                let frame = Frame::new(vec![0; HEAD + 1], Default::default()).unwrap();
                state.queue.push_back(Record { frame, is_news: true, place });
            }
            sync_once(&journal.inner).await;
            let waited = tokio::time::timeout(Duration::ZERO, journal.on_disk()).await;
            assert_eq!(waited.is_err(), is_waited_for, "{on_full:?}");
        }
    }
}
