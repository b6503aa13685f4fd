//! Deleting files that a table does not refer to.

use std::collections::HashSet;
use std::future::ready;
use std::time::Duration;

use chrono::TimeDelta;
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::{DeltaTable, DeltaTableError};
use futures_util::{StreamExt, TryStreamExt, stream};

/// How long a file stays that no commit names: another server may be about to commit it. Neither a flush, where each table
/// that hangs takes two minutes, nor putting files together takes as long, whatever the clocks of servers and store say.
pub(crate) const UNCOMMITTED: Duration = Duration::from_secs(3600);

/// Deletes files that the table let go of `unused` ago, and those that are in it by no commit; gives how many.
pub(crate) async fn vacuum(table: &DeltaTable, unused: Duration) -> Result<usize, DeltaTableError> {
    let mut gone = planned(table, VacuumMode::Lite, unused).await?;
    gone.extend(planned(table, VacuumMode::Full, unused.max(UNCOMMITTED)).await?);
    if gone.is_empty() {
        return Ok(0);
    }
    let store = table.object_store();
    // The log goes on naming those that were deleted before.
    let listed = store.list(None).map_ok(|file| file.location);
    let there: Vec<_> = listed.try_filter(|path| ready(gone.contains(path.as_ref()))).try_collect().await?;
    let mut deletions = store.delete_stream(stream::iter(there.into_iter().map(Ok)).boxed());
    let mut deleted = 0;
    while let Some(deletion) = deletions.next().await {
        match deletion {
            Ok(_) => deleted += 1,
            // Another server was quicker.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(deleted)
}

async fn planned(
    table: &DeltaTable,
    mode: VacuumMode,
    after: Duration,
) -> Result<HashSet<String>, DeltaTableError> {
    let after = TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX);
    let plan = table.clone().vacuum().with_retention_period(after).with_enforce_retention_duration(false);
    let (_, planned) = plan.with_mode(mode).with_dry_run(true).await?;
    Ok(planned.files_deleted.into_iter().collect())
}
