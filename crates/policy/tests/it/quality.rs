//! Precision and recall, as the command of the docs prints them.

#[path = "../pii/quality.rs"]
mod measured;

use measured::{Counts, Measured};

pub(crate) use measured::{LABELLED, LEAST, PUBLIC};

const CATEGORIES: [&str; 5] = ["CREDIT_CARD", "EMAIL_ADDRESS", "PHONE_NUMBER", "US_BANK_NUMBER", "US_SSN"];

#[test]
fn precision_and_recall_hold_in_each_category() {
    let labelled = Measured::of(&[LABELLED]);
    assert_eq!(labelled.counts.keys().collect::<Vec<_>>(), CATEGORIES);
    let all = Measured::of(&[LABELLED, PUBLIC]);
    for (kind, count) in labelled.counts.iter().chain(&all.counts) {
        assert!(count.found >= 300, "{kind}: {count:?}");
        assert!(
            count.precision() >= LEAST && count.recall() >= LEAST,
            "{kind}: {count:?}\n{:#?}",
            all.errors
        );
    }
}

#[test]
fn errors_are_counted() {
    let set = concat!(
        r#"{"text": "bob@example.com, ssn 536-90-4399", "spans": [[0, 15, "EMAIL_ADDRESS"], [16, 18, "US_SSN"]]}"#,
        "\n",
        r#"{"text": "call 212-555-0147", "spans": []}"#,
    );
    let measured = Measured::of(&[set]);
    let counts = |kind: &str| measured.counts[kind];
    assert_eq!(counts("EMAIL_ADDRESS"), Counts { right: 1, found: 1, ..Counts::default() });
    assert_eq!(counts("US_SSN"), Counts { wrong: 1, missed: 1, ..Counts::default() });
    assert_eq!(counts("PHONE_NUMBER"), Counts { wrong: 1, ..Counts::default() });
    assert_eq!(
        (counts("US_SSN").precision(), counts("US_SSN").recall(), measured.errors.len()),
        (0.0, 0.0, 3)
    );
}
