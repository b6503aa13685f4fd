//! Rows as Arrow has them.

use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_json::ReaderBuilder;
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use serde::Serialize;

/// Most rows of a batch.
const ROWS: usize = 1024;

/// Bytes of bodies after which a batch takes no more rows.
const BYTES: usize = 4 << 20;

/// A row of a table, as its columns are named.
pub(crate) trait Row: Serialize {
    /// What it is kept apart by, where its table has partitions: days since the epoch, in UTC.
    fn day(&self) -> Option<i32>;

    /// Text that is not serialized with the others, since it may be long, by its column.
    fn bodies(&self) -> &[(&'static str, Option<Bytes>)] {
        &[]
    }
}

/// Rows of one day, where the table is partitioned by it.
pub(crate) struct Batch {
    pub(crate) day: Option<i32>,
    pub(crate) rows: RecordBatch,
}

pub(crate) fn batches<R: Row>(rows: &[R], schema: &SchemaRef) -> Result<Vec<Batch>, String> {
    let builder = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(ROWS);
    let mut decoder = builder.build_decoder().map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    let mut left = rows;
    while let Some(first) = left.first() {
        let (chunk, more) = left.split_at(together(left));
        left = more;
        decoder.serialize(chunk).map_err(|e| e.to_string())?;
        let Some(batch) = decoder.flush().map_err(|e| e.to_string())? else { continue };
        let rows = with_bodies(batch, chunk).map_err(|e| e.to_string())?;
        found.push(Batch { day: first.day(), rows });
    }
    Ok(found)
}

/// How many rows of the same day are made into one batch, of those that come first.
fn together<R: Row>(rows: &[R]) -> usize {
    let day = rows.first().and_then(Row::day);
    let mut bytes = 0;
    let fits = |row: &&R| {
        let has_room = bytes < BYTES && row.day() == day;
        bytes += row.bodies().iter().flat_map(|(_, body)| body).map(Bytes::len).sum::<usize>();
        has_room
    };
    rows.iter().take(ROWS).take_while(fits).count().max(1)
}

fn with_bodies<R: Row>(batch: RecordBatch, rows: &[R]) -> Result<RecordBatch, ArrowError> {
    let names = rows.first().map(Row::bodies).unwrap_or_default();
    if names.is_empty() {
        return Ok(batch);
    }
    let (schema, mut columns, _) = batch.into_parts();
    for (at, (name, _)) in names.iter().enumerate() {
        let bodies = || rows.iter().map(|row| row.bodies().get(at).and_then(|(_, body)| body.as_deref()));
        let bytes = bodies().flatten().map(<[u8]>::len).sum();
        let mut column = BinaryBuilder::with_capacity(rows.len(), bytes);
        bodies().for_each(|body| column.append_option(body));
        let text = StringArray::try_from_binary(column.finish())?;
        columns[schema.index_of(name)?] = Arc::new(text) as ArrayRef;
    }
    RecordBatch::try_new(schema, columns)
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
        #[serde(skip)]
        bodies: [(&'static str, Option<Bytes>); 1],
    }

    impl Row for Short {
        fn day(&self) -> Option<i32> {
            Some(self.day)
        }

        fn bodies(&self) -> &[(&'static str, Option<Bytes>)] {
            &self.bodies
        }
    }

    fn row(n: i64, day: i32, body: Option<&[u8]>) -> Short {
        Short { n, day, bodies: [("text", body.map(Bytes::copy_from_slice))] }
    }

    fn schema() -> SchemaRef {
        let fields = vec![Field::new("text", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
        Schema::new(fields).into()
    }

    #[test]
    fn a_batch_is_of_one_day_and_has_the_bodies_of_its_rows() {
        let rows = [row(1, 7, Some(b"a")), row(2, 7, None), row(3, 8, Some(b"c")), row(4, 7, Some(b""))];
        let found = batches(&rows, &schema()).unwrap();
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
            let found = batches(rows, &schema()).unwrap();
            found.iter().map(|batch| batch.rows.num_rows()).collect::<Vec<_>>()
        };
        let short: Vec<_> = (0..2050).map(|n| row(n, 1, Some(b"x"))).collect();
        assert_eq!(lengths(&short), [1024, 1024, 2]);
        let long = vec![b'x'; BYTES / 2 + 1];
        let long: Vec<_> = (0..3).map(|n| row(n, 1, Some(&long))).collect();
        assert_eq!(lengths(&long), [2, 1]);
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        assert!(batches(&[row(1, 1, Some(b"\xff"))], &schema()).is_err());
    }
}
