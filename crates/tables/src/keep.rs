//! Looking after the tables: few files, no rows older than is wanted, no files that nothing refers to.

use std::time::{Duration, UNIX_EPOCH};

use deltalake_core::kernel::Action;
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::{DeltaTable, DeltaTableError};
use journal::clock::least_ms;
use wire::table::TableName;

use crate::aside::{Pace, aside};
use crate::checks::{delta, is_ours};
use crate::columns::Kind;
use crate::compact::{Written, compact, day_of};
use crate::flusher::{Crash, Step, crashed};
use crate::lake::{Lake, TableError};
use crate::replace::replace;
use crate::rows::day;
use crate::staged;
use crate::vacuum::{UNCOMMITTED, vacuum};

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days of rows of usage and audit; `None` keeps them for good.
    pub usage_days: Option<u32>,
    /// Days of rows with bodies.
    pub payload_days: Option<u32>,
    /// How long files stay that the table no longer refers to, for those who still read an older version.
    pub unused_files: Duration,
}

impl Retention {
    fn days(self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::Payload => self.payload_days,
            Kind::EndpointUsage | Kind::GatewayUsage | Kind::Audit => self.usage_days,
            // It says what the ids of the others mean.
            Kind::ServedEntities => None,
        }
    }
}

/// How long it may take for one table: a store that hangs holds up nothing for ever.
const KEEP_WITHIN: Duration = Duration::from_secs(300);

/// Looks after every table of ours. One that fails is told of, and the others go on.
pub(crate) async fn keep_all(
    lake: &Lake,
    retention: Retention,
    crash: Option<&Crash>,
) -> Result<(), TableError> {
    for name in lake.names().await? {
        let (of, one, crash) = (lake.clone(), name.clone(), crash.cloned());
        let written = move || match crashed(crash.as_ref(), Step::Kept) {
            Ok(()) => Ok(()),
            Err(error) => Err(DeltaTableError::generic(error.to_string())),
        };
        let kept = aside(Pace::Patient, async move { keep(&of, &one, retention, &written).await });
        let slow = || TableError::Slow { table: name.clone(), seconds: KEEP_WITHIN.as_secs() };
        let kept = tokio::time::timeout(KEEP_WITHIN, kept).await;
        if let Err(error) = kept.unwrap_or_else(|_| Err(slow())).flatten() {
            tracing::warn!(table = %name, %error, "the table could not be looked after; it is tried again later");
        }
    }
    Ok(())
}

async fn keep(
    lake: &Lake,
    name: &TableName,
    retention: Retention,
    written: Written<'_>,
) -> Result<(), TableError> {
    let mut table = lake.table(name)?;
    table.load().await.map_err(|e| delta(name, e))?;
    if !is_ours(&table) {
        return Ok(());
    }
    let result = keep_one(table, Kind::of(name), retention, written).await;
    let (compacted, expired, mut vacuumed) = result.map_err(|e| delta(name, e))?;
    if let Some(folder) = lake.folder(name) {
        let now = Duration::from_millis(u64::try_from(least_ms()).unwrap_or_default());
        let since = UNIX_EPOCH + now.saturating_sub(retention.unused_files.max(UNCOMMITTED));
        vacuumed += staged::forget(&folder, since)?;
    }
    if compacted + expired + vacuumed > 0 {
        tracing::info!(table = %name, compacted, expired, vacuumed, "files of the table were put together or removed");
    }
    Ok(())
}

/// How many files were put together, how many were of days that are over, how many were deleted.
async fn keep_one(
    mut table: DeltaTable,
    kind: Kind,
    retention: Retention,
    written: Written<'_>,
) -> Result<(usize, usize, usize), DeltaTableError> {
    let expired = match retention.days(kind) {
        Some(days) => expire(&mut table, days, written).await?,
        None => 0,
    };
    let (compacted, _) = compact(&mut table, written).await?;
    let vacuumed = vacuum(&table, retention.unused_files).await?;
    Ok((compacted, expired, vacuumed))
}

/// Takes the files of days before the last `days` out of the table. A clock that is set on makes none of them old.
async fn expire(table: &mut DeltaTable, days: u32, written: Written<'_>) -> Result<usize, DeltaTableError> {
    let first = day(least_ms()).saturating_sub(i32::try_from(days).unwrap_or(i32::MAX));
    let first = chrono::NaiveDate::from_epoch_days(first).map(|date| date.to_string()).unwrap_or_default();
    let state = table.snapshot()?.clone();
    let is_over = |day: &str| !day.is_empty() && day < first.as_str();
    let log = state.log_data();
    let old = log.iter().filter(|file| is_over(&day_of(file)));
    let actions: Vec<Action> = old.map(|file| Action::Remove(file.remove_action(true))).collect();
    let count = actions.len();
    if count > 0 {
        written()?;
        let operation = DeltaOperation::Delete { predicate: Some(format!("day < '{first}'")) };
        if !replace(table, actions, operation).await? {
            return Ok(0);
        }
    }
    Ok(count)
}
