//! Tables that somebody changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use deltalake_core::kernel::{DataType, StructField};
use journal::Entry;
use parking_lot::Mutex;
use tollgate_tables::{SegmentObserver, TableName, Watch};

use crate::world::{World, calls};

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_table_is_left_alone_and_its_rows_stay_in_the_journal() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "a", 4);
    flusher.flush().await.unwrap();
    let name = TableName::parse("main.logs.chat_payload").unwrap();
    let url = url::Url::from_directory_path(world.lake.folder(&name).unwrap()).unwrap();
    let table = deltalake_core::open_table(url).await.unwrap();
    let version = table.version().unwrap();
    let added = StructField::nullable("mine", DataType::STRING);
    table.add_columns().with_fields([added]).await.unwrap();
    calls(&flusher.journal, "b", 4);
    flusher.flush().await.unwrap();
    assert_eq!(world.rows("main.logs.chat_payload").await, 4);
    assert_eq!(world.lake.info(&name).await.unwrap().unwrap().version, version + 1, "only the change is new");
    // The others go on.
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 4);
    let said = &flusher.failing()[&name];
    assert!(said.contains("mine") && said.contains("journal"), "{said}");
    assert_eq!(flusher.journal.sealed().unwrap().len(), 1);
    // Moved away, it is made anew, and nothing is lost.
    let folder = world.lake.folder(&name).unwrap();
    std::fs::rename(&folder, folder.with_extension("old")).unwrap();
    drop(flusher);
    world.flusher("journal").flush().await.unwrap();
    assert_eq!(world.rows("main.logs.chat_payload").await, 4);
    assert!(world.flusher("journal").journal.sealed().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_table_is_never_written_to() {
    let world = World::new();
    let name = TableName::parse("main.logs.chat_payload").unwrap();
    let folder = world.lake.folder(&name).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let url = url::Url::from_directory_path(&folder).unwrap();
    let foreign = deltalake_core::DeltaTable::try_from_url(url).await.unwrap();
    let columns = [StructField::nullable("x", DataType::LONG)];
    foreign.create().with_columns(columns).with_storage_options(HashMap::new()).await.unwrap();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "a", 2);
    flusher.flush().await.unwrap();
    assert!(flusher.failing().contains_key(&name));
    assert!(!world.lake.list().await.unwrap().contains_key(&name));
}

/// Notes the numbers that it is given, and fails when it is told to.
#[derive(Clone, Default)]
struct Observer {
    seen: Arc<Mutex<Vec<u64>>>,
    fails: Arc<AtomicBool>,
    /// Already of the entries, not only at the end.
    early: Arc<AtomicBool>,
}

impl Observer {
    fn may(&self) -> Result<(), String> {
        if self.fails.load(Ordering::Relaxed) { Err("not now".to_owned()) } else { Ok(()) }
    }
}

impl SegmentObserver for Observer {
    fn segment(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Watch for Observer {
    async fn entries(&mut self, _entries: &[Entry]) -> Result<(), String> {
        if self.early.load(Ordering::Relaxed) { self.may() } else { Ok(()) }
    }

    async fn end(self: Box<Self>, _journal: &str, number: u64) -> Result<(), String> {
        self.may()?;
        self.seen.lock().push(number);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_observer_has_each_segment_once_and_in_order_whatever_becomes_of_a_table() {
    let world = World::new();
    let observer = Arc::new(Observer::default());
    let mut flusher = world.flusher("journal");
    flusher.observer = Some(observer.clone());
    let place = world.block("main.logs.chat_payload");
    for (round, (fails, early)) in
        [(false, false), (true, false), (true, true), (false, true)].into_iter().enumerate()
    {
        observer.fails.store(fails, Ordering::Relaxed);
        observer.early.store(early, Ordering::Relaxed);
        calls(&flusher.journal, &format!("c{round}"), 2);
        flusher.flush().await.unwrap();
        assert_eq!(flusher.status().lock().failing_tables, if fails { 2 } else { 1 }, "{round}");
    }
    assert_eq!(*observer.seen.lock(), [1, 2, 3, 4]);
    assert_eq!(flusher.journal.sealed().unwrap().len(), 4);
    std::fs::remove_file(&place).unwrap();
    drop(flusher);
    let mut flusher = world.flusher("journal");
    flusher.observer = Some(observer.clone());
    flusher.flush().await.unwrap();
    assert_eq!(*observer.seen.lock(), [1, 2, 3, 4, 1, 2, 3, 4], "a new process does not know");
    assert_eq!(world.rows("main.logs.chat_payload").await, 8);
    assert!(flusher.journal.sealed().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_waits_for_a_table_that_fails_is_not_read_again() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    let place = world.block("main.logs.chat_payload");
    // The more often it fails, the longer is the pause.
    while flusher.status().lock().failures < 3 {
        if flusher.status().lock().failures == 0 {
            calls(&flusher.journal, "a", 2);
        }
        flusher.flush().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let segment = flusher.journal.sealed().unwrap().remove(0);
    let whole = std::fs::read(&segment.path).unwrap();
    std::fs::write(&segment.path, "no segment").unwrap();
    calls(&flusher.journal, "b", 2);
    flusher.flush().await.unwrap();
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 2, "the others go on");
    std::fs::write(&segment.path, whole).unwrap();
    std::fs::remove_file(&place).unwrap();
    while !flusher.journal.sealed().unwrap().is_empty() {
        flusher.flush().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(world.rows("main.logs.chat_payload").await, 4);
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_another_version_shows_in_what_fails() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "a", 2);
    flusher.journal.seal().unwrap();
    let path = flusher.journal.sealed().unwrap()[0].path.clone();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, "of another version").unwrap();
    assert!(flusher.flush().await.is_err());
    let status = *flusher.status().lock();
    assert_eq!((status.failing_tables, status.failures), (1, 1));
    std::fs::write(&path, whole).unwrap();
    flusher.flush().await.unwrap();
    assert_eq!(flusher.status().lock().failing_tables, 0);
}

/// Else it would be tried, and waited for, at each flush.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_fails_is_told_of_beside_a_segment_that_cannot_be_read() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    let name = TableName::parse("main.logs.chat_payload").unwrap();
    let place = world.block("main.logs.chat_payload");
    for calls_of in ["a", "b"] {
        calls(&flusher.journal, calls_of, 2);
        flusher.journal.seal().unwrap();
    }
    let path = flusher.journal.sealed().unwrap()[1].path.clone();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, "of another version").unwrap();
    assert!(flusher.flush().await.is_err());
    assert!(flusher.failing().contains_key(&name));
    assert_eq!(flusher.status().lock().failing_tables, 2);
    std::fs::write(&path, whole).unwrap();
    std::fs::remove_file(&place).unwrap();
    while !flusher.journal.sealed().unwrap().is_empty() {
        flusher.flush().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(world.rows("main.logs.chat_payload").await, 4);
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 2);
}
