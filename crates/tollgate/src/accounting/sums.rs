//! What was used, summed up from the segments of the journal into the control-plane store.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use journal::rollup::{Hourly, Rollups, hour_of};
use journal::{Call, Entry};
use tables::{SegmentObserver, Watch};

const DAY: i64 = 86_400;

/// How long sums are kept by the hour. By the day they are as long as the rows of usage.
const HOURS_KEPT: i64 = 400 * DAY;

#[derive(Clone)]
pub(crate) struct Sums {
    pub(crate) rollups: Arc<dyn Rollups>,
    /// `None` keeps them for good.
    pub(crate) kept_days: Option<u32>,
}

impl SegmentObserver for Sums {
    fn segment(&self) -> Box<dyn Watch> {
        Box::new(Segment { of: self.clone(), sums: Hourly::default(), hours: BTreeSet::new() })
    }
}

/// What was used in one segment.
struct Segment {
    of: Sums,
    sums: Hourly,
    hours: BTreeSet<i64>,
}

#[async_trait]
impl Watch for Segment {
    async fn entries(&mut self, entries: &[Entry]) -> Result<(), String> {
        self.add(entries).await.map_err(said)
    }

    async fn end(self: Box<Self>, journal: &str, number: u64) -> Result<(), String> {
        let number = i64::try_from(number).map_err(|e| e.to_string())?;
        self.apply(journal, number).await.map_err(said)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn said(error: Box<dyn Error + Send + Sync>) -> String {
    format!("the sums of usage: {error}")
}

impl Segment {
    async fn add(&mut self, entries: &[Entry]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let finished = || entries.iter().filter_map(finished);
        let hours: BTreeSet<_> = finished().map(|call| hour_of(&call.admission)).collect();
        let new: BTreeSet<_> = hours.difference(&self.hours).copied().collect();
        if !new.is_empty() {
            self.sums.learn(self.of.rollups.tags(&new).await?);
            self.hours.extend(new);
        }
        finished().for_each(|call| self.sums.add(&call.admission, &call.settlement));
        Ok(())
    }

    async fn apply(self: Box<Self>, journal: &str, number: i64) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Self { of: Sums { rollups, kept_days }, sums, hours } = *self;
        rollups.apply(journal, number, &sums.rows()).await?;
        let Some(newest) = hours.last() else { return Ok(()) };
        let days = kept_days.map_or(i64::MIN, |days| newest - i64::from(days) * DAY);
        rollups.expire(newest - HOURS_KEPT, days).await
    }
}

fn finished(entry: &Entry) -> Option<&Call> {
    match entry {
        Entry::Settled(call) => Some(call),
        Entry::Admitted(_) | Entry::Audited(_) => None,
    }
}
