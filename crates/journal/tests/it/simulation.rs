//! Lives of a journal, drawn from seeds: calls begin and end, segments go to the tables, and again and again the
//! process dies or the power goes. Whatever the order, every call is in the tables once, as it ended.
//!
//! `SEEDS` is how many lives there are, `SEED` the only one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tollgate_journal::{Entry, Journal, JournalConfig, Outcome, RecordSink, Settlement};

use crate::world::{admission, config, settlement};

/// xorshift: the same numbers for the same seed.
struct Random(u64);

impl Random {
    /// Seeds that lie side by side begin far apart.
    fn of(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// How a call ended, and a number that no other has.
type End = (Outcome, u64);

/// What was written to the open segment and may not be on the disk.
enum Written {
    Begin(String),
    End(String),
}

struct Life {
    random: Random,
    folder: TempDir,
    journal: Option<Journal>,
    begun: u64,
    /// What is known of each call; `None` while it is under way.
    calls: BTreeMap<String, Option<End>>,
    /// With the length of the segment after each.
    unsynced: Vec<(u64, Written)>,
    open: (PathBuf, u64),
    tables: BTreeMap<String, Vec<End>>,
    /// The segments that the tables have.
    committed: BTreeSet<u64>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut life = Self {
            random: Random::of(seed),
            folder: tempfile::tempdir().unwrap(),
            journal: None,
            begun: 0,
            calls: BTreeMap::new(),
            unsynced: Vec::new(),
            open: (PathBuf::new(), 0),
            tables: BTreeMap::new(),
            committed: BTreeSet::new(),
        };
        life.start();
        life
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn start(&mut self) {
        // Small, so that segments end by themselves as well.
        let config = JournalConfig { segment_bytes: 4 << 10, ..config(self.folder.path()) };
        let journal = Journal::open(config).unwrap();
        let mut aborted = 0;
        for end in self.calls.values_mut().filter(|end| end.is_none()) {
            *end = Some((Outcome::Aborted, 0));
            aborted += 1;
        }
        assert_eq!(journal.aborted(), aborted);
        self.journal = Some(journal);
        self.synced();
    }

    /// What is in the segment by now outlives the power.
    fn synced(&mut self) {
        self.open = newest(self.folder.path());
        self.unsynced.clear();
    }

    fn wrote(&mut self, what: Written) {
        let (path, length) = newest(self.folder.path());
        if path == self.open.0 {
            self.unsynced.push((length, what));
        } else {
            // The next segment has begun.
            self.synced();
        }
    }

    fn begin(&mut self) {
        self.begun += 1;
        let id = format!("call-{}", self.begun);
        self.journal().admit(&admission(&id)).unwrap();
        self.calls.insert(id.clone(), None);
        self.wrote(Written::Begin(id));
    }

    fn end(&mut self) {
        let under_way: Vec<&String> =
            self.calls.iter().filter(|(_, end)| end.is_none()).map(|(id, _)| id).collect();
        if under_way.is_empty() {
            return;
        }
        let id = under_way[self.random.below(under_way.len() as u64) as usize].clone();
        let outcomes = [Outcome::Completed, Outcome::Refused, Outcome::Failed, Outcome::Cancelled];
        let outcome = outcomes[self.random.below(4) as usize];
        let told = Settlement { outcome, bytes_out: self.begun, ..settlement() };
        self.journal().settle(&admission(&id), &told);
        self.calls.insert(id.clone(), Some((outcome, self.begun)));
        self.wrote(Written::End(id));
    }

    fn seal(&mut self) {
        self.journal().seal().unwrap();
        self.synced();
    }

    /// Each segment is committed with its number, and then deleted, unless something ends it between the two.
    fn flush(&mut self, dies: bool) {
        for segment in self.journal().sealed().unwrap() {
            let contents = segment.read().unwrap();
            assert_eq!(contents.damage.unread, 0);
            if self.committed.insert(segment.number) {
                for entry in contents.entries {
                    let Entry::Settled(call) = entry else { continue };
                    let end = (call.settlement.outcome, call.settlement.bytes_out);
                    self.tables.entry(call.admission.request_id.0.to_string()).or_default().push(end);
                }
            }
            if dies {
                return self.die();
            }
            self.journal().delete(&segment).unwrap();
        }
    }

    fn die(&mut self) {
        self.journal = None;
        self.start();
    }

    /// Of what was not on the disk a part is gone, from some byte on.
    fn lose_power(&mut self) {
        self.journal = None;
        let (path, floor) = self.open.clone();
        let length = fs::metadata(&path).unwrap().len();
        let cut = floor + self.random.below(length - floor + 1);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        for (_, lost) in self.unsynced.drain(..).rev().take_while(|(end, _)| *end > cut) {
            match lost {
                Written::Begin(id) => drop(self.calls.remove(&id)),
                Written::End(id) => drop(self.calls.insert(id, None)),
            }
        }
        self.start();
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=7 => self.begin(),
            8..=13 => self.end(),
            14 => self.seal(),
            15 | 16 => self.flush(false),
            17 => self.flush(true),
            18 => self.die(),
            _ => self.lose_power(),
        }
    }

    fn live(mut self) {
        for _ in 0..self.random.below(60) + 20 {
            self.step();
        }
        self.die();
        self.seal();
        self.flush(false);
        let expected: BTreeMap<String, Vec<End>> =
            self.calls.into_iter().map(|(id, end)| (id, vec![end.unwrap()])).collect();
        assert_eq!(self.tables, expected);
    }
}

/// The segment that takes records, and its length.
fn newest(folder: &Path) -> (PathBuf, u64) {
    let files = fs::read_dir(folder.join("0")).unwrap().map(|file| file.unwrap().path());
    let open = files.filter(|path| path.extension().is_some_and(|kind| kind == "open")).max().unwrap();
    let length = fs::metadata(&open).unwrap().len();
    (open, length)
}

#[expect(
    clippy::disallowed_methods,
    reason = "who runs the tests says how many lives, and no configuration does"
)]
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

#[test]
fn whatever_happens_every_call_is_in_the_tables_once() {
    let seeds = match from_environment("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("SEEDS").unwrap_or(40),
    };
    for seed in seeds {
        // Shown where it fails.
        println!("SEED={seed}");
        Life::new(seed).live();
    }
}
