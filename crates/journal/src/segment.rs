//! The files of the journal: `<number>.open` takes records, `<number>.sealed` waits for the tables.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::entry::decode_ended;
use crate::frame::{Frame, records};
use crate::pieces::{Contents, PIECE, Pieces};

/// What every segment begins with.
pub(crate) const MAGIC: &[u8; 8] = b"TGJRNL\x00\x01";

const OPEN: &str = "open";
const SEALED: &str = "sealed";
/// A segment that is written again.
const AGAIN: &str = "again";

/// A segment that takes no more records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealedSegment {
    /// Counts up and is never used twice.
    pub number: u64,
    pub path: PathBuf,
    pub bytes: u64,
}

impl SealedSegment {
    /// What ended, for the tables, a piece at a time. Errors when the file cannot be read.
    pub fn pieces(&self) -> io::Result<Pieces> {
        Pieces::open(&self.path, decode_ended, PIECE)
    }

    /// All of it at once. Errors when the file cannot be read, is no segment, or holds records of a later version.
    pub fn read(&self) -> io::Result<Contents> {
        self.pieces()?.contents()
    }
}

/// Every segment of `folder`, the oldest first, and whether it is open.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<(SealedSegment, bool)>> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        let (Some(number), OPEN | SEALED) = (number, extension) else { continue };
        let open = extension == OPEN;
        let bytes = fs::metadata(&path)?.len();
        found.push((SealedSegment { number, path, bytes }, open));
    }
    found.sort_unstable();
    Ok(found)
}

/// Is believed to be on the disk until that failed once: the kernel tells of an error one time, and takes for written
/// what it could not write.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: File,
    has_failed: AtomicBool,
}

impl SegmentFile {
    pub(crate) fn of(file: File) -> Arc<Self> {
        Arc::new(Self { file, has_failed: AtomicBool::new(false) })
    }

    /// Brings it onto the disk. Once this failed it does so for good; see [`write_again`].
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk failed with this file before"));
        }
        self.file.sync_data().inspect_err(|_| self.has_failed.store(true, Ordering::Relaxed))
    }
}

/// Writes the first `length` bytes of the segment at `path` into another file, brings that onto the disk and puts it in
/// its place; gives it with how many bytes there are of it. Where the kernel has let go of what it could not write they
/// are fewer: whole records alone.
pub(crate) fn write_again(path: &Path, length: u64) -> io::Result<(Arc<SegmentFile>, u64)> {
    let mut data = fs::read(path)?;
    let whole = data.strip_prefix(MAGIC).map_or(0, |behind| MAGIC.len() + records(behind).taken);
    data.truncate(whole.min(usize::try_from(length).unwrap_or(usize::MAX)));
    let again = path.with_extension(AGAIN);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&again)?;
    file.write_all(&data)?;
    file.sync_all()?;
    fs::rename(&again, path)?;
    sync_folder(path.parent().unwrap_or(path))?;
    Ok((SegmentFile::of(file), data.len() as u64))
}

/// Deletes what a process that died was writing again: the segment itself is there.
pub(crate) fn forget_unfinished(folder: &Path) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == AGAIN) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A file that records are appended to.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<SegmentFile>,
    /// Bytes of whole records, and the beginning.
    pub(crate) length: u64,
    /// Records that the tables want; what is only repeated from before does not count.
    pub(crate) news: u64,
}

impl OpenSegment {
    /// A new file with nothing in it.
    pub(crate) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = folder.join(format!("{number:012}.{OPEN}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { number, path, file: SegmentFile::of(file), length: 0, news: 0 })
    }

    /// Appends a record whole, or leaves the file as it was.
    pub(crate) fn append(&mut self, record: &Frame) -> io::Result<()> {
        let begin: &[u8] = if self.length == 0 { MAGIC } else { &[] };
        let [head, first, second] = record.parts();
        let written = write_all(&self.file.file, &mut [begin, head, first, second].map(IoSlice::new));
        if let Err(error) = written {
            self.cut_back()?;
            return Err(error);
        }
        self.length += (begin.len() + record.len()) as u64;
        Ok(())
    }

    /// Takes off what was half written. Where not even that works, the next start finds where the whole records end.
    fn cut_back(&self) -> io::Result<()> {
        use std::io::Seek;
        self.file.file.set_len(self.length)?;
        (&self.file.file).seek(io::SeekFrom::Start(self.length)).map(drop)
    }
}

fn write_all(mut file: &File, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Takes off those that are empty.
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match file.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The segment at `path` takes no more records from here on.
pub(crate) fn seal(path: &Path) -> io::Result<()> {
    fs::rename(path, path.with_extension(SEALED))
}

/// Makes names in `folder` outlive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
