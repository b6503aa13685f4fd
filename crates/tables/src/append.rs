//! Rows into a table, exactly once: the commit holds who writes and the number of what is written, and what
//! the table holds already is not written again.

use std::sync::Arc;

use arrow_schema::ArrowError;
use deltalake_core::kernel::transaction::{
    CommitBuilder, CommitConflictError, CommitProperties, TransactionError,
};
use deltalake_core::kernel::{Action, Transaction};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::writer::DeltaWriter;
use deltalake_core::{DeltaTable, DeltaTableError, TableProperty};
use wire::table::TableName;

use crate::aside::{Pace, aside};
use crate::checks::{FORM, MARK, delta};
use crate::columns::Kind;
use crate::files;
use crate::lake::{Lake, TableError};
use crate::rows::Rows;
use crate::upgrade::up_to_date;

/// Commits between two checkpoints.
const CHECKPOINT_EVERY: &str = "20";

/// How often a commit is begun anew because another process wrote under the same name.
const ATTEMPTS: usize = 5;

/// Rows with the number of what they are from: what the table has a number for is there already.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) number: i64,
    pub(crate) rows: Rows,
}

/// The table with its log read, made where it is not there.
pub(crate) async fn open_or_create(lake: &Lake, name: &TableName) -> Result<DeltaTable, TableError> {
    let mut table = lake.table(name)?;
    if !exists(&table, name).await? {
        match create(&table, name).await {
            Ok(table) => return Ok(table),
            // Another process was quicker.
            Err(error) if !exists(&table, name).await? => return Err(error),
            Err(_) => {}
        }
    }
    table.load().await.map_err(|e| delta(name, e))?;
    Ok(table)
}

pub(crate) async fn exists(table: &DeltaTable, name: &TableName) -> Result<bool, TableError> {
    table.verify_deltatable_existence().await.map_err(|e| delta(name, e))
}

async fn create(table: &DeltaTable, name: &TableName) -> Result<DeltaTable, TableError> {
    let kind = Kind::of(name);
    CreateBuilder::new()
        .with_log_store(table.log_store())
        .with_table_name(name.table())
        .with_comment(kind.comment())
        .with_columns(kind.columns())
        .with_partition_columns(kind.partition())
        .with_raise_if_key_not_exists(false)
        .with_configuration([(MARK, Some(FORM))])
        .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINT_EVERY))
        .await
        .map_err(|e| delta(name, e))
}

/// Rows of one writer.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) application: &'a str,
    /// In the order of their numbers.
    pub(crate) rows: &'a Arc<[Numbered]>,
    /// The first of the numbers that nobody can have written yet; `None` where others write under the same name.
    pub(crate) fresh: Option<i64>,
    pub(crate) pace: Pace,
}

/// Appends those of the rows that the table does not have: false where it has them all. `written` is called between
/// the files and the commit, and its error ends it there.
pub(crate) async fn append(
    table: &mut DeltaTable,
    name: &TableName,
    batch: Batch<'_>,
    written: &(dyn Fn() -> Result<(), TableError> + Send + Sync),
) -> Result<bool, TableError> {
    let Batch { application, rows, fresh, .. } = batch;
    for _ in 0..ATTEMPTS {
        table.update_state().await.map_err(|e| delta(name, e))?;
        up_to_date(table, name).await?;
        let has = last_number(table, name, application).await?;
        if let (Some(has), Some(fresh)) = (has, fresh)
            && has >= fresh
        {
            return Err(TableError::Copied { table: name.clone(), has, fresh });
        }
        let known = rows.partition_point(|rows| has.is_some_and(|has| rows.number <= has));
        let Some(last) = rows[known..].last() else { return Ok(false) };
        let adds = aside(batch.pace, write(table.clone(), name.clone(), Arc::clone(rows), known)).await??;
        written()?;
        match commit(table, adds, Transaction::new(application, last.number)).await {
            Ok(()) => {
                table.update_state().await.map_err(|e| delta(name, e))?;
                return Ok(true);
            }
            Err(error) if is_same_writer(&error) => {}
            Err(error) => return Err(delta(name, error)),
        }
    }
    Err(TableError::Rows {
        table: name.clone(),
        reason: "others write it under the same name all the time".into(),
    })
}

/// The number of the last batch of `application` that the table holds.
pub(crate) async fn last_number(
    table: &DeltaTable,
    name: &TableName,
    application: &str,
) -> Result<Option<i64>, TableError> {
    let state = table.snapshot().map_err(|e| delta(name, e))?;
    let store = table.log_store();
    state.transaction_version(store.as_ref(), application).await.map_err(|e| delta(name, e))
}

/// Without those that are `known`.
async fn write(
    table: DeltaTable,
    name: TableName,
    rows: Arc<[Numbered]>,
    known: usize,
) -> Result<Vec<Action>, TableError> {
    let failed = |e| delta(&name, e);
    let mut writer = files::writer(&table).map_err(failed)?;
    let (kind, schema) = (Kind::of(&name), writer.arrow_schema());
    for Numbered { rows, .. } in &rows[known..] {
        for batch in rows.batches(&schema) {
            let wrong = |e: ArrowError| TableError::Rows { table: name.clone(), reason: e.to_string() };
            files::write(&mut writer, kind, batch.map_err(wrong)?).await.map_err(failed)?;
        }
    }
    Ok(writer.flush().await.map_err(failed)?.into_iter().map(Action::Add).collect())
}

async fn commit(
    table: &DeltaTable,
    adds: Vec<Action>,
    transaction: Transaction,
) -> Result<(), DeltaTableError> {
    let state = table.snapshot()?;
    let partition_by = Some(state.metadata().partition_columns().to_vec());
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by, predicate: None };
    CommitBuilder::from(CommitProperties::default().with_application_transaction(transaction))
        .with_actions(adds)
        .build(Some(state), table.log_store(), operation)
        .await
        .map(drop)
}

/// Whether another process committed under the same application meanwhile.
fn is_same_writer(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::Transaction {
            source: TransactionError::CommitConflict(CommitConflictError::ConcurrentTransaction)
        }
    )
}
