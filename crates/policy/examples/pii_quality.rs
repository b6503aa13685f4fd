//! Measures the recognisers of personal data against the labelled set in `tests/pii/`:
//! `cargo run -p tollgate-policy --example pii_quality` (`-- --misses` prints what is wrong).
//!
//! A found piece is right when it overlaps a labelled one of its kind, and a labelled one is found when a piece
//! of its kind overlaps it. Accounts and routing numbers are one category, as Databricks counts.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a command for people; the set lies beside it")]

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate_policy::guardrails::{Entity, found_in};

const SET: &str = include_str!("../tests/pii/labelled.jsonl");
/// The least that precision and recall may be, of each category of Databricks'.
const LEAST: f64 = 0.99;

#[derive(Default)]
struct Counts {
    right: u32,
    wrong: u32,
    found: u32,
    missed: u32,
}

fn category(name: &str) -> &str {
    if name == "ABA_ROUTING_NUMBER" { "US_BANK_NUMBER" } else { name }
}

fn main() {
    let show = std::env::args().any(|argument| argument == "--misses");
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for line in SET.lines() {
        let row: Value = serde_json::from_str(line).expect("a line of the set is JSON");
        let text = row["text"].as_str().expect("a text");
        let labels: Vec<(usize, usize, &str)> =
            row["spans"].as_array().into_iter().flatten().filter_map(label).collect();
        let found: Vec<(usize, usize, Entity)> = found_in(text, false);
        for (from, to, entity) in &found {
            let kind = category(entity.as_str());
            let right =
                labels.iter().any(|(start, end, name)| category(name) == kind && from < end && start < to);
            let count = counts.entry(kind.to_owned()).or_default();
            if right {
                count.right += 1;
            } else {
                count.wrong += 1;
            }
            if show && !right {
                println!("wrong {kind} {:?} in {text:?}", &text[*from..*to]);
            }
        }
        for (start, end, name) in &labels {
            let kind = category(name);
            let hit = found
                .iter()
                .any(|(from, to, entity)| category(entity.as_str()) == kind && from < end && start < to);
            let count = counts.entry(kind.to_owned()).or_default();
            if hit {
                count.found += 1;
            } else {
                count.missed += 1;
            }
            if show && !hit {
                println!("missed {kind} {:?} in {text:?}", &text[*start..*end]);
            }
        }
    }
    let mut good = true;
    println!("{:<16} {:>9} {:>9} {:>7} {:>7}", "category", "precision", "recall", "wrong", "missed");
    for (kind, count) in &counts {
        let share = |part: u32, other: u32| {
            if part + other == 0 { 1.0 } else { f64::from(part) / f64::from(part + other) }
        };
        let (precision, recall) = (share(count.right, count.wrong), share(count.found, count.missed));
        good &= precision >= LEAST && recall >= LEAST;
        println!("{kind:<16} {precision:>9.4} {recall:>9.4} {:>7} {:>7}", count.wrong, count.missed);
    }
    println!("{}", if good { "all at least 0.99" } else { "BELOW 0.99" });
    if !good {
        std::process::exit(1);
    }
}

fn label(span: &Value) -> Option<(usize, usize, &str)> {
    let place = |at: usize| usize::try_from(span[at].as_u64()?).ok();
    Some((place(0)?, place(1)?, span[2].as_str()?))
}
