//! Rows into a table, exactly once: the commit holds who writes and the number of what is written, and what
//! the table holds already is not written again.

use arrow_schema::ArrowError;
use deltalake_core::kernel::transaction::{
    CommitBuilder, CommitConflictError, CommitProperties, TransactionError,
};
use deltalake_core::kernel::{Action, Transaction};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::writer::{DeltaWriter, RecordBatchWriter};
use deltalake_core::{DeltaTable, DeltaTableError, TableProperty};
use wire::table::TableName;

use crate::checks::{FORM, MARK, delta};
use crate::columns::Kind;
use crate::files;
use crate::lake::{Lake, TableError};
use crate::rows::Rows;
use crate::upgrade::up_to_date;

/// Commits between two checkpoints.
const CHECKPOINT_EVERY: &str = "20";

/// How often rows are written anew because another process wrote under the same name.
pub(crate) const ATTEMPTS: usize = 5;

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

/// Rows of one writer on their way into a table. Nothing of them is in it before the commit.
pub(crate) struct Append {
    table: DeltaTable,
    name: TableName,
    application: String,
    /// The number of the last of the writer's rows that the table holds.
    pub(crate) has: Option<i64>,
    writer: RecordBatchWriter,
}

/// What became of a commit.
pub(crate) enum Committed {
    Done(DeltaTable),
    /// Another process wrote under the same name meanwhile: what the table holds now is to be looked at anew.
    Raced,
}

impl Append {
    /// With the table as it is now.
    pub(crate) async fn begin(
        mut table: DeltaTable,
        name: &TableName,
        application: String,
    ) -> Result<Self, TableError> {
        table.update_state().await.map_err(|e| delta(name, e))?;
        up_to_date(&mut table, name).await?;
        let has = last_number(&table, name, &application).await?;
        let writer = files::writer(&table).map_err(|e| delta(name, e))?;
        Ok(Self { table, name: name.clone(), application, has, writer })
    }

    /// Who writes.
    pub(crate) fn application(&self) -> &str {
        &self.application
    }

    /// Where nothing was written there is nothing to commit.
    pub(crate) fn into_table(self) -> DeltaTable {
        self.table
    }

    pub(crate) async fn write(&mut self, rows: &Rows) -> Result<(), TableError> {
        let (kind, schema) = (Kind::of(&self.name), self.writer.arrow_schema());
        for batch in rows.batches(&schema) {
            let wrong = |e: ArrowError| TableError::Rows { table: self.name.clone(), reason: e.to_string() };
            let written = files::write(&mut self.writer, kind, batch.map_err(wrong)?).await;
            written.map_err(|e| delta(&self.name, e))?;
        }
        Ok(())
    }

    /// Ends the files.
    pub(crate) async fn files(&mut self) -> Result<Vec<Action>, TableError> {
        let files = self.writer.flush().await.map_err(|e| delta(&self.name, e))?;
        Ok(files.into_iter().map(Action::Add).collect())
    }

    /// `last` is the number of the last of the rows in `files`.
    pub(crate) async fn commit(mut self, files: Vec<Action>, last: i64) -> Result<Committed, TableError> {
        let transaction = Transaction::new(&self.application, last);
        match commit(&self.table, files, transaction).await {
            Ok(()) => {
                self.table.update_state().await.map_err(|e| delta(&self.name, e))?;
                Ok(Committed::Done(self.table))
            }
            Err(error) if is_same_writer(&error) => Ok(Committed::Raced),
            Err(error) => Err(delta(&self.name, error)),
        }
    }
}

/// The race was lost as often as it is tried.
pub(crate) fn always_raced(table: TableName) -> TableError {
    let reason = "others write it under the same name all the time".to_owned();
    TableError::Rows { table, reason }
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
