//! From one segment to the next.
//!
//! The next one begins under the lock that every call takes. What waits for the disk comes after it: the old
//! one is sealed when the calls under way are on the disk in the new one, so that whoever dies between the two,
//! by a power cut too, leaves both open, and a call that is in both is counted once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::frame::Frame;
use crate::queue::Record;
use crate::segment::{self, OpenSegment, SealedSegment, SegmentFile};
use crate::writer::{Inner, Journal, State};

impl Journal {
    /// Seals the segment that is open, where it holds something for the tables. It waits for the disk, so that
    /// it is not called on a thread that others need.
    pub fn seal(&self) -> io::Result<()> {
        let _one_at_a_time = self.inner.sealing.lock();
        // While that fails no more segments begin: each is a file that is open.
        self.inner.seal_rolled()?;
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
        let mut repeated: VecDeque<Frame> = state.admitted.values().cloned().collect();
        while let Some(frame) = repeated.pop_front() {
            if next.append(&frame).is_err() {
                repeated.push_front(frame);
                break;
            }
        }
        let old = std::mem::replace(&mut state.segment, next);
        state.waiting += old.length;
        state.is_dirty = true;
        state.rolled.push_back(old);
        // Of calls under way, what a full disk did not take goes before all that is to follow.
        let repeated = repeated.into_iter().rev().map(|frame| Record { frame, is_news: false, place: 0 });
        repeated.for_each(|record| state.queue.push_front(record));
        Ok(())
    }

    /// Brings all that is not sealed onto the disk, and seals what takes no more records.
    pub(crate) fn secure(&self) -> io::Result<()> {
        let _one_at_a_time = self.sealing.lock();
        self.seal_rolled()?;
        let open = self.state.lock().segment.number;
        self.bring(open)?;
        // Where the disk failed with it, it takes no more records.
        self.seal_rolled()
    }

    /// Seals what was rolled, the oldest first, without the lock of the calls. The caller holds that of sealing.
    fn seal_rolled(&self) -> io::Result<()> {
        let mut is_change = false;
        loop {
            let first = self.state.lock().rolled.front().map(|rolled| (rolled.number, rolled.path.clone()));
            let Some((number, path)) = first else { break };
            self.bring(number)?;
            // The calls under way are in the next one too.
            self.bring(number + 1)?;
            segment::sync_folder(&self.config.folder)?;
            segment::seal(&path)?;
            self.state.lock().rolled.pop_front();
            is_change = true;
        }
        if is_change { segment::sync_folder(&self.config.folder) } else { Ok(()) }
    }

    /// Brings a segment that is not sealed onto the disk, in another file where the disk fails with the one that it has.
    fn bring(&self, number: u64) -> io::Result<()> {
        let Some(file) = self.state.lock().file(number) else { return Ok(()) };
        let Err(error) = file.sync() else { return Ok(()) };
        self.state.lock().status.failed_syncs += 1;
        self.write_again(number)?;
        tracing::warn!(segment = number, %error, "the disk failed with records of usage: they are on it in another file now");
        Ok(())
    }

    fn write_again(&self, number: u64) -> io::Result<()> {
        let old = {
            let mut state = self.state.lock();
            if state.segment.number == number {
                self.roll(&mut state)?;
            }
            state.rolled.iter().find(|old| old.number == number).map(|old| (old.path.clone(), old.length))
        };
        let Some((path, length)) = old else { return Ok(()) };
        let (file, kept) = segment::write_again(&path, length)?;
        let mut state = self.state.lock();
        if kept < length {
            let lost = length - kept;
            tracing::error!(
                segment = number,
                bytes = lost,
                "records of usage are lost: the disk failed with them, and the kernel does not have them any more"
            );
            self.synced.send_modify(|synced| synced.lose(state.written));
            state.waiting = state.waiting.saturating_sub(lost);
        }
        if let Some(old) = state.rolled.iter_mut().find(|old| old.number == number) {
            (old.file, old.length) = (file, kept);
        }
        Ok(())
    }
}

impl State {
    /// Of a segment that is not sealed.
    fn file(&self, number: u64) -> Option<Arc<SegmentFile>> {
        let mut all = self.rolled.iter().chain([&self.segment]);
        Some(Arc::clone(&all.find(|segment| segment.number == number)?.file))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use crate::writer::{Fsync, Journal, JournalConfig, OnFull};
    use crate::{Admission, RecordSink, entry};

    use super::*;

    fn journal(folder: &std::path::Path, segment_bytes: u64) -> Journal {
        Journal::open(JournalConfig {
            folder: folder.to_owned(),
            fsync: Fsync::Strict,
            segment_bytes,
            max_bytes: 1 << 30,
            on_full: OnFull::Refuse,
            queue_bytes: 1 << 20,
        })
        .unwrap()
    }

    #[test]
    fn a_segment_stays_open_until_the_next_one_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 1);
        journal.admit(&Admission::default()).unwrap();
        let again = journal.inner.config.folder.join("000000000002.again");
        {
            let mut state = journal.inner.state.lock();
            journal.inner.roll(&mut state).unwrap();
            // Nothing is brought onto a disk that is none, nor written anew where a folder is.
            state.segment.file = SegmentFile::of(File::open("/dev/null").unwrap());
            fs::create_dir(&again).unwrap();
        }
        for failed in 1..3 {
            assert!(journal.seal().is_err());
            assert!(journal.sealed().unwrap().is_empty());
            assert_eq!(journal.status().failed_syncs, failed);
        }
        fs::remove_dir(&again).unwrap();
        journal.seal().unwrap();
        assert_eq!(journal.sealed().unwrap().len(), 2);
    }

    #[test]
    fn while_none_can_be_sealed_no_more_segments_begin() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 1 << 20);
        journal.admit(&Admission::default()).unwrap();
        let again = journal.inner.config.folder.join("000000000001.again");
        {
            let mut state = journal.inner.state.lock();
            journal.inner.roll(&mut state).unwrap();
            state.rolled[0].file = SegmentFile::of(File::open("/dev/null").unwrap());
            fs::create_dir(&again).unwrap();
        }
        for _ in 0..3 {
            let state = |journal: &Journal| {
                let state = journal.inner.state.lock();
                (state.rolled.len(), state.segment.number)
            };
            let news = entry::admitted(&Admission::default()).unwrap();
            journal.inner.put(&mut journal.inner.state.lock(), news);
            let begun = state(&journal);
            assert!(journal.seal().is_err());
            assert_eq!(state(&journal), begun);
        }
        fs::remove_dir(&again).unwrap();
        journal.seal().unwrap();
        assert!(journal.inner.state.lock().rolled.is_empty());
    }
}
