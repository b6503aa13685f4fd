//! Journals that fail, of this server and of servers that died.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use journal::Journal;
use tokio::sync::Notify;
use tollgate_tables::Step;

use crate::world::{World, calls};

const USAGE: &str = "system.serving.endpoint_usage";

/// Calls in a segment that is sealed, and more in one that cannot be: no next one can begin where the folder is that is
/// given.
fn stuck(journal: &Journal, name: &str) -> PathBuf {
    calls(journal, &format!("{name}-sealed"), 2);
    journal.seal().unwrap();
    calls(journal, &format!("{name}-open"), 2);
    let sealed = journal.sealed().unwrap().remove(0);
    let next = sealed.path.with_file_name(format!("{:012}.open", sealed.number + 2));
    fs::create_dir(&next).unwrap();
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_gets_into_the_tables_while_the_journal_cannot_seal_more() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    let place = stuck(&flusher.journal, "a");
    for failures in 1..3 {
        let _ = flusher.flush().await;
        assert_eq!(world.rows(USAGE).await, 1);
        assert!(flusher.journal.sealed().unwrap().is_empty(), "there is room again");
        let status = *flusher.status().lock();
        assert_eq!((status.failing_tables, status.failures), (1, failures));
    }
    fs::remove_dir(place).unwrap();
    flusher.flush().await.unwrap();
    assert_eq!(world.rows(USAGE).await, 2);
    assert_eq!(flusher.status().lock().failing_tables, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_servers_journal_is_kept_until_all_of_it_could_be_sealed() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    flusher.left = vec![world.journal("dead")];
    let place = stuck(&flusher.left[0], "dead");
    let _ = flusher.flush().await;
    assert_eq!((flusher.left.len(), world.rows(USAGE).await), (1, 1));
    fs::remove_dir(place).unwrap();
    flusher.flush().await.unwrap();
    assert_eq!((flusher.left.len(), world.rows(USAGE).await), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_with_one_dead_servers_journal_lets_go_of_none_that_has_records() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    let dead = ["one", "two", "three"].map(|name| world.journal(name));
    for journal in &dead {
        calls(journal, journal.id(), 2);
        journal.seal().unwrap();
    }
    let folder = dead[0].sealed().unwrap()[0].path.parent().unwrap().to_owned();
    let away = folder.with_extension("away");
    flusher.left = dead.to_vec();
    let (from, to) = (folder.clone(), away.clone());
    // It cannot be looked at any more when what was in it is in the tables.
    flusher.crash = Some(Arc::new(move |step| {
        if step == Step::Deleted && !to.exists() {
            fs::rename(&from, &to).unwrap();
        }
        false
    }));
    assert!(flusher.flush().await.is_err());
    assert_eq!(flusher.left.len(), 1, "the one that nobody can look at");
    assert_eq!(world.rows(USAGE).await, 3);
    fs::rename(away, folder).unwrap();
    flusher.crash = None;
    flusher.flush().await.unwrap();
    assert!(flusher.left.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_is_given_up_lets_go_of_no_dead_servers_journal() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    flusher.left = ["one", "two"].map(|name| world.journal(name)).to_vec();
    for journal in &flusher.left {
        calls(journal, journal.id(), 2);
    }
    // As at the end of a server, while the first of them is on its way.
    let (begun, seen) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let tell = Arc::clone(&begun);
    flusher.crash = Some(Arc::new(move |step| {
        if step == Step::Sealed && seen.fetch_add(1, Ordering::Relaxed) == 1 {
            tell.notify_one();
        }
        false
    }));
    tokio::select! {
        flushed = flusher.flush() => panic!("it came to its end: {flushed:?}"),
        () = begun.notified() => {}
    }
    assert_eq!(flusher.left.len(), 2);
    flusher.flush().await.unwrap();
    assert_eq!((flusher.left.len(), world.rows(USAGE).await), (0, 2));
}
