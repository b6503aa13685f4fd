//! What was used, summed up from the segments of the journal into the control-plane store.

use std::sync::Arc;

use async_trait::async_trait;
use journal::Entry;
use journal::rollup::{Rollups, hourly};
use tables::SegmentObserver;

pub(crate) struct Sums(pub(crate) Arc<dyn Rollups>);

#[async_trait]
impl SegmentObserver for Sums {
    async fn segment(&self, journal: &str, number: u64, entries: &[Entry]) -> Result<(), String> {
        let finished = entries.iter().filter_map(|entry| match entry {
            Entry::Settled(call) => Some((&call.admission, &call.settlement)),
            Entry::Admitted(_) | Entry::Audited(_) => None,
        });
        let number = i64::try_from(number).map_err(|e| e.to_string())?;
        let applied = self.0.apply(journal, number, &hourly(finished)).await;
        applied.map(drop).map_err(|error| format!("the sums of usage: {error}"))
    }
}
