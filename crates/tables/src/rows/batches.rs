//! Rows as Arrow has them.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use arrow_schema::{ArrowError, SchemaRef};
use serde::Serialize;

/// Most rows of a batch.
const ROWS: usize = 1024;

/// Bytes of bodies after which a batch takes no more rows.
const BYTES: usize = 4 << 20;

/// A row of a table.
pub(crate) trait Row: Sized {
    /// What it is kept apart by, where its table has partitions: days since the epoch, in UTC.
    fn day(&self) -> Option<i32>;

    /// Bytes of it that may be many.
    fn bytes(&self) -> usize {
        0
    }

    /// Rows in the columns of `schema`.
    fn batch(rows: &[Self], schema: &SchemaRef) -> Result<RecordBatch, ArrowError>;
}

/// Rows of one day, where the table is partitioned by it.
pub(crate) struct Batch {
    pub(crate) day: Option<i32>,
    pub(crate) rows: RecordBatch,
}

/// One after the other: each is written, and its memory used again, before there is the next.
pub(crate) fn batches<R: Row>(
    rows: &[R],
    schema: &SchemaRef,
) -> impl Iterator<Item = Result<Batch, ArrowError>> {
    let mut left = rows;
    std::iter::from_fn(move || {
        let first = left.first()?;
        let (chunk, more) = left.split_at(together(left));
        left = more;
        Some(R::batch(chunk, schema).map(|rows| Batch { day: first.day(), rows }))
    })
}

/// Of rows whose fields are named as the columns are. At most [`ROWS`].
pub(crate) fn serialized<R: Serialize>(rows: &[R], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(ROWS).build_decoder()?;
    decoder.serialize(rows)?;
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
}

/// How many rows of the same day are made into one batch, of those that come first.
fn together<R: Row>(rows: &[R]) -> usize {
    let day = rows.first().and_then(Row::day);
    let mut bytes = 0;
    let fits = |row: &&R| {
        let has_room = bytes < BYTES && row.day() == day;
        bytes += row.bytes();
        has_room
    };
    rows.iter().take(ROWS).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    #[derive(Serialize)]
    struct Short {
        n: i64,
        #[serde(skip)]
        day: i32,
        text: Option<String>,
    }

    impl Row for Short {
        fn day(&self) -> Option<i32> {
            Some(self.day)
        }

        fn bytes(&self) -> usize {
            self.text.as_ref().map_or(0, String::len)
        }

        fn batch(rows: &[Self], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
            serialized(rows, schema)
        }
    }

    fn batches(rows: &[Short]) -> Vec<Batch> {
        super::batches(rows, &schema()).collect::<Result<_, _>>().unwrap()
    }

    fn row(n: i64, day: i32, text: Option<&str>) -> Short {
        Short { n, day, text: text.map(str::to_owned) }
    }

    fn schema() -> SchemaRef {
        let fields = vec![Field::new("text", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
        Schema::new(fields).into()
    }

    #[test]
    fn a_batch_is_of_one_day_and_has_what_its_rows_have() {
        let rows = [row(1, 7, Some("a")), row(2, 7, None), row(3, 8, Some("c")), row(4, 7, Some(""))];
        let found = batches(&rows);
        let read = |batch: &Batch| {
            let texts = batch.rows.column(0).as_string::<i32>().iter();
            (batch.day, texts.map(|text| text.map(str::to_owned)).collect::<Vec<_>>())
        };
        let text = |text: &str| Some(text.to_owned());
        let expected =
            [(Some(7), vec![text("a"), None]), (Some(8), vec![text("c")]), (Some(7), vec![text("")])];
        assert_eq!(found.iter().map(read).collect::<Vec<_>>(), expected);
        assert_eq!(found[0].rows.column(1).as_primitive::<arrow_array::types::Int64Type>().values(), &[1, 2]);
    }

    #[test]
    fn a_batch_is_bounded_by_rows_and_by_bytes() {
        let lengths = |rows: &[Short]| {
            let found = batches(rows);
            found.iter().map(|batch| batch.rows.num_rows()).collect::<Vec<_>>()
        };
        let short: Vec<_> = (0..2050).map(|n| row(n, 1, Some("x"))).collect();
        assert_eq!(lengths(&short), [1024, 1024, 2]);
        let long = "x".repeat(BYTES / 2 + 1);
        let long: Vec<_> = (0..3).map(|n| row(n, 1, Some(&long))).collect();
        assert_eq!(lengths(&long), [2, 1]);
    }
}
