//! The Parquet files of a table, as they are written.

use chrono::{Days, NaiveDate};
use deltalake_core::kernel::PrimitiveType;
use deltalake_core::writer::{DeltaWriter, RecordBatchWriter, WriteMode};
use deltalake_core::{DeltaTable, DeltaTableError};
use indexmap::IndexMap;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::columns::Kind;
use crate::rows::Batch;

/// Columns whose values are all different, so that a dictionary of them is of no use.
const DIFFERENT: &[&str] =
    &["databricks_request_id", "request_id", "invocation_id", "event_id", "request", "response"];

/// Columns whose least and greatest values help nobody to find a row, and have no place in the log of a table.
const BODIES: &[&str] = &["request", "response"];

/// Bytes of a page of bodies. Snappy looks no further back than that, and what is as short is still in the caches of the
/// processor when it is looked at again.
const PAGE: usize = 64 << 10;

/// Bytes of rows that are in memory before they are written, at most, of each file that is begun.
const IN_MEMORY: usize = 32 << 20;

/// Writes files of `table`.
pub(crate) fn writer(table: &DeltaTable) -> Result<RecordBatchWriter, DeltaTableError> {
    Ok(RecordBatchWriter::for_table(table)?.with_writer_properties(properties()))
}

fn properties() -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tollgate ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_bytes(Some(IN_MEMORY));
    for name in DIFFERENT {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(*name), false);
    }
    for name in BODIES {
        let column = ColumnPath::from(*name);
        builder = builder
            .set_column_statistics_enabled(column.clone(), EnabledStatistics::None)
            .set_column_data_page_size_limit(column, PAGE);
    }
    builder.build()
}

/// Writes the rows of one day to where they belong, as they are.
pub(crate) async fn write(
    writer: &mut RecordBatchWriter,
    kind: Kind,
    batch: Batch,
) -> Result<(), DeltaTableError> {
    let Some((column, day)) = kind.partition().zip(batch.day) else { return writer.write(batch.rows).await };
    let value = PrimitiveType::Date.parse_scalar(&date(day))?;
    let values = IndexMap::from([(column.to_owned(), value)]);
    writer.write_partition(batch.rows, &values, WriteMode::Default).await.map(drop)
}

/// A day, in days since the epoch, as a partition is named.
fn date(day: i32) -> String {
    let epoch = NaiveDate::default();
    let days = Days::new(u64::from(day.unsigned_abs()));
    let date = if day < 0 { epoch.checked_sub_days(days) } else { epoch.checked_add_days(days) };
    date.unwrap_or(epoch).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_date() {
        assert_eq!([-1, 0, 20_784].map(date), ["1969-12-31", "1970-01-01", "2026-11-27"]);
    }
}
