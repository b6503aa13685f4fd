//! Several who write the same tables at once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tollgate_tables::{Flusher, Step};

use crate::kept::{Endpoints, entity};
use crate::world::{World, calls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_two_writers_is_there_once() {
    let world = World::new();
    let (mut one, mut two) = (world.flusher("one"), world.flusher("two"));
    for round in 0..6 {
        calls(&one.journal, &format!("one-{round}"), 6);
        calls(&two.journal, &format!("two-{round}"), 4);
        let (first, second) = tokio::join!(one.flush(), two.flush());
        first.unwrap();
        second.unwrap();
    }
    // What lost a race is written by the next flush.
    for flusher in [one, two] {
        drop(flusher);
    }
    for journal in ["one", "two"] {
        world.flusher(journal).flush().await.unwrap();
    }
    assert_eq!(world.rows("main.logs.chat_payload").await, 60);
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 30);
    assert_eq!(world.rows("system.ai_gateway.usage").await, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_see_the_end_of_an_endpoint_one_writes_it_and_the_other_is_not_troubled() {
    let world = World::new();
    let (before, after) = (Arc::new(Endpoints::default()), Arc::new(Endpoints::default()));
    *before.0.lock() = vec![entity("a", 1, "x"), entity("a", 1, "y")];
    let flusher = |journal: &str, served: &Arc<Endpoints>| {
        let mut flusher = world.flusher(journal);
        flusher.served = Some(served.clone());
        flusher
    };
    flusher("one", &before).flush().await.unwrap();
    let mut one = flusher("one", &after);
    // The other does it all between the files of the first and its commit.
    let other: Mutex<Option<Flusher>> = Mutex::new(Some(flusher("two", &after)));
    one.crash = Some(Arc::new(move |step| {
        let other = (step == Step::Served).then(|| other.lock().take()).flatten();
        if let Some(mut other) = other {
            tokio::task::block_in_place(|| Handle::current().block_on(other.flush())).unwrap();
        }
        false
    }));
    for _ in 0..2 {
        one.flush().await.unwrap();
        assert_eq!(one.status().lock().failures, 0);
    }
    let rows = world.read("system.serving.served_entities").await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| !row["endpoint_delete_time"].is_null()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_written_while_files_are_put_together_doubles_no_row() {
    let world = World::new();
    let served = Arc::new(Endpoints::default());
    let mut one = world.flusher("one");
    one.served = Some(served.clone());
    for endpoint in 0..8 {
        served.0.lock().push(entity(&format!("e{endpoint}"), 1, "x"));
        one.flush().await.unwrap();
    }
    served.0.lock().clear();
    let mut other = world.flusher("two");
    other.retention.unused_files = Duration::from_secs(3600);
    let other = Mutex::new(Some(other));
    one.crash = Some(Arc::new(move |step| {
        if let Some(other) = (step == Step::Served).then(|| other.lock().take()).flatten() {
            tokio::task::block_in_place(|| Handle::current().block_on(other.keep()));
        }
        false
    }));
    let table = "system.serving.served_entities";
    for ended in [0, 8] {
        one.flush().await.unwrap();
        let rows = world.read(table).await;
        let ends = rows.iter().filter(|row| !row["endpoint_delete_time"].is_null()).count();
        assert_eq!((rows.len(), ends), (8, ended));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_two_put_together_at_once_are_put_together_once() {
    let world = World::new();
    let mut one = world.flusher("one");
    for round in 0..8 {
        calls(&one.journal, &format!("c{round}"), 4);
        one.flush().await.unwrap();
    }
    let mut other = world.flusher("two");
    for flusher in [&mut one, &mut other] {
        flusher.retention.unused_files = Duration::from_secs(3600);
    }
    let other = Mutex::new(Some(other));
    one.crash = Some(Arc::new(move |step| {
        if let Some(other) = (step == Step::Kept).then(|| other.lock().take()).flatten() {
            tokio::task::block_in_place(|| Handle::current().block_on(other.keep()));
        }
        false
    }));
    one.keep().await;
    assert_eq!(world.rows("main.logs.chat_payload").await, 32);
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 16);
    assert_eq!(world.rows("system.ai_gateway.usage").await, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_is_about_to_commit_no_other_deletes() {
    let world = World::new();
    let mut one = world.flusher("one");
    calls(&one.journal, "before", 2);
    one.flush().await.unwrap();
    calls(&one.journal, "after", 2);
    // It keeps what nothing refers to for no time at all.
    let other = Mutex::new(Some(world.flusher("two")));
    one.crash = Some(Arc::new(move |step| {
        if let Some(other) = (step == Step::Written).then(|| other.lock().take()).flatten() {
            tokio::task::block_in_place(|| Handle::current().block_on(other.keep()));
        }
        false
    }));
    one.flush().await.unwrap();
    for table in ["main.logs.chat_payload", "system.serving.endpoint_usage", "system.ai_gateway.usage"] {
        assert_eq!(world.read(table).await.len(), if table.starts_with("main") { 4 } else { 2 }, "{table}");
    }
}
