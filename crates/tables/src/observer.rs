//! Who is given what is in the segments of a journal, besides the tables.

use async_trait::async_trait;
use journal::Entry;

/// Is given each segment before it is deleted, those of a journal in the order of their numbers, whether or
/// not all tables can be written; again after a crash.
pub trait SegmentObserver: Send + Sync {
    /// For one segment.
    fn segment(&self) -> Box<dyn Watch>;
}

/// Looks at one segment. Where it is dropped before the end, the segment is given again.
#[async_trait]
pub trait Watch: Send {
    /// The next of its entries. An error keeps the segment and those after it, and they are given again.
    async fn entries(&mut self, entries: &[Entry]) -> Result<(), String>;

    /// There are no more. Must be idempotent by `journal` and `number`; an error as with entries.
    async fn end(self: Box<Self>, journal: &str, number: u64) -> Result<(), String>;
}
