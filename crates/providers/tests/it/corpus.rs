//! What the fuzzers once found interesting, tried on every provider again.

use std::path::PathBuf;

use tollgate_providers as providers;

#[path = "../../../../fuzz/feed.rs"]
mod feed;

use crate::kit::{read, root, subjects};
use feed::Subject;

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = root().join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn replay(target: &str, feed: impl Fn(&Subject, &[u8])) {
    let inputs = inputs(target);
    assert!(inputs.len() > 20, "the corpus of {target} is gone");
    for subject in subjects() {
        let setup = read(&subject.path("provider.json"));
        let subject = Subject::new(subject.registration, &setup).unwrap();
        for input in &inputs {
            feed(&subject, &read(input));
        }
    }
}

#[test]
fn requests_of_the_corpus_never_panic() {
    replay("request", Subject::request);
}

#[test]
fn replies_of_the_corpus_never_panic() {
    replay("reply", Subject::reply);
}

#[test]
fn streams_of_the_corpus_never_panic_and_their_cut_never_shows() {
    replay("stream", Subject::stream);
}
