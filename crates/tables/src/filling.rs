//! A table whose rows are being read: they wait until there are enough of them for a batch, and go into files of the
//! table, of which the commit comes last.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use deltalake_core::DeltaTable;
use deltalake_core::kernel::Action;
use futures_util::FutureExt;
use wire::table::TableName;

use crate::append::{Append, Committed};
use crate::aside::{Pace, aside};
use crate::lake::TableError;
use crate::rows::Rows;

/// How long one table may take for one commit: a store that hangs holds up no other table for ever.
const TABLE_WITHIN: Duration = Duration::from_secs(120);

/// Bytes of bodies that are worth a batch: little enough to be still in the caches of the processor.
const WORTH_BYTES: usize = 1 << 20;

/// Rows that are worth a batch.
const WORTH_ROWS: usize = 1024;

/// Is called between files and their commit, with who writes and the number of the last of the rows: its error ends it
/// there.
pub(crate) type Written<'a> = &'a (dyn Fn(&str, i64) -> Result<(), TableError> + Send + Sync);

pub(crate) struct Filling {
    name: TableName,
    /// Of the segments that have rows of it.
    pub(crate) numbers: BTreeSet<i64>,
    /// Of the last of the rows that the table does not have.
    last: Option<i64>,
    waiting: Vec<Rows>,
    /// How many wait, and the bytes of their bodies.
    size: (usize, usize),
    append: Result<Append, Failed>,
    left: Duration,
}

/// Why a table is not filled: the rows stay in the journal.
pub(crate) enum Failed {
    /// It failed before, and is not tried yet.
    Waits,
    Now(TableError),
}

/// What became of the rows.
pub(crate) enum Ended {
    /// The table has them, by a commit of now or of before.
    Has {
        table: DeltaTable,
        is_new: bool,
    },
    Raced,
}

impl Filling {
    pub(crate) fn waits(name: TableName) -> Self {
        let (numbers, waiting, append) = (BTreeSet::new(), Vec::new(), Err(Failed::Waits));
        Self { name, numbers, last: None, waiting, size: (0, 0), append, left: Duration::ZERO }
    }

    /// `open` gives the table and who writes.
    pub(crate) async fn begin(
        name: TableName,
        open: impl Future<Output = Result<(DeltaTable, String), TableError>>,
    ) -> Self {
        let mut filling = Self { left: TABLE_WITHIN, ..Self::waits(name) };
        let begin = async {
            let (table, application) = open.await?;
            Append::begin(table, &filling.name, application).await
        };
        filling.append = within(&mut filling.left, &filling.name, Box::pin(begin)).await.map_err(Failed::Now);
        filling
    }

    /// Takes rows of the segment of this number, which is none before that of the last. Where the table has a number that
    /// `is_fresh`, which nobody can have written yet, there is a copy of the journal.
    pub(crate) async fn add(&mut self, number: i64, rows: Rows, is_fresh: impl Fn(&str) -> bool) {
        self.numbers.insert(number);
        let Ok(append) = &self.append else { return };
        match append.has {
            Some(has) if number <= has && is_fresh(append.application()) => {
                let copied = TableError::Copied { table: self.name.clone(), has, fresh: number };
                self.append = Err(Failed::Now(copied));
            }
            Some(has) if number <= has => {}
            _ => {
                self.last = Some(number);
                self.wait(rows);
                if self.size.0 >= WORTH_ROWS || self.size.1 >= WORTH_BYTES {
                    self.write().await;
                }
            }
        }
    }

    fn wait(&mut self, rows: Rows) {
        self.size = (self.size.0 + rows.len(), self.size.1 + rows.bytes());
        let more = match self.waiting.last_mut() {
            Some(waiting) => waiting.append(rows),
            None => Some(rows),
        };
        self.waiting.extend(more);
    }

    /// Brings what waits into the files.
    async fn write(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.size = (0, 0);
        let Ok(append) = &mut self.append else { return };
        let write = async {
            for rows in &waiting {
                append.write(rows).await?;
            }
            Ok(())
        };
        // What one table's rows break holds up no other table.
        let broken = TableError::Rows { table: self.name.clone(), reason: "its writer panicked".to_owned() };
        let write = AssertUnwindSafe(write).catch_unwind().map(|written| written.unwrap_or(Err(broken)));
        if let Err(error) = within(&mut self.left, &self.name, Box::pin(write)).await {
            self.append = Err(Failed::Now(error));
        }
    }

    /// What it failed with so far.
    pub(crate) fn failure(self) -> Option<TableError> {
        match self.append {
            Err(Failed::Now(error)) => Some(error),
            Err(Failed::Waits) | Ok(_) => None,
        }
    }

    /// The rows into the table.
    pub(crate) async fn end(self, pace: Pace, written: Written<'_>) -> Result<Ended, Failed> {
        if let Self { append: Err(failed), .. } = self {
            return Err(failed);
        }
        let name = self.name.clone();
        let (mut left, last) = (self.left, self.last);
        let files = Box::pin(aside(pace, self.files()));
        let (append, files) = within(&mut left, &name, files).await.map_err(Failed::Now)??;
        let Some(last) = last else { return Ok(Ended::Has { table: append.into_table(), is_new: false }) };
        written(append.application(), last).map_err(Failed::Now)?;
        match within(&mut left, &name, Box::pin(append.commit(files, last))).await.map_err(Failed::Now)? {
            Committed::Done(table) => Ok(Ended::Has { table, is_new: true }),
            Committed::Raced => Ok(Ended::Raced),
        }
    }

    async fn files(mut self) -> Result<(Append, Vec<Action>), Failed> {
        self.write().await;
        let mut append = self.append?;
        let files = if self.last.is_some() { append.files().await.map_err(Failed::Now)? } else { Vec::new() };
        Ok((append, files))
    }
}

/// Takes from what is `left` of the time of a table. Work of Delta's has a box, of which there is one at a time: it is large.
async fn within<T>(
    left: &mut Duration,
    table: &TableName,
    work: impl Future<Output = Result<T, TableError>>,
) -> Result<T, TableError> {
    let began = Instant::now();
    let done = tokio::time::timeout(*left, work).await;
    *left = left.saturating_sub(began.elapsed());
    let slow = TableError::Slow { table: table.clone(), seconds: TABLE_WITHIN.as_secs() };
    done.unwrap_or(Err(slow))
}
