//! Unified request to Messages request.

use ::wire::Object;
use ::wire::chat::ChatRequest;
use serde_json::{Value, json};

use super::content::{Conversation, Turn};
use super::{claude, tools};
use crate::codec::{Encoded, Refused};
use crate::names::Names;

pub(super) fn encode(model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
    if request.n.is_some_and(|n| n > 1) {
        return Err(Refused::new("n", "this provider gives one answer a call"));
    }
    let mut names = Names::default();
    let conversation = Conversation::read(&request.messages, &mut names)?;
    if conversation.turns.is_empty() {
        return Err(Refused::new(
            "messages",
            "needs at least one user or assistant message that is not blank",
        ));
    }
    let mut body = Object::new();
    body.insert("model".to_owned(), model.into());
    let bound = request.output_bound().unwrap_or_else(|| claude::default_max_tokens(model));
    body.insert("max_tokens".to_owned(), bound.into());
    tools::encode(request, &mut body, &mut names)?;
    response_format(request, &mut body)?;
    let thinking = thinking(model, request, &conversation, &mut body);
    sampling(model, request, thinking, &mut body);
    system(request, conversation.system, &mut body);
    body.insert("messages".to_owned(), conversation.turns.into_iter().map(turn).collect());
    if request.stream == Some(true) {
        body.insert("stream".to_owned(), true.into());
    }
    let safety = || request.extra.get("safety_identifier").and_then(Value::as_str);
    if let Some(user) = request.user.as_deref().or_else(safety).filter(|u| is_opaque(u)) {
        body.insert("metadata".to_owned(), json!({"user_id": user}));
    }
    Ok(Encoded { body: Value::Object(body), names })
}

fn turn(turn: Turn) -> Value {
    let content = match turn.blocks.as_slice() {
        [only] if only["type"] == "text" && only.get("cache_control").is_none() => only["text"].clone(),
        _ => Value::Array(turn.blocks),
    };
    json!({"role": turn.role, "content": content})
}

fn system(request: &ChatRequest, mut blocks: Vec<Value>, body: &mut Object) {
    // The API has no plain JSON mode; the instruction is what its own documentation advises.
    if request.response_format.as_ref().is_some_and(|f| f["type"] == "json_object") {
        blocks.push(json!({"type": "text", "text": claude::JSON_HINT}));
    }
    let system = match blocks.as_slice() {
        [] => return,
        [only] if only.get("cache_control").is_none() => only["text"].clone(),
        _ => Value::Array(blocks),
    };
    body.insert("system".to_owned(), system);
}

fn sampling(model: &str, request: &ChatRequest, thinking: bool, body: &mut Object) {
    if claude::takes_sampling(model) && !thinking {
        // The unified range is 0 to 2, this API's 0 to 1.
        if let Some(temperature) = request.temperature {
            body.insert("temperature".to_owned(), temperature.clamp(0.0, 1.0).into());
        }
        let both = request.temperature.is_some() && !claude::takes_both_samplers(model);
        if let Some(top_p) = request.top_p.filter(|_| !both) {
            body.insert("top_p".to_owned(), top_p.into());
        }
        if let Some(top_k) = request.top_k {
            body.insert("top_k".to_owned(), top_k.into());
        }
    }
    let stops = request.stop.as_ref().map(|s| s.as_slice()).unwrap_or_default();
    // A stop sequence of white space alone is a 400 upstream.
    let stops: Vec<&String> = stops.iter().filter(|s| !s.trim().is_empty()).collect();
    if !stops.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(stops));
    }
}

fn response_format(request: &ChatRequest, body: &mut Object) -> Result<(), Refused> {
    let Some(format) = &request.response_format else { return Ok(()) };
    match format["type"].as_str() {
        Some("text" | "json_object") => Ok(()),
        Some("json_schema") => {
            let schema = format["json_schema"].get("schema").filter(|s| s.is_object());
            let Some(schema) = schema else {
                return Err(Refused::new("response_format.json_schema.schema", "is required"));
            };
            let mut schema = schema.clone();
            claude::close_objects(&mut schema);
            output_config(body, "format", json!({"type": "json_schema", "schema": schema}));
            Ok(())
        }
        other => {
            let given = other.unwrap_or_default();
            let reason = format!("{given:?} is none of text, json_object, json_schema");
            Err(Refused::new("response_format.type", reason))
        }
    }
}

fn output_config(body: &mut Object, key: &str, value: Value) {
    let config = body.entry("output_config").or_insert_with(|| Value::Object(Object::new()));
    config[key] = value;
}

/// Sets `thinking` from `thinking` or `reasoning_effort`; tells whether a budgeted thinking is on, which
/// excludes sampling parameters and forced tools.
fn thinking(model: &str, request: &ChatRequest, conversation: &Conversation, body: &mut Object) -> bool {
    let max_tokens = body.get("max_tokens").and_then(Value::as_u64).unwrap_or_default();
    let effort = request.reasoning_effort.as_deref().filter(|e| *e != "none");
    let (thinking, budget) = match (&request.thinking, effort) {
        (Some(given), _) => (given.clone(), given["budget_tokens"].as_u64()),
        (None, None) => return false,
        (None, Some(_)) if claude::thinks_adaptively(model) => (json!({"type": "adaptive"}), None),
        (None, Some(effort)) => {
            let budget = claude::effort_budget(effort);
            (json!({"type": "enabled", "budget_tokens": budget}), Some(budget))
        }
    };
    if thinking["type"] != "enabled" || claude::thinks_only_adaptively(model) {
        let adaptive = claude::adaptive(thinking);
        if let Some(effort) = effort.filter(|_| adaptive["type"] == "adaptive") {
            output_config(body, "effort", claude::effort_level(model, effort).into());
        }
        body.insert("thinking".to_owned(), adaptive);
        return false;
    }
    if loop_without_signature(conversation)
        || (request.output_bound().is_some() && max_tokens <= claude::MIN_BUDGET)
    {
        return false;
    }
    let mut thinking = thinking;
    let mut budget = budget.unwrap_or(claude::MIN_BUDGET).max(claude::MIN_BUDGET);
    if budget >= max_tokens {
        if request.output_bound().is_some() {
            budget = max_tokens - 1;
        } else {
            body.insert("max_tokens".to_owned(), budget.saturating_add(max_tokens).into());
        }
    }
    thinking["budget_tokens"] = budget.into();
    body.insert("thinking".to_owned(), thinking);
    relax_forced_tool(body);
    true
}

/// While a tool loop is open the signed thinking of its turn must be replayed. A client that dropped it
/// gets an answer without thinking instead of a 400.
fn loop_without_signature(conversation: &Conversation) -> bool {
    let [.., call, result] = conversation.turns.as_slice() else { return false };
    let open = result.blocks.iter().any(|b| b["type"] == "tool_result");
    let thought =
        call.blocks.first().is_some_and(|b| b["type"] == "thinking" || b["type"] == "redacted_thinking");
    open && !thought
}

fn relax_forced_tool(body: &mut Object) {
    let Some(choice) = body.get_mut("tool_choice") else { return };
    if choice["type"] == "any" || choice["type"] == "tool" {
        let mut auto = json!({"type": "auto"});
        if let Some(disable) = choice.get("disable_parallel_tool_use") {
            auto["disable_parallel_tool_use"] = disable.clone();
        }
        *choice = auto;
    }
}

/// The API asks for ids that identify nobody: an e-mail address or a phone number stays here.
fn is_opaque(user: &str) -> bool {
    let digits = user.bytes().filter(u8::is_ascii_digit).count();
    let phone = digits >= 7 && user.bytes().all(|b| b.is_ascii_digit() || b"+-(). ".contains(&b));
    !user.is_empty() && !user.contains('@') && !phone
}
