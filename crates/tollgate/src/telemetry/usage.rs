//! Finished calls, summed up in memory and written to the store every few seconds.

use std::sync::Arc;
use std::time::Duration;

use journal::rollup::{Hourly, HourlyRow, Rollups};
use journal::{Admission, RecordSink, Settlement};
use metrics::{counter, describe_counter};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(5);

/// Rows that are kept in memory while the store cannot be written.
const MAX_ROWS: usize = 200_000;

const LOST: &str = "tollgate_usage_lost_total";

/// Takes finished calls.
#[derive(Default)]
pub(crate) struct UsageSums(Mutex<Hourly>);

impl RecordSink for UsageSums {
    fn admit(&self, _admission: &Admission) {}

    fn settle(&self, admission: &Admission, settlement: &Settlement) {
        let mut hourly = self.0.lock();
        if hourly.len() < MAX_ROWS {
            hourly.add(admission, settlement);
        } else {
            counter!(LOST).increment(1);
        }
    }
}

/// Writes what was summed up, each time as the next segment of this process's journal.
pub(crate) struct Flusher {
    sums: Arc<UsageSums>,
    rollups: Arc<dyn Rollups>,
    journal_id: String,
    segment: i64,
    /// The rows of `segment` that are not known to be written.
    pending: Vec<HourlyRow>,
}

impl Flusher {
    pub(crate) fn new(sums: Arc<UsageSums>, rollups: Arc<dyn Rollups>) -> Self {
        describe_counter!(
            LOST,
            "calls that are in no sum, since the store could not be written for too long"
        );
        let journal_id = uuid::Uuid::new_v4().simple().to_string();
        Self { sums, rollups, journal_id, segment: 0, pending: Vec::new() }
    }

    /// Runs until `stop`, and writes what is left then.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while tokio::time::timeout(EVERY, stop.cancelled()).await.is_err() {
            self.flush().await;
        }
        self.flush().await;
    }

    async fn flush(&mut self) {
        if !self.pending.is_empty() && !self.write().await {
            return;
        }
        let sums = std::mem::take(&mut *self.sums.0.lock());
        if sums.is_empty() {
            return;
        }
        self.segment += 1;
        self.pending = sums.rows();
        self.write().await;
    }

    /// False when they have to be written again, under the same number: they are added once.
    async fn write(&mut self) -> bool {
        match self.rollups.apply(&self.journal_id, self.segment, &self.pending).await {
            Ok(_) => {
                self.pending.clear();
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the sums of usage could not be written; they are tried again");
                false
            }
        }
    }
}

/// Several sinks as one.
pub(crate) struct Sinks(pub(crate) Vec<Arc<dyn RecordSink>>);

impl RecordSink for Sinks {
    fn admit(&self, admission: &Admission) {
        self.0.iter().for_each(|sink| sink.admit(admission));
    }

    fn settle(&self, admission: &Admission, settlement: &Settlement) {
        self.0.iter().for_each(|sink| sink.settle(admission, settlement));
    }
}
