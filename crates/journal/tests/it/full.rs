//! A journal that has no room, and one that has again.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_journal::{Captured, Entry, Fsync, Journal, JournalConfig, OnFull, Payload, RecordSink};

use crate::world::{admission, config, settled, settlement};

#[test]
fn a_full_journal_refuses_before_and_records_what_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalConfig { max_bytes: 2000, ..config(folder.path()) }).unwrap();
    let admitted: Vec<String> =
        (0..50).map(|n| format!("r{n}")).take_while(|id| journal.admit(&admission(id)).is_ok()).collect();
    assert!(admitted.len() > 2 && admitted.len() < 20, "{}", admitted.len());
    assert!(journal.status().is_full && journal.status().refused == 1);
    for id in &admitted {
        journal.settle(&admission(id), &settlement());
    }
    journal.seal().unwrap();
    assert_eq!(settled(&journal).len(), admitted.len());
    for segment in journal.sealed().unwrap() {
        journal.delete(&segment).unwrap();
    }
    assert!(journal.admit(&admission("again")).is_ok());
}

#[test]
fn what_is_served_without_room_is_bounded_by_memory() {
    let folder = tempfile::tempdir().unwrap();
    let limits =
        JournalConfig { max_bytes: 1, on_full: OnFull::Serve, queue_bytes: 4000, ..config(folder.path()) };
    let journal = Journal::open(limits).unwrap();
    // The first byte makes it full: from there on there is memory alone.
    journal.admit(&admission("first")).unwrap();
    let served = (0..100).take_while(|n| journal.admit(&admission(&format!("r{n}"))).is_ok()).count();
    assert!(served > 2 && served < 50, "{served}");
    assert!(journal.status().queued_bytes <= 4000);
}

#[test]
fn a_body_is_kept_beside_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    let mut with = settlement();
    let request = Captured::Whole(Bytes::from_static(b"{\"messages\":[]}"));
    with.payload = Some(Box::new(Payload { request: request.clone(), response: Captured::TooLong }));
    journal.settle(&admission("a"), &with);
    journal.seal().unwrap();
    let entries = journal.sealed().unwrap()[0].read().unwrap().entries;
    let Entry::Settled(call) = &entries[0] else { panic!("no settlement") };
    assert_eq!(call.settlement.payload, Some(Box::new(Payload { request, response: Captured::TooLong })));
}

#[test]
fn a_segment_is_sealed_by_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalConfig { segment_bytes: 4000, ..config(folder.path()) }).unwrap();
    for n in 0..50 {
        journal.admit(&admission(&format!("r{n}"))).unwrap();
        journal.settle(&admission(&format!("r{n}")), &settlement());
    }
    // They wait for the disk, off the threads of calls.
    journal.seal().unwrap();
    assert!(journal.sealed().unwrap().len() > 3);
    assert!(journal.sealed().unwrap().iter().all(|segment| segment.bytes < 6000));
}

#[tokio::test]
async fn strict_waits_for_the_disk_and_the_default_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalConfig { fsync: Fsync::Strict, ..config(folder.path()) }).unwrap();
    journal.admit(&admission("a")).unwrap();
    let durable = journal.durable().unwrap();
    // Nobody syncs yet.
    assert!(tokio::time::timeout(Duration::from_millis(50), durable).await.is_err());
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(journal.clone().sync(stop.clone()));
    tokio::time::timeout(Duration::from_secs(5), journal.durable().unwrap()).await.unwrap();
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let other = tempfile::tempdir().unwrap();
    assert!(Journal::open(config(other.path())).unwrap().durable().is_none());
}

#[tokio::test]
async fn what_was_in_memory_is_written_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalConfig { max_bytes: 3000, on_full: OnFull::Serve, ..config(folder.path()) };
    let journal = Journal::open(limits).unwrap();
    for n in 0..20 {
        journal.admit(&admission(&format!("r{n}"))).unwrap();
        journal.settle(&admission(&format!("r{n}")), &settlement());
    }
    assert!(journal.status().queued_bytes > 0 && journal.status().is_full);
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(journal.clone().sync(stop.clone()));
    let mut found = 0;
    while found < 20 {
        journal.seal().unwrap();
        found += settled(&journal).len();
        for segment in journal.sealed().unwrap() {
            journal.delete(&segment).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((found, journal.status().queued_bytes, journal.status().is_full), (20, 0, false));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
