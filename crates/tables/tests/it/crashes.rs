//! A flush that ends anywhere, and the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use journal::Entry;
use journal::audit::{AuditPhase, AuditSink};
use parking_lot::Mutex;
use tollgate_tables::{Flusher, SegmentObserver, Step, TableError, TableName, Watch};

use crate::known::audited;
use crate::world::{World, calls, crash_at, damage_last};

const STEPS: [(Step, usize); 11] = [
    (Step::Sealed, 1),
    (Step::Read, 1),
    (Step::Written, 1),
    (Step::Written, 3),
    (Step::Written, 4),
    (Step::Committed, 1),
    (Step::Committed, 2),
    (Step::Committed, 3),
    (Step::Committed, 4),
    (Step::Observed, 1),
    (Step::Deleted, 1),
];

/// Sums up calls, each segment once, as the sums of usage do.
#[derive(Default)]
struct Sums(Arc<Mutex<BTreeMap<u64, u64>>>);

struct Summing {
    sums: Arc<Mutex<BTreeMap<u64, u64>>>,
    tokens: u64,
}

impl SegmentObserver for Sums {
    fn segment(&self) -> Box<dyn Watch> {
        Box::new(Summing { sums: Arc::clone(&self.0), tokens: 0 })
    }
}

#[async_trait]
impl Watch for Summing {
    async fn entries(&mut self, entries: &[Entry]) -> Result<(), String> {
        let tokens = entries.iter().map(|entry| match entry {
            Entry::Settled(call) => call.settlement.usage.as_ref().map_or(0, |usage| usage.tokens().total()),
            Entry::Admitted(_) | Entry::Audited(_) => 0,
        });
        self.tokens += tokens.sum::<u64>();
        Ok(())
    }

    async fn end(self: Box<Self>, _: &str, number: u64) -> Result<(), String> {
        let before = self.sums.lock().insert(number, self.tokens);
        assert!(before.is_none_or(|before| before == self.tokens), "segment {number} is another one");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_loses_nothing_and_repeats_nothing() {
    let world = World::new();
    let sums = Arc::new(Sums::default());
    let mut expected = 0;
    for (at, (step, nth)) in STEPS.into_iter().enumerate() {
        let mut flusher = world.flusher("journal");
        flusher.observer = Some(sums.clone());
        calls(&flusher.journal, &format!("c{at}"), 10);
        flusher.journal.record(&audited(AuditPhase::Denied { status: 403, message: String::new() }));
        expected += 10;
        flusher.crash = Some(crash_at(step, nth));
        assert!(matches!(flusher.flush().await, Err(TableError::Crashed)), "{step:?} {nth}");
        drop(flusher);
        let mut flusher = world.flusher("journal");
        flusher.observer = Some(sums.clone());
        flusher.flush().await.unwrap();
        // 11 tokens a call.
        assert_eq!(sums.0.lock().values().sum::<u64>(), 11 * expected, "{step:?} {nth}");
        assert_eq!(world.rows("system.access.audit").await, expected / 10, "{step:?} {nth}");
        assert_eq!(world.rows("main.logs.chat_payload").await, expected, "{step:?} {nth}");
        assert_eq!(world.rows("system.serving.endpoint_usage").await, expected / 2, "{step:?} {nth}");
        assert_eq!(world.rows("system.ai_gateway.usage").await, expected / 2, "{step:?} {nth}");
    }
    let flusher = world.flusher("journal");
    assert!(flusher.journal.sealed().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_is_committed_together_and_what_a_table_has_is_left_out() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    let segment = |flusher: &Flusher, name: &str| {
        calls(&flusher.journal, name, 2);
        flusher.journal.seal().unwrap();
    };
    segment(&flusher, "a");
    segment(&flusher, "b");
    flusher.crash = Some(crash_at(Step::Committed, 1));
    assert!(flusher.flush().await.is_err());
    // One table has these two; with the next two it gets only them.
    segment(&flusher, "c");
    segment(&flusher, "d");
    flusher.crash = None;
    flusher.flush().await.unwrap();
    for (table, rows, version) in [
        ("main.logs.chat_payload", 8, 2),
        ("system.serving.endpoint_usage", 4, 1),
        ("system.ai_gateway.usage", 4, 1),
    ] {
        let info = world.lake.info(&TableName::parse(table).unwrap()).await.unwrap().unwrap();
        assert_eq!((info.rows, info.version), (Some(rows), version), "{table}");
    }
    assert!(flusher.journal.sealed().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_of_a_damaged_segment_is_written_and_the_file_is_kept() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "c", 4);
    let path = damage_last(&flusher.journal);
    flusher.flush().await.unwrap();
    assert_eq!(world.rows("main.logs.chat_payload").await, 3);
    assert!(path.with_extension("damaged").exists() && flusher.journal.sealed().unwrap().is_empty());
    assert_eq!(flusher.status().lock().damaged, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flusher_flushes_a_last_time_when_it_is_stopped() {
    let world = World::new();
    let flusher: Flusher = world.flusher("journal");
    let journal = flusher.journal.clone();
    let (stop, tasks) = (tokio_util::sync::CancellationToken::new(), tokio_util::task::TaskTracker::new());
    tasks.spawn(flusher.run(stop.clone()));
    calls(&journal, "c", 4);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    assert_eq!(world.rows("main.logs.chat_payload").await, 4);
    assert_eq!(journal.sealed().unwrap().len(), 0);
}

pub(crate) fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap().map(|item| item.unwrap().path()) {
        let target = to.join(item.file_name().unwrap());
        if item.is_dir() {
            copy(&item, &target);
        } else {
            std::fs::copy(&item, target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_restored_from_an_older_copy_loses_no_rows() {
    let world = World::new();
    let (journal, older) = (world.folder.path().join("journal"), world.folder.path().join("older"));
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "a", 2);
    flusher.flush().await.unwrap();
    copy(&journal, &older);
    for name in ["b", "c"] {
        calls(&flusher.journal, name, 2);
        flusher.flush().await.unwrap();
    }
    drop(flusher);
    std::fs::remove_dir_all(&journal).unwrap();
    copy(&older, &journal);
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "d", 2);
    for _ in 0..2 {
        flusher.flush().await.unwrap();
        assert_eq!(flusher.journal.sealed().unwrap().len(), 1, "nothing is deleted");
    }
    let said = &flusher.failing()[&TableName::parse("main.logs.chat_payload").unwrap()];
    assert!(said.contains("older copy"), "{said}");
    drop(flusher);
    std::fs::remove_file(journal.join("0/id")).unwrap();
    world.flusher("journal").flush().await.unwrap();
    assert_eq!(world.rows("main.logs.chat_payload").await, 8);
    assert_eq!(world.rows("system.ai_gateway.usage").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_let_go_of_when_its_rows_are_on_the_disk() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "c", 2);
    let (tables, away) = (world.folder.path().join("tables"), world.folder.path().join("away"));
    let (from, to) = (tables.clone(), away.clone());
    // The last table has its commit: nothing is written any more.
    let committed = AtomicUsize::new(0);
    flusher.crash = Some(Arc::new(move |step| {
        if step == Step::Committed && committed.fetch_add(1, Ordering::Relaxed) == 2 {
            std::fs::rename(&from, &to).unwrap();
        }
        false
    }));
    let error = flusher.flush().await.unwrap_err();
    assert!(matches!(error, TableError::NotOnDisk(_)), "{error}");
    assert_eq!(flusher.journal.sealed().unwrap().len(), 1);
    std::fs::rename(&away, &tables).unwrap();
    flusher.flush().await.unwrap();
    assert!(flusher.journal.sealed().unwrap().is_empty());
    assert_eq!(world.rows("main.logs.chat_payload").await, 2);
}
