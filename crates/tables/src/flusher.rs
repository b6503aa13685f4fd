//! From sealed segments of the journal to the tables.
//!
//! Every table's commit holds the journal's id and the segment's number; a segment is deleted when all its
//! tables have it. So a crash at any step repeats what was done, and nothing is there twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalake_core::DeltaTable;
use journal::{Damage, Journal, SealedSegment};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use wire::table::TableName;

use crate::append::{self, ATTEMPTS};
use crate::aside::{Pace, aside};
use crate::filling::{Ended, Failed, Filling};
use crate::keep::{Retention, keep_all};
use crate::lake::{Lake, TableError};
use crate::observer::SegmentObserver;
use crate::pass::{Found, Pass, Source, Writer, number};
use crate::rows::{self, Endpoints, Workspace};
use crate::served::{Served, ServedEntities};

/// How long the last flush may take at shutdown; what is left is flushed after the next start.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// Longest pause before a table that failed is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How long the table of what is served may take: a store that hangs holds up the others no longer.
const SERVED_WITHIN: Duration = Duration::from_secs(120);

/// How long records wait for the tables while calls come first.
const CALLS_FIRST: Duration = Duration::from_secs(60);

/// Bytes of segments that are committed together, unless one is longer: no more may wait in memory for a batch, and none of
/// it is to be written again for long where a store fails.
const TOGETHER: u64 = 64 << 20;

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
    /// The table of what is served has files and not their commit.
    Served,
    /// A table that is looked after has files put together, or is to lose those of days that are over, and has no
    /// commit that says so.
    Kept,
}

/// Ends a flush where it says true, as a crash would. For tests.
pub type Crash = Arc<dyn Fn(Step) -> bool + Send + Sync>;

/// What the flusher did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlusherStatus {
    /// Segments that are in the tables.
    pub segments: u64,
    pub commits: u64,
    /// Segments that were damaged: what was whole in them is in the tables, and their files were set aside.
    pub damaged: u64,
    /// Times that a table could not be written, or the observer or the journal failed.
    pub failures: u64,
    /// Tables that cannot be written now; the observer and a journal that fail count as one each.
    pub failing_tables: u64,
    /// Milliseconds that the last flush took that let go of a segment, from reading it on.
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
    /// Least time between two times that the tables are looked after.
    pub keep_every: Duration,
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
    /// As they were at the last flush.
    endpoints: Arc<Endpoints>,
    /// The last segment of each journal that the observer was given.
    observed: HashMap<String, u64>,
    /// What segments that were looked at before still wait for, by journal and number.
    missing: HashMap<(String, u64), BTreeSet<TableName>>,
    /// The last number that was about to be committed, by who writes.
    tried: Mutex<HashMap<String, i64>>,
    /// Why each journal that cannot seal its segment cannot: said once, and again when it is something else.
    unsealed: HashMap<String, String>,
    /// What failed in this flush besides tables.
    troubles: u64,
    status: Arc<Mutex<FlusherStatus>>,
    /// What waits is old, or the server stops.
    is_behind: bool,
    is_last: bool,
}

/// Tables that segments still wait for, by number.
#[derive(Default)]
struct Missing(HashMap<i64, BTreeSet<TableName>>);

impl Missing {
    fn add(&mut self, table: &TableName, numbers: &BTreeSet<i64>) {
        for number in numbers {
            self.0.entry(*number).or_default().insert(table.clone());
        }
    }
}

/// Tables with the numbers of the segments that have rows of them.
type Numbers = BTreeMap<TableName, BTreeSet<i64>>;

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
        let (every, keep_every) = (Duration::from_secs(10), Duration::from_secs(600));
        let state = State::default();
        let left = Vec::new();
        Self {
            journal,
            left,
            lake,
            workspace,
            every,
            keep_every,
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
                if kept.elapsed() >= self.keep_every {
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
        self.state.is_last = true;
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
        if let Err(error) = keep_all(&self.lake, self.retention, self.crash.as_ref()).await {
            tracing::warn!(%error, "the tables could not be looked after");
        }
    }

    /// Brings everything that is settled into the tables. A table that cannot be written keeps its segments
    /// in the journal and does not hold up the others.
    pub async fn flush(&mut self) -> Result<(), TableError> {
        self.state.troubles = 0;
        let flushed = self.flush_all().await;
        if flushed.is_err() {
            self.trouble();
        }
        self.state.status.lock().failing_tables = self.state.failing.len() as u64 + self.state.troubles;
        flushed
    }

    async fn flush_all(&mut self) -> Result<(), TableError> {
        self.flush_served().await?;
        let mut flushed = self.flush_journal(&self.journal.clone()).await.map(drop);
        // They stay in the list until nothing is left of them: an error, or a flush that is given up, loses none.
        for journal in self.left.clone() {
            let is_done = self.flush_journal(&journal).await;
            if matches!(is_done, Ok(true)) {
                self.left.retain(|left| left.id() != journal.id());
            }
            flushed = flushed.and(is_done.map(drop));
        }
        flushed
    }

    fn trouble(&mut self) {
        self.state.troubles += 1;
        self.state.status.lock().failures += 1;
    }

    /// Whether the tables have all that was in it.
    async fn flush_journal(&mut self, journal: &Journal) -> Result<bool, TableError> {
        // What is sealed already goes on where no more can be: that is what makes room on a full disk.
        let is_sealed = self.seal(journal).await;
        self.crash(Step::Sealed)?;
        let (mut blocked, mut left) = (Blocked::default(), journal.sealed()?);
        loop {
            left.retain(|segment| !self.is_held(journal.id(), segment, &mut blocked));
            if left.is_empty() {
                return Ok(is_sealed && journal.sealed()?.is_empty());
            }
            self.state.is_behind = self.state.is_last || left.first().is_some_and(is_old);
            let more = left.split_off(together(&left));
            self.flush_group(journal, &left, &mut blocked).await?;
            left = more;
        }
    }

    async fn seal(&mut self, journal: &Journal) -> bool {
        let of = journal.clone();
        let sealed = tokio::task::spawn_blocking(move || of.seal()).await.map_err(io::Error::other).flatten();
        let unsealed = &mut self.state.unsealed;
        let Err(error) = sealed else {
            unsealed.remove(journal.id());
            return true;
        };
        let said = error.to_string();
        if unsealed.get(journal.id()) != Some(&said) {
            tracing::error!(
                journal = journal.id(),
                error = said,
                "records stay in a segment that cannot be sealed"
            );
            unsealed.insert(journal.id().to_owned(), said);
        }
        self.trouble();
        false
    }

    /// Whether a segment only waits for tables that cannot be written now: it is not even read then.
    fn is_held(&self, journal: &str, segment: &SealedSegment, blocked: &mut Blocked) -> bool {
        let key = (journal.to_owned(), segment.number);
        let Some(missing) = self.state.missing.get(&key).filter(|missing| !missing.is_empty()) else {
            return false;
        };
        let waits = |name: &TableName| blocked.tables.contains(name) || self.waits(name);
        let is_held = self.is_observed(journal, segment.number) && missing.iter().all(waits);
        if is_held {
            blocked.tables.extend(missing.iter().cloned());
        }
        is_held
    }

    /// One commit for each table, whatever the number of segments: what waited is caught up with quickly.
    async fn flush_group(
        &mut self,
        journal: &Journal,
        group: &[SealedSegment],
        blocked: &mut Blocked,
    ) -> Result<(), TableError> {
        let began = Instant::now();
        let sources = group.iter().map(|segment| self.source(journal, segment)).collect();
        // As it is before all tries: what is read again after a lost race could still not have been written by another.
        let own = i64::try_from(journal.first_number()).unwrap_or(i64::MAX);
        let tried = self.state.tried.lock().clone();
        let writer = Writer { journal: journal.id().to_owned(), own, tried };
        let mut pass = self.read(journal, writer.clone(), sources, blocked).await?;
        let damage = std::mem::take(&mut pass.found.damage);
        damage.iter().for_each(|(segment, damage)| tell_damage(*segment, *damage));
        let mut missing = Missing::default();
        for attempt in 1.. {
            let raced = self.commit(journal, pass, blocked, &mut missing).await?;
            if raced.is_empty() {
                break;
            }
            if attempt == ATTEMPTS {
                self.lost(raced, blocked, &mut missing);
                break;
            }
            pass = self.read(journal, writer.clone(), again(group, &raced), blocked).await?;
        }
        // A power cut after the journal let go of it loses nothing.
        let lake = self.lake.clone();
        aside(self.pace(journal), async move { lake.sync() }).await??;
        for segment in group {
            let missing = missing.0.remove(&number(segment)).unwrap_or_default();
            let key = (journal.id().to_owned(), segment.number);
            if missing.is_empty() && self.is_observed(journal.id(), segment.number) {
                self.let_go(journal, segment, damage.get(&segment.number).copied().unwrap_or_default())?;
                self.state.missing.remove(&key);
                self.state.status.lock().last_flush_ms =
                    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            } else {
                self.state.missing.insert(key, missing);
            }
        }
        Ok(())
    }

    /// Of a segment that was looked at before only what it waits for.
    fn source(&self, journal: &Journal, segment: &SealedSegment) -> Source {
        let wanted = self.state.missing.get(&(journal.id().to_owned(), segment.number)).cloned();
        Source {
            segment: segment.clone(),
            wanted,
            is_observed: self.is_observed(journal.id(), segment.number),
        }
    }

    /// Gives what is in the segments to the observer, and into files of the tables.
    async fn read(
        &mut self,
        journal: &Journal,
        writer: Writer,
        sources: VecDeque<Source>,
        blocked: &mut Blocked,
    ) -> Result<Pass, TableError> {
        let endpoints = Arc::clone(&self.state.endpoints);
        let mut pass = Pass::new(self.lake.clone(), self.workspace.clone(), endpoints, writer);
        pass.observer = self.observer.clone().filter(|_| !blocked.observer);
        pass.waiting = self.state.failing.keys().filter(|name| self.waits(name)).cloned().collect();
        pass.waiting.extend(blocked.tables.iter().cloned());
        let first = sources.front().map(|source| source.segment.clone());
        (pass.sources, pass.known) = (sources, std::mem::take(&mut self.state.tables));
        let mut read = Ok(());
        while read.is_ok() && !pass.is_done() {
            self.state.is_behind |= first.as_ref().is_some_and(is_old);
            let mut of = pass;
            let step = async move {
                let read = of.step().await;
                (of, read)
            };
            (pass, read) = aside(self.pace(journal), step).await?;
        }
        self.state.tables = std::mem::take(&mut pass.known);
        self.note_observed(journal, &mut pass.found, blocked);
        if let Err(error) = read {
            for (name, filling) in pass.found.tables {
                filling.failure().iter().for_each(|error| self.failed(&name, error));
            }
            return Err(error);
        }
        self.crash(Step::Read)?;
        Ok(pass)
    }

    fn note_observed(&mut self, journal: &Journal, found: &mut Found, blocked: &mut Blocked) {
        if let Some(number) = found.observed {
            self.state.observed.insert(journal.id().to_owned(), number);
        }
        if let Some((segment, error)) = found.unobserved.take() {
            tracing::error!(segment, error, "segments stay in the journal");
            blocked.observer = true;
            self.trouble();
        }
    }

    /// Gives the tables whose commit lost a race, with the segments that they are to be read from again.
    async fn commit(
        &mut self,
        journal: &Journal,
        pass: Pass,
        blocked: &mut Blocked,
        missing: &mut Missing,
    ) -> Result<Numbers, TableError> {
        let mut raced = BTreeMap::new();
        for (name, filling) in pass.found.tables {
            let numbers = filling.numbers.clone();
            match self.commit_table(journal, &name, filling).await {
                Ok(true) => drop(self.state.failing.remove(&name)),
                Ok(false) => {
                    tracing::warn!(
                        table = %name,
                        "a commit under this journal's name was there already: an earlier try, or a copy of the data folder"
                    );
                    raced.insert(name, numbers);
                }
                Err(Failed::Now(TableError::Crashed)) => return Err(TableError::Crashed),
                Err(failed) => {
                    if let Failed::Now(error) = failed {
                        self.failed(&name, &error);
                    }
                    blocked.tables.insert(name.clone());
                    missing.add(&name, &numbers);
                }
            }
        }
        Ok(raced)
    }

    /// Whether the table has the rows: else another process wrote under the same name meanwhile.
    async fn commit_table(
        &mut self,
        journal: &Journal,
        name: &TableName,
        filling: Filling,
    ) -> Result<bool, Failed> {
        let written = |application: &str, last: i64| {
            self.crash(Step::Written)?;
            self.state.tried.lock().insert(application.to_owned(), last);
            Ok(())
        };
        let Ended::Has { table, is_new } = filling.end(self.pace(journal), &written).await? else {
            return Ok(false);
        };
        self.crash(Step::Committed).map_err(Failed::Now)?;
        self.state.status.lock().commits += u64::from(is_new);
        self.state.tables.insert(name.clone(), table);
        Ok(true)
    }

    /// The race was lost as often as it is tried.
    fn lost(&mut self, raced: Numbers, blocked: &mut Blocked, missing: &mut Missing) {
        for (name, numbers) in raced {
            self.failed(&name, &append::always_raced(name.clone()));
            missing.add(&name, &numbers);
            blocked.tables.insert(name);
        }
    }

    /// All tables have what is in the segment.
    fn let_go(&self, journal: &Journal, segment: &SealedSegment, damage: Damage) -> Result<(), TableError> {
        self.crash(Step::Observed)?;
        if damage.is_some() { journal.set_aside(segment) } else { journal.delete(segment) }?;
        self.crash(Step::Deleted)?;
        let mut status = self.state.status.lock();
        status.segments += 1;
        status.damaged += u64::from(damage.is_some());
        Ok(())
    }

    fn is_observed(&self, journal: &str, number: u64) -> bool {
        self.observer.is_none() || self.state.observed.get(journal).is_some_and(|last| number <= *last)
    }

    async fn flush_served(&mut self) -> Result<(), TableError> {
        let Some(served) = self.served.clone() else { return Ok(()) };
        let crash = self.crash.clone();
        let written = move || crashed(crash.as_ref(), Step::Served);
        let update = async {
            let now = served.served().await.map_err(io::Error::other)?;
            self.state.endpoints = Arc::new(rows::described(&now.latest()));
            let has_all = self.state.served.update(&self.lake, &now, &self.workspace, &written).await?;
            if let (true, Some(mark)) = (has_all, now.mark) {
                served.forget(mark).await.map_err(io::Error::other)?;
            }
            Ok::<_, TableError>(())
        };
        let updated = tokio::time::timeout(SERVED_WITHIN, update).await;
        let why = match updated {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(TableError::Crashed)) => return Err(TableError::Crashed),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took more than {} s", SERVED_WITHIN.as_secs()),
        };
        tracing::error!(error = why, "the table of what is served could not be written: it waits");
        self.trouble();
        Ok(())
    }

    fn pace(&self, journal: &Journal) -> Pace {
        if self.state.is_behind || journal.is_filling() { Pace::Hurried } else { Pace::Patient }
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
        crashed(self.crash.as_ref(), step)
    }
}

pub(crate) fn crashed(crash: Option<&Crash>, step: Step) -> Result<(), TableError> {
    if crash.is_some_and(|crash| crash(step)) { Err(TableError::Crashed) } else { Ok(()) }
}

/// Damage is not passed over in silence.
fn tell_damage(segment: u64, damage: Damage) {
    if damage.is_some() {
        let Damage { unread, records } = damage;
        tracing::error!(
            segment,
            unread,
            damaged = records,
            "the segment is damaged: what is whole in it goes to the tables"
        );
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

/// What tables that lost a race are read again from.
fn again(segments: &[SealedSegment], raced: &Numbers) -> VecDeque<Source> {
    let source = |segment: &SealedSegment| {
        let has_rows = |(name, numbers): (&TableName, &BTreeSet<i64>)| {
            numbers.contains(&number(segment)).then(|| name.clone())
        };
        let wanted: BTreeSet<_> = raced.iter().filter_map(has_rows).collect();
        let segment = segment.clone();
        (!wanted.is_empty()).then_some(Source { segment, wanted: Some(wanted), is_observed: true })
    };
    segments.iter().filter_map(source).collect()
}

/// Whether its last record has waited for too long.
fn is_old(segment: &SealedSegment) -> bool {
    let written = fs::metadata(&segment.path).and_then(|file| file.modified());
    written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > CALLS_FIRST))
}
