//! Plans: what a model says turn by turn to an agent, which runs the tools that are called.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A list of turns. The tool results that are in the conversation already say which one is due; the last is said again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Plan {
    turns: Vec<Turn>,
}

/// One answer of the model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Turn {
    /// `{"tool": "Read", "arguments": {}}`
    Call(PlannedCall),
    /// `{"text": "done"}`
    Text(PlannedText),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedCall {
    pub(crate) tool: String,
    pub(crate) arguments: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedText {
    pub(crate) text: String,
}

impl Plan {
    /// Reads a JSON array of at least one turn.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|plan: &Self| !plan.turns.is_empty())
    }

    /// The turn that is due after so many tool results. None where it calls a tool that is not on offer: agents ask for
    /// titles and summaries too, and those requests are no part of the task.
    pub(crate) fn turn(&self, results: usize, offered: &[&str]) -> Option<&Turn> {
        let due = self.turns.get(results).or(self.turns.last());
        due.filter(|turn| match turn {
            Turn::Call(call) => offered.contains(&call.tool.as_str()),
            Turn::Text(_) => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_is_chosen_by_the_results_and_the_tools() {
        let plan = Plan::parse(r#"[{"tool": "a", "arguments": {}}, {"text": "done"}]"#).unwrap();
        assert!(matches!(plan.turn(0, &["b", "a"]), Some(Turn::Call(call)) if call.tool == "a"));
        assert_eq!(plan.turn(0, &["b"]), None);
        for results in [1, 7] {
            assert!(matches!(plan.turn(results, &[]), Some(Turn::Text(said)) if said.text == "done"));
        }
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for bad in ["[]", "{}", "x", r#"[{"tool": "a"}]"#, r#"[{"text": "a", "more": 1}]"#] {
            assert_eq!(Plan::parse(bad), None, "{bad}");
        }
    }
}
