//! Segments that are too long to be in memory at once, and tables that go wrong while they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use journal::{Admission, Captured, Journal, Payload, RecordSink, Settlement};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tollgate_tables::{Flusher, Step, TableError, TableName};

use crate::crashes::copy;
use crate::world::{SERVING, World, admission, calls, crash_at, damage_last, settlement};

const PAYLOAD: &str = "main.logs.chat_payload";

/// A call with this body in the table of its endpoint.
fn call(journal: &Journal, id: &str, table: &str, body: &[u8]) {
    let admission = Admission { payload_table: Some(table.into()), ..admission(id, SERVING) };
    let body = Captured::Whole(Bytes::copy_from_slice(body));
    let payload = Payload { request: body, response: Captured::Absent };
    journal.admit(&admission).unwrap();
    journal.settle(&admission, &Settlement { payload: Some(Box::new(payload)), ..settlement(10) });
}

/// Calls of two endpoints, of which some have bodies that are longer than a piece: 9 MiB in all.
fn long(journal: &Journal, name: &str) {
    for n in 0..3000 {
        let long = n % 1000 == 500;
        let body =
            format!("{{\"{name}\":{n},\"x\":\"{}\"}}", "y".repeat(if long { 1_500_000 } else { 1500 }));
        call(
            journal,
            &format!("{name}-{n}"),
            if n % 3 == 0 { "main.logs.a" } else { "main.logs.b" },
            body.as_bytes(),
        );
    }
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap()
}

/// Each call of `long` is there once, with its own body.
async fn assert_has_all(world: &World, names: &[&str]) {
    let mut found = world.read("main.logs.a").await;
    assert_eq!(found.len(), 1000 * names.len());
    found.extend(world.read("main.logs.b").await);
    let mut ids: Vec<_> = found.iter().map(|row| text(row, "databricks_request_id").to_owned()).collect();
    for row in &found {
        let (name, n) = text(row, "databricks_request_id").split_once('-').unwrap();
        assert!(text(row, "request").starts_with(&format!("{{\"{name}\":{n},")));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3000 * names.len());
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 3000 * names.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_many_pieces_is_in_the_tables_once_and_by_one_commit() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    for name in ["one", "two"] {
        long(&flusher.journal, name);
        flusher.journal.seal().unwrap();
    }
    flusher.flush().await.unwrap();
    assert_has_all(&world, &["one", "two"]).await;
    // The table is made by the first.
    let info = world.lake.info(&TableName::parse("main.logs.a").unwrap()).await.unwrap().unwrap();
    assert_eq!(info.version, 1);
    assert!(flusher.journal.sealed().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_with_half_of_the_tables_written_loses_no_piece_and_repeats_none() {
    let world = World::new();
    for (step, nth) in [(Step::Read, 1), (Step::Written, 2), (Step::Committed, 2)] {
        let mut flusher = world.flusher("journal");
        if flusher.journal.sealed().unwrap().is_empty() {
            long(&flusher.journal, "one");
        }
        flusher.crash = Some(crash_at(step, nth));
        assert!(matches!(flusher.flush().await, Err(TableError::Crashed)));
    }
    world.flusher("journal").flush().await.unwrap();
    assert_has_all(&world, &["one"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_ends_in_damage_far_behind_gives_what_is_before_it() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    long(&flusher.journal, "one");
    calls(&flusher.journal, "last", 1);
    let path = damage_last(&flusher.journal);
    flusher.flush().await.unwrap();
    assert_has_all(&world, &["one"]).await;
    assert_eq!(world.rows(PAYLOAD).await, 0);
    assert!(path.with_extension("damaged").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_another_version_among_others_holds_them_up_and_loses_none() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    for name in ["one", "two"] {
        long(&flusher.journal, name);
        flusher.journal.seal().unwrap();
    }
    let path = flusher.journal.sealed().unwrap()[1].path.clone();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, "of another version").unwrap();
    for _ in 0..2 {
        assert!(flusher.flush().await.is_err());
    }
    std::fs::write(&path, whole).unwrap();
    flusher.flush().await.unwrap();
    assert_has_all(&world, &["one", "two"]).await;
}

/// Between the files and the commit of the first table the other flushes all that it has. It says whether it did.
fn race(flusher: &mut Flusher, other: Flusher) -> Arc<AtomicBool> {
    let other: Mutex<Option<Flusher>> = Mutex::new(Some(other));
    let raced = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&raced);
    flusher.crash = Some(Arc::new(move |step| {
        if let Some(mut other) = (step == Step::Written).then(|| other.lock().take()).flatten() {
            // On a thread of its own, since two flushes have no room on the stack of one.
            let flush = TaskTracker::new().spawn(async move { other.flush().await });
            tokio::task::block_in_place(|| Handle::current().block_on(flush)).unwrap().unwrap();
            told.store(true, Ordering::Relaxed);
        }
        false
    }));
    raced
}

async fn assert_each_is_there_once(world: &World) {
    for (table, rows) in [(PAYLOAD, 8), ("system.serving.endpoint_usage", 4), ("system.ai_gateway.usage", 4)]
    {
        assert_eq!(world.rows(table).await, rows, "{table}");
    }
}

/// What is of a process before this one, it may have written itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_of_the_same_name_was_quicker_with_is_not_written_again() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "a", 4);
    flusher.flush().await.unwrap();
    calls(&flusher.journal, "b", 4);
    flusher.journal.seal().unwrap();
    drop(flusher);
    copy(&world.folder.path().join("journal"), &world.folder.path().join("same"));
    let mut flusher = world.flusher("journal");
    let raced = race(&mut flusher, world.flusher("same"));
    flusher.flush().await.unwrap();
    assert!(raced.load(Ordering::Relaxed));
    assert_eq!(flusher.failing(), std::collections::BTreeMap::new());
    assert_each_is_there_once(&world).await;
    assert!(flusher.journal.sealed().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_quicker_with_what_only_this_process_can_have_is_told_of() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "a", 4);
    flusher.flush().await.unwrap();
    calls(&flusher.journal, "b", 4);
    flusher.journal.seal().unwrap();
    copy(&world.folder.path().join("journal"), &world.folder.path().join("same"));
    let raced = race(&mut flusher, world.flusher("same"));
    flusher.flush().await.unwrap();
    assert!(raced.load(Ordering::Relaxed));
    let failing = flusher.failing();
    assert_eq!(failing.len(), 3);
    assert!(failing.values().all(|said| said.contains("older copy")), "{failing:?}");
    assert_eq!(flusher.journal.sealed().unwrap().len(), 1, "nothing is deleted");
    assert_each_is_there_once(&world).await;
}
