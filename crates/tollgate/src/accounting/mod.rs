//! Records of calls from the data plane to the tables: the journal, who fills the tables from it, and how
//! both are told of in the metrics.

mod entities;
mod listing;
mod records;
mod sums;

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{counter, describe_counter, describe_gauge, gauge};
use anyhow::Context;
use control::TableListing;
use journal::{Journal, OpenError};
use parking_lot::Mutex;
use store::{PrincipalStore, SqliteStore};
use tables::{Flusher, FlusherStatus, Lake, Workspace};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::AccountingConfig;
use entities::StoredEntities;
use listing::Listing;
use sums::Sums;

pub(crate) use records::{AuditTrail, Records};

/// How often the metrics are brought up to date.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The journal and its tables, open.
pub(crate) struct Accounting {
    pub(crate) journal: Journal,
    pub(crate) lake: Lake,
    /// What other servers of the data folder left when they died.
    left: Vec<Journal>,
    config: AccountingConfig,
}

impl Accounting {
    /// Opens the journal of the data folder and settles what a crash left open.
    pub(crate) async fn open(config: &AccountingConfig) -> anyhow::Result<Self> {
        let lake = config.lake()?;
        let of = config.journal.clone();
        let open = move || Ok::<_, OpenError>((Journal::open(of.clone())?, Journal::open_left(&of)?));
        let (journal, left) = tokio::task::spawn_blocking(open).await??;
        let calls = journal.aborted() + left.iter().map(Journal::aborted).sum::<usize>();
        if calls > 0 {
            tracing::warn!(calls, "calls were under way when the server died: they are recorded as aborted");
        }
        describe();
        Ok(Self { journal, lake, left, config: config.clone() })
    }

    /// What the control plane shows of the tables.
    pub(crate) fn listing(&self) -> Arc<dyn TableListing> {
        Arc::new(Listing(self.lake.clone()))
    }

    /// Runs until `stop`, and flushes a last time.
    pub(crate) async fn spawn(
        self,
        store: Arc<SqliteStore>,
        account_id: String,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let id = store.workspace_id().await.context("cannot read the workspace's id")?;
        let workspace = Workspace { account_id, workspace_id: id.to_string() };
        let Self { journal, lake, left, config } = self;
        let mut flusher = Flusher::new(journal.clone(), lake, workspace, config.retention);
        flusher.left = left;
        flusher.every = config.flush_every;
        flusher.keep_every = config.keep_every;
        flusher.observer =
            Some(Arc::new(Sums { rollups: store.clone(), kept_days: config.retention.usage_days }));
        flusher.served = Some(Arc::new(StoredEntities(store)));
        tasks.spawn(tell(journal.clone(), flusher.status(), stop.clone()));
        tasks.spawn(journal.sync(stop.clone()));
        let runtime = tables::runtime().context("cannot start the thread that writes tables")?;
        tasks.spawn_on(flusher.run(stop.clone()), &runtime);
        Ok(())
    }
}

fn describe() {
    describe_gauge!("tollgate_journal_bytes", "bytes of records that are not in the tables yet");
    describe_gauge!("tollgate_journal_queued_bytes", "bytes of records that are in memory alone");
    describe_gauge!("tollgate_journal_full", "1 while the journal takes no records");
    describe_counter!("tollgate_journal_refused_total", "calls refused since the journal was full");
    describe_counter!(
        "tollgate_journal_dropped_payloads_total",
        "bodies left out since the journal was full"
    );
    describe_counter!("tollgate_journal_left_out_audits_total", "audit records that are in the log alone");
    describe_counter!(
        "tollgate_journal_failed_syncs_total",
        "times that records could not be brought onto the disk"
    );
    describe_counter!("tollgate_tables_segments_total", "segments of the journal that are in the tables");
    describe_counter!(
        "tollgate_tables_damaged_segments_total",
        "segments that were damaged; their files are kept in the journal's folder"
    );
    describe_counter!("tollgate_tables_commits_total", "commits to tables");
    describe_counter!(
        "tollgate_tables_failures_total",
        "times that a table, the sums of usage or the journal could not be written or read"
    );
    describe_gauge!(
        "tollgate_tables_failing",
        "tables that cannot be written now; the sums of usage and the journal count as one each"
    );
}

async fn tell(journal: Journal, flusher: Arc<Mutex<FlusherStatus>>, stop: CancellationToken) {
    loop {
        let (of, tables) = (journal.status(), *flusher.lock());
        #[expect(clippy::cast_precision_loss, reason = "a gauge of bytes")]
        let bytes = |bytes: u64| bytes as f64;
        gauge!("tollgate_journal_bytes").set(bytes(of.bytes));
        gauge!("tollgate_journal_queued_bytes").set(bytes(of.queued_bytes));
        gauge!("tollgate_journal_full").set(f64::from(u8::from(of.is_full)));
        counter!("tollgate_journal_refused_total").absolute(of.refused);
        counter!("tollgate_journal_dropped_payloads_total").absolute(of.dropped_payloads);
        counter!("tollgate_journal_left_out_audits_total").absolute(of.left_out_audits);
        counter!("tollgate_journal_failed_syncs_total").absolute(of.failed_syncs);
        counter!("tollgate_tables_segments_total").absolute(tables.segments);
        counter!("tollgate_tables_damaged_segments_total").absolute(tables.damaged);
        counter!("tollgate_tables_commits_total").absolute(tables.commits);
        counter!("tollgate_tables_failures_total").absolute(tables.failures);
        gauge!("tollgate_tables_failing").set(bytes(tables.failing_tables));
        if tokio::time::timeout(TELL_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}
