//! What guardrails said of a call, in both tables of usage.

use journal::Call;
use serde::Serialize;

use super::count;

#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    guard: &'static str,
    phase: &'static str,
    outcome: &'static str,
    details: Vec<String>,
    tokens: i64,
}

pub(super) fn verdicts(call: &Call) -> Vec<Verdict> {
    let row = |verdict: &journal::GuardVerdict| Verdict {
        guard: verdict.guard.as_str(),
        phase: verdict.phase.as_str(),
        outcome: verdict.outcome.as_str(),
        details: verdict.details.clone(),
        tokens: count(verdict.tokens),
    };
    call.settlement.guards.iter().map(row).collect()
}
