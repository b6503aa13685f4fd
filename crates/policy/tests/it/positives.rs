//! Texts with something in them.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_policy::guardrails::{Rules, Settings, compile};

const SET: &str = include_str!("../pii/labelled.jsonl");

/// 500 texts of the labelled set with personal data, and what it is.
pub(crate) fn positives() -> Vec<(String, String)> {
    let rows = SET.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let positive = rows.filter_map(|row| {
        let [from, to] = [0, 1].map(|at| usize::try_from(row["spans"][0][at].as_u64().unwrap_or(0)).unwrap());
        let text = row["text"].as_str().unwrap().to_owned();
        let value = text.get(from..to).filter(|value| !value.is_empty())?.to_owned();
        Some((text, value))
    });
    positive.step_by(3).take(500).collect()
}

/// The rules of `input`.
pub(crate) fn rules(input: Value) -> Arc<Rules> {
    let guardrails = compile(&json!({ "input": input }), &Arc::new(Settings::default())).unwrap();
    Arc::clone(&guardrails.input.unwrap().rules)
}

pub(crate) fn masking() -> Arc<Rules> {
    rules(json!({"pii": {"behavior": "MASK"}}))
}
