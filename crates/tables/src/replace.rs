//! Commits that take files out of a table and put others in their place.
//!
//! When another commit is quicker, the library looks past files that it took out without changing data, as a
//! compaction does: their rows would be in the table twice. So such a commit is made on top of exactly what was
//! read, or of what still has all of its files.

use std::collections::HashSet;

use deltalake_core::kernel::Action;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::{DeltaTable, DeltaTableError};

/// How often a commit is tried on top of what others did meanwhile.
const ATTEMPTS: usize = 10;

/// False where another took out one of the files first: nothing is written then.
pub(crate) async fn replace(
    table: &mut DeltaTable,
    actions: Vec<Action>,
    operation: DeltaOperation,
) -> Result<bool, DeltaTableError> {
    let taken: Vec<String> = actions.iter().filter_map(taken_out).collect();
    for _ in 0..ATTEMPTS {
        let committed = CommitBuilder::from(CommitProperties::default().with_max_retries(0))
            .with_actions(actions.clone())
            .build(Some(table.snapshot()?), table.log_store(), operation.clone())
            .await;
        table.update_state().await?;
        match committed {
            Ok(_) => return Ok(true),
            Err(DeltaTableError::Transaction { source: TransactionError::MaxCommitAttempts(_) }) => {}
            Err(error) => return Err(error),
        }
        let log = table.snapshot()?.log_data();
        let there: HashSet<String> = log.iter().map(|file| file.path().to_string()).collect();
        if !taken.iter().all(|path| there.contains(path)) {
            return Ok(false);
        }
    }
    Err(DeltaTableError::generic(format!("others committed {ATTEMPTS} times meanwhile")))
}

fn taken_out(action: &Action) -> Option<String> {
    match action {
        Action::Remove(remove) => Some(remove.path.clone()),
        _ => None,
    }
}
