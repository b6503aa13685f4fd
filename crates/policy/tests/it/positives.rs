//! Texts with something in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_policy::guardrails::{Rules, Settings, compile};

use crate::quality::LABELLED;

/// Of each kind so many, or all there are.
const EACH: usize = 100;

/// A text with personal data, and what it is.
pub(crate) struct Positive {
    pub(crate) text: String,
    pub(crate) value: String,
}

/// 560 texts of the labelled set: of every kind of which it has texts.
pub(crate) fn positives() -> Vec<Positive> {
    let mut kinds: BTreeMap<String, Vec<Positive>> = BTreeMap::new();
    for line in LABELLED.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = row["text"].as_str().unwrap().to_owned();
        let Some(span) = row["spans"].get(0) else { continue };
        let [from, to] = [0, 1].map(|at| usize::try_from(span[at].as_u64().unwrap()).unwrap());
        let value = text[from..to].to_owned();
        kinds.entry(span[2].as_str().unwrap().to_owned()).or_default().push(Positive { text, value });
    }
    let chosen = kinds.into_values().flat_map(|texts| {
        // Spread over the sentences that they stand in.
        let step = (texts.len() / EACH).max(1);
        texts.into_iter().step_by(step).take(EACH)
    });
    chosen.collect()
}

/// The rules of `input`.
pub(crate) fn rules(input: Value) -> Arc<Rules> {
    rules_with(input, Settings::default())
}

fn rules_with(input: Value, settings: Settings) -> Arc<Rules> {
    let guardrails = compile(&json!({ "input": input }), &Arc::new(settings)).unwrap();
    Arc::clone(&guardrails.input.unwrap().rules)
}

pub(crate) fn masking() -> Arc<Rules> {
    rules(json!({"pii": {"behavior": "MASK"}}))
}

/// The extended set too.
pub(crate) fn masking_all() -> Arc<Rules> {
    rules_with(json!({"pii": {"behavior": "MASK"}}), Settings { extended: true, ..Settings::default() })
}
