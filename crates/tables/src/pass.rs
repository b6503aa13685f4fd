//! One reading of some segments, a piece at a time: what is in a piece goes to the observer and on its way to the files
//! of its tables before there is the next, so that little of a segment is in memory at once, unless many tables have few
//! rows each.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use deltalake_core::DeltaTable;
use journal::{Damage, Entry, Pieces, SealedSegment};
use wire::table::TableName;

use crate::append;
use crate::filling::Filling;
use crate::lake::{Lake, TableError};
use crate::observer::{SegmentObserver, Watch};
use crate::rows::{self, Endpoints, Workspace};

/// A segment to read.
pub(crate) struct Source {
    pub(crate) segment: SealedSegment,
    /// The tables whose rows are wanted; `None` is all.
    pub(crate) wanted: Option<BTreeSet<TableName>>,
    pub(crate) is_observed: bool,
}

impl Source {
    pub(crate) fn number(&self) -> i64 {
        number(&self.segment)
    }
}

/// The number of a segment as tables hold it.
pub(crate) fn number(segment: &SealedSegment) -> i64 {
    i64::try_from(segment.number).unwrap_or(i64::MAX)
}

/// Whose segments they are.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) journal: String,
    /// The first number that this process gave.
    pub(crate) own: i64,
    /// The last number that was about to be committed before now, by who writes.
    pub(crate) tried: HashMap<String, i64>,
}

impl Writer {
    fn application(&self, table: &TableName) -> String {
        format!("tollgate/{}/{table}", self.journal)
    }

    /// Whether nobody can have written rows of this number yet.
    fn is_fresh(&self, application: &str, number: i64) -> bool {
        number >= self.own && number > self.tried.get(application).copied().unwrap_or(0)
    }
}

/// What is read, and what was found so far.
pub(crate) struct Pass {
    pub(crate) lake: Lake,
    pub(crate) workspace: Workspace,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) writer: Writer,
    /// `None` from the first segment on that it failed with, so that the order stays.
    pub(crate) observer: Option<Arc<dyn SegmentObserver>>,
    pub(crate) sources: VecDeque<Source>,
    /// Tables as they were left.
    pub(crate) known: HashMap<TableName, DeltaTable>,
    /// Tables that are not tried now.
    pub(crate) waiting: HashSet<TableName>,
    pub(crate) found: Found,
    reading: Option<Reading>,
}

/// What came of it, beside files.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) tables: BTreeMap<TableName, Filling>,
    /// The last segment that the observer was given whole.
    pub(crate) observed: Option<u64>,
    /// The segment that it failed with, and why.
    pub(crate) unobserved: Option<(u64, String)>,
    /// What could not be read, by segment.
    pub(crate) damage: BTreeMap<u64, Damage>,
}

struct Reading {
    source: Source,
    pieces: Pieces,
    watch: Option<Box<dyn Watch>>,
}

impl Pass {
    pub(crate) fn new(lake: Lake, workspace: Workspace, endpoints: Arc<Endpoints>, writer: Writer) -> Self {
        Self {
            lake,
            workspace,
            endpoints,
            writer,
            observer: None,
            sources: VecDeque::new(),
            known: HashMap::new(),
            waiting: HashSet::new(),
            found: Found::default(),
            reading: None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.reading.is_none() && self.sources.is_empty()
    }

    /// Reads a piece. Errors where a segment cannot be read.
    pub(crate) async fn step(&mut self) -> Result<(), TableError> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => match self.sources.pop_front() {
                Some(source) => self.begin(source)?,
                None => return Ok(()),
            },
        };
        match reading.pieces.next() {
            Some(entries) => {
                let entries = entries?;
                self.observe(&mut reading, &entries).await;
                self.fill(&reading.source, &entries).await;
                self.reading = Some(reading);
            }
            None => self.end(reading).await,
        }
        Ok(())
    }

    fn begin(&self, source: Source) -> Result<Reading, TableError> {
        let watch = self.observer.as_ref().filter(|_| !source.is_observed).map(|observer| observer.segment());
        Ok(Reading { pieces: source.segment.pieces()?, source, watch })
    }

    async fn observe(&mut self, reading: &mut Reading, entries: &[Entry]) {
        let Some(watch) = &mut reading.watch else { return };
        if let Err(error) = watch.entries(entries).await {
            reading.watch = None;
            self.failed_to_observe(&reading.source, error);
        }
    }

    fn failed_to_observe(&mut self, source: &Source, error: String) {
        self.observer = None;
        self.found.unobserved = Some((source.segment.number, error));
    }

    async fn fill(&mut self, source: &Source, entries: &[Entry]) {
        let number = source.number();
        for (name, rows) in rows::of(entries, &self.workspace, &self.endpoints, source.wanted.as_ref()) {
            if !self.found.tables.contains_key(&name) {
                let filling = self.filling(name.clone()).await;
                self.found.tables.insert(name.clone(), filling);
            }
            if let Some(filling) = self.found.tables.get_mut(&name) {
                let writer = &self.writer;
                filling.add(number, rows, |application| writer.is_fresh(application, number)).await;
            }
        }
    }

    async fn filling(&mut self, name: TableName) -> Filling {
        if self.waiting.contains(&name) {
            return Filling::waits(name);
        }
        // Taken out, so that one that fails half-way is read anew.
        let known = self.known.remove(&name);
        let (lake, table, application) = (&self.lake, name.clone(), self.writer.application(&name));
        let open = async {
            Ok(match known {
                // A table that was moved away is made anew.
                Some(known) if append::exists(&known, &table).await? => (known, application),
                _ => (append::open_or_create(lake, &table).await?, application),
            })
        };
        Filling::begin(name, open).await
    }

    async fn end(&mut self, reading: Reading) {
        let Reading { source, pieces, watch } = reading;
        let segment = source.segment.number;
        self.found.damage.insert(segment, pieces.damage());
        let Some(watch) = watch else { return };
        match watch.end(&self.writer.journal, segment).await {
            Ok(()) => self.found.observed = Some(segment),
            Err(error) => self.failed_to_observe(&source, error),
        }
    }
}
