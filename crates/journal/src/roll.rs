//! From one segment to the next.
//!
//! The next one begins under the lock that every call takes. What waits for the disk comes after it: the old
//! one is sealed when the calls under way are on the disk in the new one, so that whoever dies between the two,
//! by a power cut too, leaves both open, and a call that is in both is counted once.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::queue::Record;
use crate::segment::{self, OpenSegment, SealedSegment};
use crate::writer::{Inner, Journal, State};

/// A segment that takes no more records and is not sealed yet.
pub(crate) struct Rolled {
    pub(crate) segment: OpenSegment,
    /// The one after it.
    pub(crate) next: Arc<File>,
}

impl Journal {
    /// Seals the segment that is open, where it holds something for the tables. It waits for the disk, so that
    /// it is not called on a thread that others need.
    pub fn seal(&self) -> io::Result<()> {
        {
            let mut state = self.inner.state.lock();
            if state.segment.news > 0 {
                self.inner.roll(&mut state)?;
            }
        }
        self.inner.dirty.notify_one();
        self.inner.seal_rolled()
    }

    /// Segments that wait for the tables, the oldest first.
    pub fn sealed(&self) -> io::Result<Vec<SealedSegment>> {
        let all = segment::list(&self.inner.config.folder)?;
        Ok(all.into_iter().filter(|(_, open)| !open).map(|(segment, _)| segment).collect())
    }
}

impl Inner {
    /// Begins the next segment with the calls under way. Errors leave everything as it was.
    pub(crate) fn roll(&self, state: &mut State) -> io::Result<()> {
        let mut next = OpenSegment::create(&self.config.folder, state.segment.number + 1)?;
        let mut repeated: VecDeque<Bytes> = state.admitted.values().cloned().collect();
        while let Some(bytes) = repeated.pop_front() {
            if next.append(&bytes).is_err() {
                repeated.push_front(bytes);
                break;
            }
        }
        let file = Arc::clone(&next.file);
        let old = std::mem::replace(&mut state.segment, next);
        state.waiting += old.length;
        state.unsynced.push(Arc::clone(&old.file));
        state.is_dirty = true;
        state.rolled.push_back(Rolled { segment: old, next: file });
        // Of calls under way, what a full disk did not take goes before all that is to follow.
        let repeated = repeated.into_iter().rev().map(|bytes| Record { bytes, is_news: false, place: 0 });
        repeated.for_each(|record| state.queue.push_front(record));
        Ok(())
    }

    /// Seals what was rolled, the oldest first, without the lock.
    pub(crate) fn seal_rolled(&self) -> io::Result<()> {
        let _one_at_a_time = self.sealing.lock();
        let mut is_change = false;
        loop {
            let first =
                self.state.lock().rolled.front().map(|r| (r.segment.path.clone(), Arc::clone(&r.next)));
            let Some((path, next)) = first else { break };
            next.sync_data()?;
            segment::sync_folder(&self.config.folder)?;
            segment::seal(&path)?;
            self.state.lock().rolled.pop_front();
            is_change = true;
        }
        if is_change { segment::sync_folder(&self.config.folder) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use crate::writer::{Fsync, Journal, JournalConfig, OnFull};
    use crate::{Admission, RecordSink};

    use super::*;

    fn journal(folder: &std::path::Path) -> Journal {
        Journal::open(JournalConfig {
            folder: folder.to_owned(),
            fsync: Fsync::Strict,
            segment_bytes: 1,
            max_bytes: 1 << 30,
            on_full: OnFull::Refuse,
            queue_bytes: 1 << 20,
        })
        .unwrap()
    }

    #[test]
    fn a_segment_stays_open_until_the_next_one_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        journal.admit(&Admission::default()).unwrap();
        {
            let mut state = journal.inner.state.lock();
            journal.inner.roll(&mut state).unwrap();
            // Nothing is brought onto a disk that is none.
            state.rolled[0].next = File::open("/dev/null").unwrap().into();
        }
        assert!(journal.seal().is_err());
        assert!(journal.sealed().unwrap().is_empty());
        let mut state = journal.inner.state.lock();
        state.rolled[0].next = Arc::clone(&state.segment.file);
        drop(state);
        journal.seal().unwrap();
        assert_eq!(journal.sealed().unwrap().len(), 1);
    }
}
