//! From sealed segments of the journal to the tables.
//!
//! Every table's commit holds the journal's id and the segment's number; a segment is deleted when all its
//! tables have it. So a crash at any step repeats what was done, and nothing is there twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deltalake_core::DeltaTable;
use journal::{Contents, Entry, Journal, SealedSegment};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use wire::table::TableName;

use crate::append::{self, Numbered};
use crate::keep::{Retention, keep_all};
use crate::lake::{Lake, TableError};
use crate::rows::{self, Workspace};
use crate::served::{Served, ServedEntities};

/// How often the tables are looked after.
const KEEP_EVERY: Duration = Duration::from_secs(600);

/// How long the last flush may take at shutdown; what is left is flushed after the next start.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// Longest pause before a table that failed is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How long one table may take for one segment: a store that hangs holds up no other table for ever.
const TABLE_WITHIN: Duration = Duration::from_secs(120);

/// Bytes of segments that are committed together, and in memory at once, unless one is longer.
const TOGETHER: u64 = 64 << 20;

/// Is given each segment before it is deleted, those of a journal in the order of their numbers, whether or
/// not all tables can be written; again after a crash.
#[async_trait]
pub trait SegmentObserver: Send + Sync {
    /// Must be idempotent by `journal` and `number`. An error keeps the segment and those after it, and they
    /// are given again.
    async fn segment(&self, journal: &str, number: u64, entries: &[Entry]) -> Result<(), String>;
}

/// A step of a flush, of which each may be the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Sealed,
    Read,
    /// A table has the files and not the commit.
    Written,
    /// A table has the commit, and not all have.
    Committed,
    /// All tables have it, and so has the observer.
    Observed,
    Deleted,
}

/// Ends a flush where it says true, as a crash would. For tests.
pub type Crash = Arc<dyn Fn(Step) -> bool + Send + Sync>;

/// What the flusher did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlusherStatus {
    /// Segments that are in the tables.
    pub segments: u64,
    pub commits: u64,
    /// Times that a table could not be written.
    pub failures: u64,
    /// Tables that cannot be written now.
    pub failing_tables: u64,
    /// Milliseconds that the last segment waited in the journal.
    pub last_flush_ms: u64,
}

/// Fills the tables.
pub struct Flusher {
    pub journal: Journal,
    /// Of servers that died: they are flushed and then let go.
    pub left: Vec<Journal>,
    pub lake: Lake,
    pub workspace: Workspace,
    /// Longest time between two flushes.
    pub every: Duration,
    pub retention: Retention,
    pub served: Option<Arc<dyn ServedEntities>>,
    pub observer: Option<Arc<dyn SegmentObserver>>,
    pub crash: Option<Crash>,
    state: State,
}

#[derive(Default)]
struct State {
    tables: HashMap<TableName, DeltaTable>,
    failing: HashMap<TableName, Failing>,
    served: Served,
    /// The last segment of each journal that the observer was given.
    observed: HashMap<String, u64>,
    status: Arc<Mutex<FlusherStatus>>,
}

/// What an earlier segment waits for: a later one must not get there before it.
#[derive(Default)]
struct Blocked {
    tables: HashSet<TableName>,
    observer: bool,
}

/// A table that could not be written.
struct Failing {
    again_at: Instant,
    pause: Duration,
    /// Said once, and again when it is something else.
    said: String,
}

impl Flusher {
    pub fn new(journal: Journal, lake: Lake, workspace: Workspace, retention: Retention) -> Self {
        let every = Duration::from_secs(10);
        let state = State::default();
        let left = Vec::new();
        Self {
            journal,
            left,
            lake,
            workspace,
            every,
            retention,
            served: None,
            observer: None,
            crash: None,
            state,
        }
    }

    /// What it did, also while it runs.
    pub fn status(&self) -> Arc<Mutex<FlusherStatus>> {
        Arc::clone(&self.state.status)
    }

    /// Flushes until `stop`, and a last time after it within a bound. A caller spawns it.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut kept = Instant::now();
        loop {
            // What a process before this one left goes first.
            let by_time = async {
                if let Err(error) = self.flush().await {
                    tracing::error!(%error, "the tables could not be written");
                }
                if kept.elapsed() >= KEEP_EVERY {
                    self.keep().await;
                    kept = Instant::now();
                }
                tokio::select! {
                    () = tokio::time::sleep(self.every) => {}
                    () = self.journal.sealed_by_size() => {}
                }
            };
            tokio::select! {
                () = by_time => {}
                () = stop.cancelled() => break,
            }
        }
        // Tables that failed get one more chance.
        self.state.failing.clear();
        let flushed = tokio::time::timeout(LAST_FLUSH, self.flush()).await;
        let later = "the last flush of the tables is made up for after the next start";
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "{later}"),
            Err(_) => tracing::warn!(seconds = LAST_FLUSH.as_secs(), "it took too long: {later}"),
        }
    }

    /// Puts files together, and removes what is too old.
    pub async fn keep(&self) {
        if let Err(error) = keep_all(&self.lake, self.retention).await {
            tracing::warn!(%error, "the tables could not be looked after");
        }
    }

    /// Brings everything that is settled into the tables. A table that cannot be written keeps its segments
    /// in the journal and does not hold up the others.
    pub async fn flush(&mut self) -> Result<(), TableError> {
        self.flush_served().await;
        self.flush_journal(&self.journal.clone()).await?;
        let mut flushed = Ok(());
        for journal in std::mem::take(&mut self.left) {
            let result = self.flush_journal(&journal).await;
            if result.is_err() || !journal.sealed()?.is_empty() {
                self.left.push(journal);
            }
            flushed = flushed.and(result);
        }
        flushed?;
        self.state.status.lock().failing_tables = self.state.failing.len() as u64;
        Ok(())
    }

    async fn flush_journal(&mut self, journal: &Journal) -> Result<(), TableError> {
        journal.seal()?;
        self.crash(Step::Sealed)?;
        let (mut blocked, segments) = (Blocked::default(), journal.sealed()?);
        let mut left = segments.as_slice();
        while !left.is_empty() {
            let (group, more) = left.split_at(together(left));
            self.flush_group(journal, group, &mut blocked).await?;
            left = more;
        }
        Ok(())
    }

    /// One commit for each table, whatever the number of segments: what waited is caught up with quickly.
    async fn flush_group(
        &mut self,
        journal: &Journal,
        group: &[SealedSegment],
        blocked: &mut Blocked,
    ) -> Result<(), TableError> {
        let began = Instant::now();
        let mut contents = Vec::with_capacity(group.len());
        for segment in group {
            contents.push(read(segment).await?);
        }
        self.crash(Step::Read)?;
        let mut tables: BTreeMap<TableName, Vec<Numbered>> = BTreeMap::new();
        for (segment, Contents { entries, .. }) in group.iter().zip(&contents) {
            let number = i64::try_from(segment.number).unwrap_or(i64::MAX);
            for (name, rows) in rows::of_segment(entries, &self.workspace) {
                tables.entry(name).or_default().push(Numbered { number, rows });
            }
        }
        let mut is_whole = self.observe(journal.id(), group, &contents, blocked).await;
        for (name, rows) in tables {
            is_whole &= self.flush_table(journal, name, &rows, blocked).await?;
        }
        if !is_whole {
            return Ok(());
        }
        for (segment, contents) in group.iter().zip(&contents) {
            self.let_go(journal, segment, contents)?;
        }
        self.state.status.lock().last_flush_ms =
            u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Whether the table has the rows.
    async fn flush_table(
        &mut self,
        journal: &Journal,
        name: TableName,
        rows: &[Numbered],
        blocked: &mut Blocked,
    ) -> Result<bool, TableError> {
        if blocked.tables.contains(&name) || self.waits(&name) {
            blocked.tables.insert(name);
            return Ok(false);
        }
        let appended = tokio::time::timeout(TABLE_WITHIN, self.append(&name, rows, journal.id())).await;
        let appended = appended.unwrap_or_else(|_| {
            let reason = format!("it was not written within {} s", TABLE_WITHIN.as_secs());
            Err(TableError::Rows { table: name.clone(), reason })
        });
        match appended {
            Ok(()) => drop(self.state.failing.remove(&name)),
            Err(TableError::Crashed) => return Err(TableError::Crashed),
            Err(error) => {
                self.failed(&name, &error);
                blocked.tables.insert(name);
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn append(&mut self, name: &TableName, rows: &[Numbered], journal: &str) -> Result<(), TableError> {
        // Taken out, so that one that failed half-way is read anew.
        let mut table = match self.state.tables.remove(name) {
            // A table that was moved away is made anew.
            Some(table) if append::exists(&table, name).await? => table,
            _ => append::open_or_create(&self.lake, name).await?,
        };
        let application = format!("tollgate/{journal}/{name}");
        let is_new =
            append::append(&mut table, name, rows, &application, &|| self.crash(Step::Written)).await?;
        self.crash(Step::Committed)?;
        self.state.status.lock().commits += u64::from(is_new);
        self.state.tables.insert(name.clone(), table);
        Ok(())
    }

    /// All tables have what is in the segment.
    fn let_go(
        &self,
        journal: &Journal,
        segment: &SealedSegment,
        contents: &Contents,
    ) -> Result<(), TableError> {
        self.crash(Step::Observed)?;
        if contents.unread == 0 { journal.delete(segment) } else { journal.set_aside(segment) }?;
        self.crash(Step::Deleted)?;
        self.state.status.lock().segments += 1;
        Ok(())
    }

    /// Whether the observer has all segments of the group. After one that failed none is given, so that the
    /// order stays.
    async fn observe(
        &mut self,
        journal: &str,
        group: &[SealedSegment],
        contents: &[Contents],
        blocked: &mut Blocked,
    ) -> bool {
        let Some(observer) = self.observer.clone() else { return true };
        for (segment, contents) in group.iter().zip(contents) {
            if self.state.observed.get(journal).is_some_and(|last| segment.number <= *last) {
                continue;
            }
            if blocked.observer {
                return false;
            }
            if let Err(error) = observer.segment(journal, segment.number, &contents.entries).await {
                tracing::error!(segment = segment.number, error, "segments stay in the journal");
                blocked.observer = true;
                return false;
            }
            self.state.observed.insert(journal.to_owned(), segment.number);
        }
        true
    }

    async fn flush_served(&mut self) {
        let Some(served) = self.served.clone() else { return };
        let updated = match served.current().await {
            Ok(current) => self.state.served.update(&self.lake, &current, &self.workspace).await,
            Err(error) => {
                tracing::warn!(error, "what is served cannot be known: its table waits");
                return;
            }
        };
        if let Err(error) = updated {
            tracing::error!(%error, "the table of what is served could not be written");
        }
    }

    fn waits(&self, name: &TableName) -> bool {
        self.state.failing.get(name).is_some_and(|failing| failing.again_at > Instant::now())
    }

    fn failed(&mut self, name: &TableName, error: &TableError) {
        let said = error.to_string();
        let before = self.state.failing.remove(name);
        if before.as_ref().is_none_or(|before| before.said != said) {
            tracing::error!(table = %name, error = said, "rows stay in the journal");
        }
        let pause = before.map_or(Duration::from_secs(1), |before| (before.pause * 2).min(MAX_PAUSE));
        let again_at = Instant::now() + pause;
        self.state.failing.insert(name.clone(), Failing { again_at, pause, said });
        self.state.status.lock().failures += 1;
    }

    /// Why each table that cannot be written cannot.
    pub fn failing(&self) -> BTreeMap<TableName, String> {
        self.state.failing.iter().map(|(name, failing)| (name.clone(), failing.said.clone())).collect()
    }

    fn crash(&self, step: Step) -> Result<(), TableError> {
        match &self.crash {
            Some(crash) if crash(step) => Err(TableError::Crashed),
            _ => Ok(()),
        }
    }
}

/// How many of the segments are committed together.
fn together(segments: &[SealedSegment]) -> usize {
    let mut bytes = 0;
    let fits = |segment: &&SealedSegment| {
        bytes += segment.bytes;
        bytes <= TOGETHER
    };
    segments.iter().take_while(fits).count().max(1)
}

/// Damage is not passed over in silence.
async fn read(segment: &SealedSegment) -> Result<Contents, TableError> {
    let (of, number) = (segment.clone(), segment.number);
    let contents = tokio::task::spawn_blocking(move || of.read()).await.map_err(std::io::Error::other)??;
    if contents.unread > 0 {
        let unread = contents.unread;
        tracing::error!(
            segment = number,
            unread,
            "the segment is damaged: what is whole in it goes to the tables"
        );
    }
    Ok(contents)
}
