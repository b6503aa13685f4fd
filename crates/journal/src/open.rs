//! Opening the journal: each process has a folder of its own in it, and what a crash left open is settled first.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::usage::Usage;

use crate::entry::{self, Entry};
use crate::pieces::{PIECE, Pieces};
use crate::segment::{self, OpenSegment};
use crate::{Admission, CountedUsage, Outcome, Provenance, Settlement};

/// Servers that may share one data folder, as they do for a moment when one replaces another.
const PLACES: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the journal {0} is in use by {PLACES} other servers: set server.data to a folder of its own")]
    InUse(PathBuf),
    #[error("cannot open the journal {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// What a journal begins with.
pub(crate) struct Opened {
    pub(crate) folder: PathBuf,
    pub(crate) id: String,
    pub(crate) segment: OpenSegment,
    /// Bytes of the segments that wait for the tables.
    pub(crate) waiting: u64,
    /// Calls that were under way when the process before this one died.
    pub(crate) aborted: usize,
    /// Held as long as the journal.
    pub(crate) lock: File,
}

/// The first place in `folder` that no other process has.
pub(crate) fn open(folder: &Path) -> Result<Opened, OpenError> {
    let failed = |e| OpenError::Io(folder.to_owned(), e);
    for place in (0..PLACES).map(|place| folder.join(place.to_string())) {
        DirBuilder::new().recursive(true).mode(0o700).create(&place).map_err(failed)?;
        if let Some(lock) = lock(&place).map_err(failed)? {
            return recover(&place, lock).map_err(failed);
        }
    }
    Err(OpenError::InUse(folder.to_owned()))
}

/// All places in `folder` that hold records and that no process has: of servers that died side by side.
pub(crate) fn open_left(folder: &Path) -> Result<Vec<Opened>, OpenError> {
    let failed = |e| OpenError::Io(folder.to_owned(), e);
    let mut found = Vec::new();
    for place in (0..PLACES).map(|place| folder.join(place.to_string())).filter(|place| place.is_dir()) {
        let has_records = || Ok(segment::list(&place)?.iter().any(|(segment, _)| segment.bytes > 0));
        if has_records().map_err(failed)?
            && let Some(lock) = lock(&place).map_err(failed)?
        {
            found.push(recover(&place, lock).map_err(failed)?);
        }
    }
    Ok(found)
}

/// `None` where another process has it. The kernel takes a lock back from a process that dies.
fn lock(place: &Path) -> io::Result<Option<File>> {
    let path = place.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn recover(folder: &Path, lock: File) -> io::Result<Opened> {
    segment::forget_unfinished(folder)?;
    let segments = segment::list(folder)?;
    let id = id(folder, segments.is_empty())?;
    let next = segments.last().map_or(1, |(last, _)| last.number + 1);
    let mut unsettled = Unsettled::default();
    for (left, _) in segments.iter().filter(|(_, open)| *open) {
        let contents = Pieces::open(&left.path, entry::decode, PIECE)?.contents()?;
        if contents.damage.unread > 0 {
            let (segment, bytes) = (left.number, contents.damage.unread);
            tracing::warn!(
                segment,
                bytes,
                "the last record of the journal was cut by a crash: it is taken off"
            );
            OpenOptions::new().write(true).open(&left.path)?.set_len(contents.end)?;
        }
        contents.entries.into_iter().for_each(|entry| unsettled.see(entry));
    }
    let mut segment = OpenSegment::create(folder, next)?;
    let aborted = unsettled.remaining();
    for admission in &aborted {
        let settled = entry::settled(admission, &aborted_settlement(admission));
        segment.append(&settled.map_err(io::Error::other)?)?;
        segment.news += 1;
    }
    segment.file.sync()?;
    for (left, _) in segments.iter().filter(|(_, open)| *open) {
        if fs::metadata(&left.path)?.len() == 0 {
            fs::remove_file(&left.path)?;
        } else {
            // Whoever wrote it need not have come to that.
            File::open(&left.path)?.sync_all()?;
            segment::seal(&left.path)?;
        }
    }
    segment::sync_folder(folder)?;
    let waiting = segments.iter().map(|(left, _)| left.bytes).sum();
    Ok(Opened { folder: folder.to_owned(), id, segment, waiting, aborted: aborted.len(), lock })
}

/// Calls whose end is not in the segments that were read.
///
/// A sealed segment is not looked at: what was under way when it was sealed is repeated in the next one.
#[derive(Default)]
struct Unsettled {
    admitted: Vec<Admission>,
    settled: HashSet<Arc<str>>,
}

impl Unsettled {
    fn see(&mut self, entry: Entry) {
        match entry {
            Entry::Admitted(admission) => self.admitted.push(*admission),
            Entry::Settled(call) => {
                self.settled.insert(Arc::clone(&call.admission.request_id.0));
            }
            Entry::Audited(_) => {}
        }
    }

    fn remaining(self) -> Vec<Admission> {
        let Self { admitted, mut settled } = self;
        // Of one that is repeated the first counts.
        admitted.into_iter().filter(|a| settled.insert(Arc::clone(&a.request_id.0))).collect()
    }
}

/// What is known of a call that a crash cut: its prompt may have been sent, and no more can be said.
fn aborted_settlement(admission: &Admission) -> Settlement {
    let usage = admission
        .estimated_input_tokens
        .map(|tokens| CountedUsage { usage: Usage::new(tokens, 0), provenance: Provenance::Estimated });
    Settlement {
        outcome: Outcome::Aborted,
        status: 0,
        entity: None,
        model: None,
        provider: None,
        attempts: Vec::new(),
        usage,
        cost: None,
        duration_ms: 0.0,
        first_byte_ms: None,
        bytes_out: 0,
        content_type: None,
        output_characters: None,
        guards: Vec::new(),
        payload: None,
        response: None,
    }
}

/// What the tables know this folder by. Numbers of segments begin again when the folder is emptied, so that
/// it must be another id then.
fn id(folder: &Path, is_empty: bool) -> io::Result<String> {
    let path = folder.join("id");
    let read = match fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if !is_empty && !read.is_empty() {
        return Ok(read);
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    let unfinished = folder.join("id.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    Ok(id)
}
