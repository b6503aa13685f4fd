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
        // By a clock that was wrong a record may be from the future: it makes nothing old.
        let Some(newest) = hours.last().map(|hour| (*hour).min(journal::clock::least_ms() / 1000)) else {
            return Ok(());
        };
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use journal::rollup::{HourTags, HourlyRow};
    use journal::{Admission, Outcome, Settlement};
    use parking_lot::Mutex;

    use super::*;

    /// Keeps what was to expire.
    #[derive(Default)]
    struct Expired(Mutex<Vec<(i64, i64)>>);

    #[async_trait]
    impl Rollups for Expired {
        async fn apply(
            &self,
            _: &str,
            _: i64,
            _: &[HourlyRow],
        ) -> Result<bool, Box<dyn Error + Send + Sync>> {
            Ok(true)
        }

        async fn tags(
            &self,
            _: &BTreeSet<i64>,
        ) -> Result<BTreeMap<i64, HourTags>, Box<dyn Error + Send + Sync>> {
            Ok(BTreeMap::new())
        }

        async fn expire(&self, hours: i64, days: i64) -> Result<(), Box<dyn Error + Send + Sync>> {
            self.0.lock().push((hours, days));
            Ok(())
        }
    }

    fn call(received_at: i64) -> Entry {
        let settlement = Settlement {
            outcome: Outcome::Completed,
            status: 200,
            entity: None,
            model: None,
            provider: None,
            attempts: Vec::new(),
            usage: None,
            cost: None,
            duration_ms: 1.0,
            first_byte_ms: None,
            bytes_out: 0,
            content_type: None,
            output_characters: None,
            guards: Vec::new(),
            payload: None,
            response: None,
        };
        Entry::Settled(Arc::new(Call {
            admission: Admission { received_at, ..Admission::default() },
            settlement,
        }))
    }

    async fn expired(received_at: &[i64]) -> (i64, i64) {
        let expired = Arc::new(Expired::default());
        let sums = Sums { rollups: expired.clone(), kept_days: Some(500) };
        let mut segment = sums.segment();
        segment.entries(&received_at.iter().map(|at| call(*at)).collect::<Vec<_>>()).await.unwrap();
        segment.end("j", 1).await.unwrap();
        let found = expired.0.lock().clone();
        assert_eq!(found.len(), 1);
        found[0]
    }

    #[tokio::test]
    async fn a_record_from_the_future_makes_nothing_of_today_old() {
        let now = journal::clock::least_ms();
        let ahead = now + 401 * DAY * 1000;
        let (hours, days) = expired(&[now, ahead]).await;
        let (now, slack) = (now / 1000, 60);
        assert!((now - HOURS_KEPT..=now - HOURS_KEPT + slack).contains(&hours), "{hours} {now}");
        assert!((now - 500 * DAY..=now - 500 * DAY + slack).contains(&days), "{days} {now}");
        // What is applied late makes nothing old that was not when it happened.
        let old = (now - 30 * DAY) * 1000;
        assert_eq!(expired(&[old]).await.0, old.div_euclid(3_600_000) * 3600 - HOURS_KEPT);
    }
}
