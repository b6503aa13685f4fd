//! How good the recognisers of personal data are, measured on the sets beside this file. What is found is right when it
//! overlaps a labelled one of its kind, and a labelled one is found when something of its kind overlaps it. Accounts
//! and routing numbers are one category, as Databricks counts.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate_policy::guardrails::found_in;

/// Positives, near misses and lines of this repository.
pub(crate) const LABELLED: &str = include_str!("labelled.jsonl");
/// Passages of others' text and code, all of them negatives.
pub(crate) const PUBLIC: &str = include_str!("public.jsonl");
/// The least that precision and recall may be, of each category of Databricks'.
pub(crate) const LEAST: f64 = 0.99;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) right: u32,
    pub(crate) wrong: u32,
    pub(crate) found: u32,
    pub(crate) missed: u32,
}

impl Counts {
    pub(crate) fn precision(&self) -> f64 {
        share(self.right, self.wrong)
    }

    pub(crate) fn recall(&self) -> f64 {
        share(self.found, self.missed)
    }
}

fn share(part: u32, other: u32) -> f64 {
    if part + other == 0 { 1.0 } else { f64::from(part) / f64::from(part + other) }
}

/// The counts of each category, and a line for each error.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) counts: BTreeMap<String, Counts>,
    pub(crate) errors: Vec<String>,
}

impl Measured {
    /// Of all `sets` together.
    pub(crate) fn of(sets: &[&str]) -> Self {
        let mut measured = Self::default();
        for row in sets.iter().flat_map(|set| set.lines()).filter_map(|line| serde_json::from_str(line).ok())
        {
            measured.add(&row);
        }
        measured
    }

    fn add(&mut self, row: &Value) {
        let text = row["text"].as_str().unwrap_or_default();
        let labels: Vec<_> = row["spans"].as_array().into_iter().flatten().filter_map(label).collect();
        let found: Vec<_> =
            found_in(text, false).into_iter().map(|(from, to, e)| (from, to, category(e.as_str()))).collect();
        for piece in &found {
            let count = self.counts.entry(piece.2.to_owned()).or_default();
            if labels.iter().any(|label| overlap(piece, label)) {
                count.right += 1;
            } else {
                count.wrong += 1;
                self.errors.push(format!("wrong {} {:?} in {text:?}", piece.2, &text[piece.0..piece.1]));
            }
        }
        for label in &labels {
            let count = self.counts.entry(label.2.to_owned()).or_default();
            if found.iter().any(|piece| overlap(piece, label)) {
                count.found += 1;
            } else {
                count.missed += 1;
                self.errors.push(format!("missed {} {:?} in {text:?}", label.2, &text[label.0..label.1]));
            }
        }
    }
}

/// Bytes of a text, and what of they are.
type Piece<'a> = (usize, usize, &'a str);

fn overlap(one: &Piece<'_>, other: &Piece<'_>) -> bool {
    one.2 == other.2 && one.0 < other.1 && other.0 < one.1
}

fn category(name: &str) -> &str {
    if name == "ABA_ROUTING_NUMBER" { "US_BANK_NUMBER" } else { name }
}

fn label(span: &Value) -> Option<Piece<'_>> {
    let place = |at: usize| usize::try_from(span[at].as_u64()?).ok();
    Some((place(0)?, place(1)?, category(span[2].as_str()?)))
}
