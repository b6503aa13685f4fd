//! What a process that died leaves behind, and what the next one makes of it.

use std::fs;
use std::io::Write;

use tollgate_journal::{Journal, Outcome, RecordSink};

use crate::world::{admission, config, settled, settlement};

#[test]
fn what_was_under_way_is_aborted_once_and_what_was_settled_stays() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    for id in ["done", "open", "across"] {
        journal.admit(&admission(id)).unwrap();
    }
    journal.settle(&admission("done"), &settlement());
    journal.seal().unwrap();
    journal.settle(&admission("across"), &settlement());
    let id = journal.id().to_owned();
    drop(journal);
    for start in 0..3 {
        let journal = Journal::open(config(folder.path())).unwrap();
        assert_eq!(journal.aborted(), usize::from(start == 0), "start {start}");
        assert_eq!(journal.id(), id);
        journal.seal().unwrap();
        let found = settled(&journal);
        assert_eq!(found["done"], [Outcome::Completed]);
        assert_eq!(found["across"], [Outcome::Completed]);
        assert_eq!(found["open"], [Outcome::Aborted]);
    }
}

#[test]
fn a_call_that_outlives_its_segment_is_still_aborted_when_that_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    journal.admit(&admission("long")).unwrap();
    for round in 0..3 {
        let id = format!("short{round}");
        journal.admit(&admission(&id)).unwrap();
        journal.settle(&admission(&id), &settlement());
        journal.seal().unwrap();
        for segment in journal.sealed().unwrap() {
            journal.delete(&segment).unwrap();
        }
    }
    assert!(journal.status().bytes > 0, "the admission is in the open segment");
    drop(journal);
    let journal = Journal::open(config(folder.path())).unwrap();
    journal.seal().unwrap();
    assert_eq!(
        settled(&journal).into_iter().collect::<Vec<_>>(),
        [("long".to_owned(), vec![Outcome::Aborted])]
    );
}

#[test]
fn a_cut_at_any_byte_of_the_open_segment_loses_at_most_the_last_record() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    journal.admit(&admission("a")).unwrap();
    journal.settle(&admission("a"), &settlement());
    let before = journal.status().bytes;
    journal.admit(&admission("b")).unwrap();
    drop(journal);
    let path = folder.path().join("0/000000000001.open");
    let data = fs::read(&path).unwrap();
    let start = usize::try_from(before).unwrap();
    for cut in (start..data.len()).step_by(17).chain([data.len() - 1]) {
        let other = tempfile::tempdir().unwrap();
        fs::create_dir(other.path().join("0")).unwrap();
        fs::write(other.path().join("0/000000000001.open"), &data[..cut]).unwrap();
        let journal = Journal::open(config(other.path())).unwrap();
        journal.seal().unwrap();
        assert_eq!((journal.aborted(), settled(&journal)["a"].as_slice()), (0, &[Outcome::Completed][..]));
    }
}

#[test]
fn damage_in_the_middle_is_told_by_what_is_left_unread() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    for id in ["a", "b"] {
        journal.admit(&admission(id)).unwrap();
        journal.settle(&admission(id), &settlement());
    }
    journal.seal().unwrap();
    let segment = journal.sealed().unwrap().remove(0);
    let mut data = fs::read(&segment.path).unwrap();
    let middle = data.len() - 10;
    data[middle] ^= 1;
    fs::File::create(&segment.path).unwrap().write_all(&data).unwrap();
    let contents = segment.read().unwrap();
    assert_eq!(contents.entries.len(), 1, "the first call's end");
    assert!(contents.damage.unread > 0);
}

#[test]
fn numbers_are_not_used_again_and_an_emptied_folder_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    journal.settle(&admission("a"), &settlement());
    journal.seal().unwrap();
    let first = journal.sealed().unwrap().remove(0);
    journal.delete(&first).unwrap();
    let id = journal.id().to_owned();
    drop(journal);
    let journal = Journal::open(config(folder.path())).unwrap();
    journal.settle(&admission("b"), &settlement());
    journal.seal().unwrap();
    assert!(journal.sealed().unwrap().iter().all(|segment| segment.number > first.number));
    assert_eq!(journal.id(), id);
    drop(journal);
    for file in fs::read_dir(folder.path().join("0")).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some() {
            fs::remove_file(file).unwrap();
        }
    }
    assert_ne!(Journal::open(config(folder.path())).unwrap().id(), id);
}

#[test]
fn two_servers_have_a_journal_each_and_what_one_left_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(config(folder.path())).unwrap();
    let second = Journal::open(config(folder.path())).unwrap();
    assert_ne!(first.id(), second.id());
    second.admit(&admission("cut")).unwrap();
    assert!(Journal::open_left(&config(folder.path())).unwrap().is_empty(), "both are in use");
    let id = second.id().to_owned();
    drop(second);
    let left = Journal::open_left(&config(folder.path())).unwrap();
    assert_eq!(left.iter().map(Journal::id).collect::<Vec<_>>(), [id]);
    left[0].seal().unwrap();
    assert_eq!(settled(&left[0])["cut"], [Outcome::Aborted]);
}

/// The bytes of a record with its checksum.
fn framed(json: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let body = [&length(json)[..], json].concat();
    [&length(&body)[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
}

#[test]
fn a_record_that_nobody_can_read_is_damage_and_one_of_another_version_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    journal.admit(&admission("cut")).unwrap();
    drop(journal);
    let path = folder.path().join("0/000000000001.open");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], &framed(br#"{"version":"1","entry":{"settled":[]}}"#)].concat()).unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    assert_eq!(journal.aborted(), 1);
    let damaged = journal.sealed().unwrap()[0].read().unwrap();
    assert_eq!((damaged.damage.records, damaged.damage.is_some()), (1, true));
    drop(journal);
    let later = folder.path().join("0/000000000009.open");
    fs::write(&later, [&whole[..], &framed(br#"{"version":"2","entry":{}}"#)].concat()).unwrap();
    let error = Journal::open(config(folder.path())).err().unwrap().to_string();
    assert!(error.contains("start the version that wrote it"), "{error}");
}

/// As where a power cut comes between the two.
#[test]
fn a_call_that_is_in_two_open_segments_is_aborted_once() {
    let folder = tempfile::tempdir().unwrap();
    let small = tollgate_journal::JournalConfig { segment_bytes: 1, ..config(folder.path()) };
    let journal = Journal::open(small).unwrap();
    journal.admit(&admission("long")).unwrap();
    journal.admit(&admission("short")).unwrap();
    journal.settle(&admission("short"), &settlement());
    assert!(journal.sealed().unwrap().is_empty(), "nothing waits for the disk here");
    drop(journal);
    let journal = Journal::open(config(folder.path())).unwrap();
    journal.seal().unwrap();
    let found = settled(&journal);
    assert_eq!(
        (journal.aborted(), &found["long"][..], &found["short"][..]),
        (1, &[Outcome::Aborted][..], &[Outcome::Completed][..])
    );
}
