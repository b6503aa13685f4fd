//! The end of what was served: the rows of a deleted endpoint's entities get the time of its deletion, in files
//! that take the place of those that they were in.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, BooleanArray, RecordBatch, StringArray};
use deltalake_core::DeltaTable;
use deltalake_core::DeltaTableError;
use deltalake_core::arrow::compute::filter_record_batch;
use deltalake_core::kernel::Action;
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::writer::{DeltaWriter, RecordBatchWriter};

use crate::compact::read;
use crate::replace::replace;

/// When entities ended, in microseconds since the epoch, by their ids.
pub(crate) type Ends = HashMap<String, i64>;

/// New files with the ends, and the ones that they replace.
pub(crate) async fn rewrite(table: DeltaTable, ends: Ends) -> Result<Vec<Action>, DeltaTableError> {
    let state = table.snapshot()?;
    let mut writer = RecordBatchWriter::for_table(&table)?;
    let mut actions = Vec::new();
    for file in state.log_data().iter() {
        let batches = read(&table, &file).await?;
        if !batches.iter().filter_map(Columns::of).any(|columns| columns.concern(&ends)) {
            continue;
        }
        for batch in &batches {
            writer.write(with_ends(batch, &ends)?).await?;
        }
        actions.push(Action::Remove(file.remove_action(true)));
    }
    actions.extend(writer.flush().await?.into_iter().map(Action::Add));
    Ok(actions)
}

/// Where somebody was quicker with these files, nothing is written: the table says what is left to do.
pub(crate) async fn commit(table: &mut DeltaTable, actions: Vec<Action>) -> Result<(), DeltaTableError> {
    let operation = DeltaOperation::Update { predicate: Some("endpoint_delete_time IS NULL".to_owned()) };
    replace(table, actions, operation).await.map(drop)
}

/// The columns that say what a row is.
pub(crate) struct Columns<'a> {
    pub(crate) ids: &'a StringArray,
    versions: &'a dyn Array,
    deleted: &'a arrow_array::TimestampMicrosecondArray,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(batch: &'a RecordBatch) -> Option<Self> {
        Some(Self {
            ids: batch.column_by_name("served_entity_id")?.as_string_opt()?,
            versions: batch.column_by_name("endpoint_config_version")?.as_ref(),
            deleted: batch
                .column_by_name("endpoint_delete_time")?
                .as_primitive_opt::<TimestampMicrosecondType>()?,
        })
    }

    /// Of a row, where it has ended.
    pub(crate) fn end(&self, row: usize) -> Option<i64> {
        self.deleted.is_valid(row).then(|| self.deleted.value(row))
    }

    /// Earlier versions wrote the end of an entity as a second row, which says little else.
    pub(crate) fn is_second(&self, row: usize) -> bool {
        self.versions.is_null(row)
    }

    fn rows(&self) -> impl Iterator<Item = usize> {
        0..self.ids.len()
    }

    fn concern(&self, ends: &Ends) -> bool {
        self.rows().any(|row| {
            ends.contains_key(self.ids.value(row)) && (self.end(row).is_none() || self.is_second(row))
        })
    }
}

fn with_ends(batch: &RecordBatch, ends: &Ends) -> Result<RecordBatch, DeltaTableError> {
    let Some(of) = Columns::of(batch) else { return Ok(batch.clone()) };
    let end = |row| of.end(row).or_else(|| ends.get(of.ids.value(row)).copied());
    let times: arrow_array::TimestampMicrosecondArray = of.rows().map(end).collect();
    let stays = |row| Some(!of.is_second(row) || !ends.contains_key(of.ids.value(row)));
    let stay: BooleanArray = of.rows().map(stays).collect();
    let at = batch.schema().index_of("endpoint_delete_time")?;
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(times.with_data_type(columns[at].data_type().clone()));
    Ok(filter_record_batch(&RecordBatch::try_new(batch.schema(), columns)?, &stay)?)
}
