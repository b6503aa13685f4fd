//! The journal: takes records, and gives whole segments to whoever fills the tables.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::entry;
use crate::frame::{Frame, TooLong};
use crate::open::{self, OpenError, Opened};
use crate::payload::{Captured, Payload};
use crate::queue::{Queue, Record};
use crate::segment::{OpenSegment, SealedSegment};
use crate::sync::Synced;
use crate::trail::LeftOut;
use crate::{Admission, Durable, Full, RecordSink, Settlement};

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Shared by all servers of a data folder.
    pub folder: PathBuf,
    pub fsync: Fsync,
    /// A segment of this many bytes is sealed.
    pub segment_bytes: u64,
    /// Bytes of all segments above which the journal is full, as it is when the disk is.
    pub max_bytes: u64,
    pub on_full: OnFull,
    /// Bytes of records that are held in memory while the disk takes none.
    pub queue_bytes: usize,
}

/// When records are brought onto the disk. They outlive the process in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// In groups; a power cut may cost what was written within the interval.
    Every(Duration),
    /// Before an upstream is called and before the last byte goes to the client.
    Strict,
}

/// What becomes of calls while the journal is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// They are refused before an upstream is called.
    Refuse,
    /// They are served as long as their records have room in memory, then refused. What is in memory is not
    /// on the disk, [`Fsync::Strict`] or not.
    Serve,
}

/// The journal as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub is_full: bool,
    /// Bytes of segments whose records are not in the tables yet.
    pub bytes: u64,
    /// Bytes of records that are in memory alone.
    pub queued_bytes: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Bodies that were left out for want of room.
    pub dropped_payloads: u64,
    /// Audit records that were left out: they are in the log alone.
    pub left_out_audits: u64,
    pub failed_syncs: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: JournalConfig,
    id: String,
    aborted: usize,
    first: u64,
    pub(crate) state: Mutex<State>,
    /// Whoever seals a segment; taken before `state`, never the other way.
    pub(crate) sealing: Mutex<()>,
    pub(crate) synced: watch::Sender<Synced>,
    pub(crate) dirty: Notify,
    sealed: Notify,
    /// Dropped with the journal, and with it the lock.
    _lock: File,
}

pub(crate) struct State {
    pub(crate) segment: OpenSegment,
    /// They take no more records, and are sealed when they and the next one are on the disk; the oldest first.
    pub(crate) rolled: VecDeque<OpenSegment>,
    /// Whether something was written that is not on the disk.
    pub(crate) is_dirty: bool,
    /// The disk did not take the last record that was to be written.
    is_refused: bool,
    /// The place of the last record that was taken, and of the last that was written.
    pub(crate) taken: u64,
    pub(crate) written: u64,
    /// Bytes of the segments before this one.
    pub(crate) waiting: u64,
    /// The admission of every call under way, as it was written.
    pub(crate) admitted: HashMap<Arc<str>, Frame>,
    pub(crate) queue: Queue,
    pub(crate) left_out: LeftOut,
    pub(crate) status: Status,
}

impl Journal {
    /// Opens a journal of this process's own in the folder, and settles what a crash left open there. It
    /// reads files, so that it is not called on a thread that others need.
    pub fn open(config: JournalConfig) -> Result<Self, OpenError> {
        let opened = open::open(&config.folder)?;
        Ok(Self::of(opened, config))
    }

    /// Opens the journals of the folder that nobody has and that hold records: they want to be flushed, and
    /// take no records any more.
    pub fn open_left(config: &JournalConfig) -> Result<Vec<Self>, OpenError> {
        let opened = open::open_left(&config.folder)?;
        Ok(opened.into_iter().map(|opened| Self::of(opened, config.clone())).collect())
    }

    fn of(opened: Opened, config: JournalConfig) -> Self {
        let config = JournalConfig { folder: opened.folder, ..config };
        let state = State {
            segment: opened.segment,
            rolled: VecDeque::new(),
            is_dirty: false,
            is_refused: false,
            taken: 0,
            written: 0,
            waiting: opened.waiting,
            admitted: HashMap::new(),
            queue: Queue::default(),
            left_out: LeftOut::default(),
            status: Status::default(),
        };
        let inner = Inner {
            config,
            id: opened.id,
            aborted: opened.aborted,
            first: state.segment.number,
            sealing: Mutex::new(()),
            synced: watch::Sender::default(),
            state: Mutex::new(state),
            dirty: Notify::new(),
            sealed: Notify::new(),
            _lock: opened.lock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What the tables know the numbers of this journal's segments by.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Calls that were found under way at the start, each of which has its record now.
    pub fn aborted(&self) -> usize {
        self.inner.aborted
    }

    /// The number of the first segment that this process made: what has a lower one was there before it.
    pub fn first_number(&self) -> u64 {
        self.inner.first
    }

    pub fn status(&self) -> Status {
        let state = self.inner.state.lock();
        let queued_bytes = state.queue.bytes() as u64;
        Status { bytes: state.bytes(), queued_bytes, ..state.status }
    }

    /// Whether a quarter of the bytes that it may hold wait for the tables.
    pub fn is_filling(&self) -> bool {
        self.status().bytes >= self.inner.config.max_bytes / 4
    }

    /// Resolves when a segment is to be sealed for its size.
    pub async fn sealed_by_size(&self) {
        self.inner.sealed.notified().await;
    }

    /// Deletes a segment whose records are in the tables.
    pub fn delete(&self, segment: &SealedSegment) -> io::Result<()> {
        fs::remove_file(&segment.path)?;
        self.forget(segment);
        Ok(())
    }

    /// Keeps a segment that is damaged, for people to look at, after what is whole in it is in the tables.
    pub fn set_aside(&self, segment: &SealedSegment) -> io::Result<()> {
        fs::rename(&segment.path, segment.path.with_extension("damaged"))?;
        self.forget(segment);
        Ok(())
    }

    fn forget(&self, segment: &SealedSegment) {
        let mut state = self.inner.state.lock();
        state.waiting = state.waiting.saturating_sub(segment.bytes);
        self.inner.dirty.notify_one();
    }
}

impl Inner {
    /// Writes what waits in memory, as far as the disk takes it.
    pub(crate) fn retry_queue(&self) {
        let mut state = self.state.lock();
        state.drain(self.config.max_bytes);
        self.note_full(&mut state);
    }

    /// Told when it begins and when it ends, not for each call.
    fn note_full(&self, state: &mut State) {
        let is_full = state.is_refused || !state.queue.is_empty() || self.is_over(state);
        let was_full = std::mem::replace(&mut state.status.is_full, is_full);
        let folder = self.config.folder.display();
        match (was_full, is_full) {
            (false, true) => tracing::error!(%folder,
                "the usage journal is full: make room on its disk, or see why the tables are not written"),
            (true, false) => tracing::info!(%folder, "the usage journal has room again"),
            _ => {}
        }
    }

    fn is_over(&self, state: &State) -> bool {
        state.bytes() >= self.config.max_bytes
    }

    /// Writes news, or keeps them in memory when the disk does not take them.
    pub(crate) fn put(&self, state: &mut State, frame: Frame) {
        let record = state.record(frame, true);
        state.put(record, self.config.max_bytes);
        if state.segment.length >= self.config.segment_bytes {
            match self.roll(state) {
                Ok(()) => self.sealed.notify_one(),
                Err(error) => tracing::error!(%error, "cannot begin a segment of the journal"),
            }
        }
        self.note_full(state);
        self.dirty.notify_one();
    }

    pub(crate) fn has_queue_room(&self, state: &State, more: usize) -> bool {
        state.queue.bytes() + more <= self.config.queue_bytes
    }
}

impl State {
    /// Of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.waiting + self.segment.length
    }

    /// In its place behind all others.
    fn record(&mut self, frame: Frame, is_news: bool) -> Record {
        self.taken += 1;
        Record { frame, is_news, place: self.taken }
    }

    fn put(&mut self, record: Record, max_bytes: u64) {
        self.drain(max_bytes);
        if !self.queue.is_empty() {
            self.queue.push_back(record);
            return;
        }
        if self.write(&record).is_err() {
            self.queue.push_back(record);
        }
    }

    /// Writes what waits in memory, while there is room.
    pub(crate) fn drain(&mut self, max_bytes: u64) {
        while self.bytes() < max_bytes
            && let Some(record) = self.queue.pop_front()
        {
            if self.write(&record).is_err() {
                self.queue.push_front(record);
                return;
            }
        }
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let appended = self.segment.append(&record.frame);
        let was_refused = std::mem::replace(&mut self.is_refused, appended.is_err());
        if let Err(error) = appended {
            if !was_refused {
                tracing::error!(%error, "the journal's disk takes no record");
            }
            return Err(error);
        }
        self.segment.news += u64::from(record.is_news);
        self.written = self.written.max(record.place);
        self.is_dirty = true;
        Ok(())
    }
}

impl RecordSink for Journal {
    fn admit(&self, admission: &Admission) -> Result<(), Full> {
        let frame = entry::admitted(admission).map_err(|error| {
            tracing::error!(request_id = %admission.request_id.0, %error, "the call has no record: it is refused");
            Full
        })?;
        let inner = &self.inner;
        let mut state = inner.state.lock();
        state.drain(inner.config.max_bytes);
        let has_room = state.queue.is_empty() && !inner.is_over(&state);
        // It is kept for as long as the call is under way.
        let frame = frame.in_one_piece();
        let record = state.record(frame.clone(), false);
        let taken = has_room && state.write(&record).is_ok();
        if !taken {
            let serves = inner.config.on_full == OnFull::Serve && inner.has_queue_room(&state, frame.len());
            if !serves {
                state.taken -= 1;
                state.status.refused += 1;
                inner.note_full(&mut state);
                return Err(Full);
            }
            state.queue.push_back(record);
        }
        inner.note_full(&mut state);
        state.admitted.insert(Arc::clone(&admission.request_id.0), frame);
        inner.dirty.notify_one();
        Ok(())
    }

    fn settle(&self, admission: &Admission, settlement: &Settlement) {
        let whole = entry::settled(admission, settlement);
        let mut state = self.inner.state.lock();
        state.admitted.remove(&admission.request_id.0);
        state.drain(self.inner.config.max_bytes);
        // The call is over and its record is kept whatever happens; its bodies are not.
        let fits = |frame: &Frame| state.queue.is_empty() || self.inner.has_queue_room(&state, frame.len());
        let frame = match whole {
            Ok(frame) if fits(&frame) => Ok(frame),
            _ => without_bodies(admission, settlement, &mut state.status),
        };
        match frame {
            Ok(frame) => self.inner.put(&mut state, frame),
            Err(error) => {
                tracing::error!(request_id = %admission.request_id.0, %error, "the end of a call is not recorded");
            }
        }
    }

    fn durable(&self) -> Option<Durable> {
        (self.inner.config.fsync == Fsync::Strict).then(|| self.on_disk())
    }
}

fn without_bodies(
    admission: &Admission,
    settlement: &Settlement,
    status: &mut Status,
) -> Result<Frame, TooLong> {
    let mut settlement = settlement.clone();
    if let Some(payload) = &mut settlement.payload {
        status.dropped_payloads += 1;
        **payload = Payload { request: Captured::Dropped, response: Captured::Dropped };
    }
    entry::settled(admission, &settlement)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::segment::SegmentFile;

    #[test]
    fn a_journal_that_its_disk_refuses_is_full_until_the_disk_takes_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(JournalConfig {
            folder: folder.path().to_owned(),
            fsync: Fsync::Strict,
            segment_bytes: 1 << 20,
            max_bytes: 1 << 30,
            on_full: OnFull::Refuse,
            queue_bytes: 1 << 20,
        })
        .unwrap();
        // Nothing can be written to it.
        let refusing = SegmentFile::of(File::open("/dev/null").unwrap());
        let writable = std::mem::replace(&mut journal.inner.state.lock().segment.file, refusing);
        assert!(journal.admit(&Admission::default()).is_err());
        journal.inner.retry_queue();
        assert!(journal.status().is_full);
        journal.inner.state.lock().segment.file = writable;
        assert!(journal.admit(&Admission::default()).is_ok());
        assert!(!journal.status().is_full);
    }
}
