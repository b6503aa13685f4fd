//! What was used, summed up from the segments of the journal into the control-plane store.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use journal::rollup::{Hourly, Rollups, hour_of};
use journal::{Call, Entry};
use tables::SegmentObserver;

const DAY: i64 = 86_400;

/// How long sums are kept by the hour. By the day they are as long as the rows of usage.
const HOURS_KEPT: i64 = 400 * DAY;

pub(crate) struct Sums {
    pub(crate) rollups: Arc<dyn Rollups>,
    /// `None` keeps them for good.
    pub(crate) kept_days: Option<u32>,
}

#[async_trait]
impl SegmentObserver for Sums {
    async fn segment(&self, journal: &str, number: u64, entries: &[Entry]) -> Result<(), String> {
        let number = i64::try_from(number).map_err(|e| e.to_string())?;
        let applied = self.apply(journal, number, entries).await;
        applied.map_err(|error| format!("the sums of usage: {error}"))
    }
}

impl Sums {
    async fn apply(
        &self,
        journal: &str,
        number: i64,
        entries: &[Entry],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let finished = || entries.iter().filter_map(finished);
        let hours = finished().map(|call| hour_of(&call.admission)).collect();
        let mut sums = Hourly::knowing(self.rollups.tags(&hours).await?);
        finished().for_each(|call| sums.add(&call.admission, &call.settlement));
        self.rollups.apply(journal, number, &sums.rows()).await?;
        let Some(newest) = hours.last() else { return Ok(()) };
        let days = self.kept_days.map_or(i64::MIN, |days| newest - i64::from(days) * DAY);
        self.rollups.expire(newest - HOURS_KEPT, days).await
    }
}

fn finished(entry: &Entry) -> Option<&Call> {
    match entry {
        Entry::Settled(call) => Some(call),
        Entry::Admitted(_) | Entry::Audited(_) => None,
    }
}
