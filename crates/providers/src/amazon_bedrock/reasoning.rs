//! How much a model is to think. Converse has no field of its own for it: each family has its additional
//! fields.

use ::wire::Object;
use ::wire::chat::ChatRequest;
use serde_json::{Value, json};

use super::Family;
use super::content::Conversation;
use crate::claude;

/// What thinking asks of the rest of the request.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    /// A budget is set, which excludes sampling parameters and forced tools.
    pub(super) budgeted: bool,
    /// The output bound that leaves room for the budget.
    pub(super) bound: Option<u64>,
}

pub(super) fn encode(
    model: &str,
    family: Family,
    request: &ChatRequest,
    conversation: &Conversation,
    additional: &mut Object,
) -> Thinking {
    let effort = request.reasoning_effort.as_deref().filter(|e| *e != "none");
    match (family, effort) {
        (Family::Claude, _) => return claude(model, request, effort, conversation, additional),
        (Family::Nova2, Some(effort)) => {
            let level = match effort {
                "minimal" | "low" => "low",
                "medium" => "medium",
                _ => "high",
            };
            let config = json!({"type": "enabled", "maxReasoningEffort": level});
            additional.insert("reasoningConfig".to_owned(), config);
        }
        (Family::GptOss, Some(effort)) => {
            additional.insert("reasoning_effort".to_owned(), effort.into());
        }
        _ => {}
    }
    Thinking::default()
}

fn claude(
    model: &str,
    request: &ChatRequest,
    effort: Option<&str>,
    conversation: &Conversation,
    additional: &mut Object,
) -> Thinking {
    let asked = match (&request.thinking, effort) {
        (Some(given), _) => given.clone(),
        (None, None) => return Thinking::default(),
        (None, Some(_)) if claude::thinks_adaptively(model) => json!({"type": "adaptive"}),
        (None, Some(effort)) => json!({"type": "enabled", "budget_tokens": claude::effort_budget(effort)}),
    };
    if asked["type"] != "enabled" || claude::thinks_only_adaptively(model) {
        let adaptive = claude::adaptive(asked);
        if let Some(effort) = effort.filter(|_| adaptive["type"] == "adaptive") {
            let level = claude::effort_level(model, effort);
            additional.insert("output_config".to_owned(), json!({ "effort": level }));
        }
        additional.insert("thinking".to_owned(), adaptive);
        return Thinking::default();
    }
    budgeted(request, asked, conversation, additional)
}

fn budgeted(
    request: &ChatRequest,
    mut asked: Value,
    conversation: &Conversation,
    additional: &mut Object,
) -> Thinking {
    let bound = request.output_bound();
    if loop_without_signature(conversation) || bound.is_some_and(|bound| bound <= claude::MIN_BUDGET) {
        return Thinking::default();
    }
    let budget = asked["budget_tokens"].as_u64().unwrap_or(claude::MIN_BUDGET).max(claude::MIN_BUDGET);
    let (budget, bound) = match bound {
        Some(bound) => (budget.min(bound - 1), None),
        // Without a bound the model's own holds, which may be less than the budget.
        None => (budget, Some(budget.saturating_add(claude::MIN_BUDGET * 4))),
    };
    asked["budget_tokens"] = budget.into();
    additional.insert("thinking".to_owned(), asked);
    Thinking { budgeted: true, bound }
}

/// While a tool loop is open the signed thinking of its turn must be replayed. A client that dropped it
/// gets an answer without thinking instead of a 400.
fn loop_without_signature(conversation: &Conversation) -> bool {
    let [.., call, result] = conversation.turns.as_slice() else { return false };
    let open = result.blocks.iter().any(|b| b.get("toolResult").is_some());
    open && call.blocks.first().is_none_or(|b| b.get("reasoningContent").is_none())
}

/// A forced tool is refused beside a budget.
pub(super) fn relax_forced_tool(tools: &mut Value) {
    if tools.get("toolChoice").is_some_and(|c| c.get("any").is_some() || c.get("tool").is_some()) {
        tools["toolChoice"] = json!({ "auto": {} });
    }
}
