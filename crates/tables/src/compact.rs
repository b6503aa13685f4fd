//! Many small files into few: those of a day are written anew as one, and the commit says that no data changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Fields, Schema, SchemaRef};
use bytes::Bytes;
use deltalake_core::kernel::schema::cast::cast_record_batch;
use deltalake_core::kernel::{Action, LogicalFileView};
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::writer::{DeltaWriter, WriteMode};
use deltalake_core::{DeltaTable, DeltaTableError};
use indexmap::IndexMap;
use object_store::ObjectStoreExt as _;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::files;
use crate::replace::replace;

/// A file below this many bytes is small.
const SMALL: i64 = 32 << 20;

/// Small files of one day that are worth it.
const WORTH: usize = 8;

/// Bytes that are put together in one go: what is in memory at once.
const AT_ONCE: i64 = 128 << 20;

/// What may end the care of a table before a commit.
pub(crate) type Written<'a> = &'a (dyn Fn() -> Result<(), DeltaTableError> + Send + Sync);

/// How many files became how many. `written` is called between the files and the commit, and its error ends it
/// there.
pub(crate) async fn compact(
    table: &mut DeltaTable,
    written: Written<'_>,
) -> Result<(usize, usize), DeltaTableError> {
    let state = table.snapshot()?.clone();
    let mut days: BTreeMap<String, Vec<LogicalFileView>> = BTreeMap::new();
    for file in state.log_data().iter().filter(|file| file.size() < SMALL) {
        days.entry(day_of(&file)).or_default().push(file);
    }
    let (mut actions, mut removed, mut added) = (Vec::new(), 0, 0);
    for files in days.into_values().filter(|files| files.len() >= WORTH) {
        let files = within(files);
        let adds = rewrite(table, &files).await?;
        removed += files.len();
        added += adds.len();
        actions.extend(files.iter().map(|file| Action::Remove(file.remove_action(false))));
        actions.extend(adds);
    }
    if actions.is_empty() {
        return Ok((0, 0));
    }
    written()?;
    let operation = DeltaOperation::Optimize { predicate: None, target_size: AT_ONCE };
    let is_done = replace(table, actions, operation).await?;
    Ok(if is_done { (removed, added) } else { (0, 0) })
}

/// The partition that a file is of, as text.
pub(crate) fn day_of(file: &LogicalFileView) -> String {
    let values = file.partition_values_map();
    values.into_values().flatten().next().unwrap_or_default()
}

/// As many as are put together in one go.
fn within(files: Vec<LogicalFileView>) -> Vec<LogicalFileView> {
    let mut bytes = 0;
    let fits = |file: &LogicalFileView| {
        bytes += file.size();
        bytes <= AT_ONCE
    };
    files.into_iter().take_while(fits).collect()
}

async fn rewrite(table: &DeltaTable, files: &[LogicalFileView]) -> Result<Vec<Action>, DeltaTableError> {
    let mut writer = files::writer(table)?;
    for file in files {
        let values: IndexMap<_, _> = match file.partition_values() {
            Some(values) => values
                .fields()
                .iter()
                .zip(values.values())
                .map(|(f, v)| (f.name().clone(), v.clone()))
                .collect(),
            None => IndexMap::new(),
        };
        for batch in read(table, file).await? {
            writer.write_partition(batch, &values, WriteMode::Default).await?;
        }
    }
    let adds = writer.flush().await?.into_iter().map(|mut add| {
        add.data_change = false;
        Action::Add(add)
    });
    Ok(adds.collect())
}

/// The rows of a file in the columns that the table has now, without those that are in its path.
pub(crate) async fn read(
    table: &DeltaTable,
    file: &LogicalFileView,
) -> Result<Vec<RecordBatch>, DeltaTableError> {
    let state = table.snapshot()?;
    let in_path = state.metadata().partition_columns();
    let columns: Fields = state
        .snapshot()
        .arrow_schema()
        .fields()
        .iter()
        .filter(|field| !in_path.contains(field.name()))
        .cloned()
        .collect();
    let schema: SchemaRef = Schema::new(columns).into();
    let data: Bytes = table.object_store().get(&file.object_store_path()).await?.bytes().await?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(data)?.build()?;
    // A file may be older than a column, and others write text in types of their own.
    let batches = reader.map(|batch| cast_record_batch(&batch?, Arc::clone(&schema), false, true));
    batches.collect()
}
