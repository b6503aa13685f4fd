//! A segment as it is read: a piece at a time, so that no more of it is in memory than who reads it keeps.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::entry::{Entry, Unread};
use crate::frame::{Rest, records};
use crate::segment::MAGIC;

/// Bytes of a piece, unless a record is longer.
pub(crate) const PIECE: usize = 1 << 20;

/// What a segment holds.
#[derive(Debug)]
pub struct Contents {
    pub entries: Vec<Entry>,
    pub damage: Damage,
    /// Where the whole records end.
    pub(crate) end: u64,
}

/// What of a segment could not be read, nor ever can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Bytes behind the last whole record: of a record that was cut, or damage.
    pub unread: u64,
    /// Records that are whole and cannot be read.
    pub records: u64,
}

impl Damage {
    pub fn is_some(self) -> bool {
        self != Self::default()
    }
}

/// A record as an entry; `None` where it is none that is wanted.
pub(crate) type Decode = fn(&Bytes) -> Result<Option<Entry>, Unread>;

/// Entries, some at a time, in their order. It ends after an error: where the file cannot be read, is no segment, or
/// holds records of a later version.
#[derive(Debug)]
pub struct Pieces {
    file: File,
    path: PathBuf,
    decode: Decode,
    piece: usize,
    /// Bytes of the file that were not looked at yet.
    left: u64,
    /// What was read of a record that is longer than that, and how many bytes it takes.
    begun: Vec<u8>,
    wants: usize,
    damage: Damage,
    end: u64,
}

impl Pieces {
    pub(crate) fn open(path: &Path, decode: Decode, piece: usize) -> io::Result<Self> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        let (begun, wants) = (Vec::new(), 0);
        Ok(Self {
            file,
            path: path.to_owned(),
            decode,
            piece,
            left,
            begun,
            wants,
            damage: Damage::default(),
            end: 0,
        })
    }

    /// What could not be read of the pieces so far; of all of it after the last.
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// All that is left, at once.
    pub(crate) fn contents(mut self) -> io::Result<Contents> {
        let mut entries = Vec::new();
        for piece in &mut self {
            entries.append(&mut piece?);
        }
        Ok(Contents { entries, damage: self.damage, end: self.end })
    }

    /// At least as many bytes as the record that was begun takes, unless the file ends.
    fn read(&mut self) -> io::Result<Bytes> {
        let begun = self.begun.len();
        let more = (self.piece.max(self.wants).saturating_sub(begun) as u64).min(self.left);
        let mut data = Vec::with_capacity(begun + usize::try_from(more).unwrap_or(0));
        data.append(&mut self.begun);
        let read = (&self.file).take(more).read_to_end(&mut data)?;
        // One that is shorter than it said ends here.
        self.left = if read as u64 == more { self.left - more } else { 0 };
        // Bodies stay where they are read to.
        Ok(data.into())
    }

    fn entries(&mut self, data: &Bytes) -> io::Result<Vec<Entry>> {
        let found = records(data);
        let mut entries = Vec::with_capacity(found.bodies.len());
        for body in found.bodies {
            match (self.decode)(&data.slice_ref(body)) {
                Ok(entry) => entries.extend(entry),
                Err(Unread::Version(version)) => {
                    return Err(self.other_version(&format!("it has records of version {version:?}")));
                }
                Err(Unread::Damaged(reason)) => {
                    let segment = self.path.display();
                    tracing::error!(%segment, reason, "a record of the journal cannot be read");
                    self.damage.records += 1;
                }
            }
        }
        self.end += found.taken as u64;
        let behind = &data[found.taken..];
        match found.rest {
            Rest::Begun(bytes) if self.left > 0 => (self.begun, self.wants) = (behind.to_vec(), bytes),
            Rest::Begun(_) | Rest::Damaged => {
                self.damage.unread = behind.len() as u64 + std::mem::take(&mut self.left);
            }
        }
        Ok(entries)
    }

    /// Takes off what every segment begins with. One that was cut within it has nothing.
    fn begin(&mut self, data: &mut Bytes) -> io::Result<()> {
        if self.left == 0 && MAGIC.starts_with(data) {
            data.clear();
        } else if data.starts_with(MAGIC) {
            drop(data.split_to(MAGIC.len()));
            self.end = MAGIC.len() as u64;
        } else {
            return Err(self.other_version("it is no segment of this version"));
        }
        Ok(())
    }

    fn other_version(&self, what: &str) -> io::Error {
        let reason = format!("{}: {what}; start the version that wrote it", self.path.display());
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }

    fn piece(&mut self) -> io::Result<Vec<Entry>> {
        let mut data = self.read()?;
        if self.end == 0 {
            self.begin(&mut data)?;
        }
        self.entries(&data)
    }
}

impl Iterator for Pieces {
    type Item = io::Result<Vec<Entry>>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.left > 0).then(|| self.piece().inspect_err(|_| self.left = 0))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::entry::{admitted, decode};
    use crate::{Admission, RequestId};

    fn record(id: &str) -> Vec<u8> {
        admitted(&Admission { request_id: RequestId(id.into()), ..Admission::default() })
            .unwrap()
            .parts()
            .concat()
    }

    struct Found {
        ids: Vec<String>,
        damage: Damage,
        end: u64,
        pieces: usize,
    }

    fn found(path: &Path, piece: usize) -> Found {
        let mut pieces = Pieces::open(path, decode, piece).unwrap();
        let (mut ids, mut count) = (Vec::new(), 0);
        for entries in &mut pieces {
            count += 1;
            for entry in entries.unwrap() {
                let Entry::Admitted(admission) = entry else { panic!("no admission") };
                ids.push(admission.request_id.0.to_string());
            }
        }
        Found { ids, damage: pieces.damage(), end: pieces.end, pieces: count }
    }

    /// Three records, of which the second is far longer than the others.
    fn segment() -> ([String; 3], [Vec<u8>; 3]) {
        let ids = ["one".to_owned(), "2".repeat(3000), "three".to_owned()];
        let records = [0, 1, 2].map(|at: usize| record(&ids[at]));
        (ids, records)
    }

    #[test]
    fn a_segment_is_the_same_in_pieces_of_any_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        let (ids, records) = segment();
        let data = [&MAGIC[..], &records.concat()].concat();
        fs::write(&path, &data).unwrap();
        for piece in (MAGIC.len()..data.len() + 9).step_by(7) {
            let found = found(&path, piece);
            assert_eq!(
                (found.ids, found.damage, found.end),
                (ids.to_vec(), Damage::default(), data.len() as u64)
            );
            assert_eq!(found.pieces == 1, piece >= data.len(), "{piece}");
        }
    }

    #[test]
    fn what_is_behind_a_cut_or_damage_is_counted_whatever_the_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        let (ids, records) = segment();
        let data = [&MAGIC[..], &records.concat()].concat();
        let ends = [MAGIC.len(), MAGIC.len() + records[0].len(), data.len() - records[2].len(), data.len()];
        for piece in [MAGIC.len(), 100, 1000, 1 << 20] {
            for cut in (0..data.len()).step_by(11) {
                fs::write(&path, &data[..cut]).unwrap();
                let found = found(&path, piece);
                let whole = ends.iter().rposition(|end| *end <= cut);
                let end = whole.map_or(0, |whole| ends[whole]);
                assert_eq!(
                    (found.ids, found.end),
                    (ids[..whole.unwrap_or(0)].to_vec(), end as u64),
                    "cut at {cut}"
                );
                let unread = whole.map_or(0, |whole| cut - ends[whole]);
                assert_eq!(found.damage, Damage { unread: unread as u64, records: 0 }, "cut at {cut}");
            }
            let mut damaged = data.clone();
            damaged[ends[1] + 40] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let found = found(&path, piece);
            assert_eq!(found.ids, ids[..1], "{piece}");
            assert_eq!(found.damage, Damage { unread: (data.len() - ends[1]) as u64, records: 0 });
        }
    }

    #[test]
    fn what_is_no_segment_is_an_error_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        for text in ["something else that is long enough", "other"] {
            fs::write(&path, text).unwrap();
            let mut pieces = Pieces::open(&path, decode, PIECE).unwrap();
            let error = pieces.next().unwrap().unwrap_err().to_string();
            assert!(error.contains("no segment of this version") && error.contains("segment"), "{error}");
            assert!(pieces.next().is_none());
        }
    }
}
