//! Tools and tool choice.

use std::collections::HashSet;

use ::wire::Object;
use ::wire::chat::{ChatRequest, Tool};
use serde_json::{Value, json};

use super::content::Conversation;
use crate::codec::Refused;
use crate::names::Names;

/// Longest tool name the API takes.
const NAME_LIMIT: usize = 64;

pub(super) fn sent_name(names: &mut Names, name: &str) -> String {
    names.sent(name, NAME_LIMIT)
}

/// What is asked of the model.
enum Choice {
    Free,
    None,
    Auto,
    Any,
    Tool(String),
}

/// `toolConfig`: the tools, those that the history calls included, since the API refuses calls of tools
/// that are not declared.
pub(super) fn encode(
    request: &ChatRequest,
    conversation: &Conversation,
    names: &mut Names,
) -> Result<Option<Value>, Refused> {
    let tools = request.tools.as_deref().unwrap_or_default();
    let (choice, allowed) = choice(request.tool_choice.as_ref(), names)?;
    let mut specs = Vec::with_capacity(tools.len());
    if !matches!(choice, Choice::None) {
        for (at, tool) in tools.iter().enumerate() {
            let name = tool.function.as_ref().map(|f| f.name.as_str());
            if allowed.as_ref().is_none_or(|allowed| name.is_some_and(|n| allowed.contains(n))) {
                specs.extend(tool_spec(&format!("tools[{at}]"), tool, names)?);
            }
        }
        if specs.is_empty() && !tools.is_empty() {
            return Err(Refused::new("tool_choice.allowed_tools", "names none of the tools"));
        }
    }
    let declared: HashSet<&str> = specs.iter().filter_map(|s| s["toolSpec"]["name"].as_str()).collect();
    let called = conversation.called().into_iter().filter(|name| !declared.contains(name));
    let stand_in =
        |name: &str| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}});
    let called: Vec<Value> = called.map(stand_in).collect();
    specs.extend(called);
    if specs.is_empty() {
        return Ok(None);
    }
    let mut config = json!({ "tools": specs });
    match choice {
        Choice::Free | Choice::None => {}
        Choice::Auto => config["toolChoice"] = json!({ "auto": {} }),
        Choice::Any => config["toolChoice"] = json!({ "any": {} }),
        Choice::Tool(name) => config["toolChoice"] = json!({"tool": {"name": name}}),
    }
    Ok(Some(config))
}

/// A tool and the cache point behind it.
fn tool_spec(path: &str, tool: &Tool, names: &mut Names) -> Result<Vec<Value>, Refused> {
    let Some(function) = &tool.function else {
        let reason = format!("{:?} is no tool of this provider, only functions are", tool.kind);
        return Err(Refused::new(format!("{path}.type"), reason));
    };
    let mut spec = Object::new();
    spec.insert("name".to_owned(), sent_name(names, &function.name).into());
    if let Some(description) = function.description.as_deref().filter(|d| !d.is_empty()) {
        spec.insert("description".to_owned(), description.into());
    }
    let mut schema = match &function.parameters {
        Some(Value::Object(schema)) => schema.clone(),
        _ => Object::from_iter([("properties".to_owned(), json!({}))]),
    };
    schema.entry("type").or_insert_with(|| "object".into());
    spec.insert("inputSchema".to_owned(), json!({ "json": schema }));
    let mut specs = vec![json!({ "toolSpec": spec })];
    if tool.cache_control.is_some() {
        specs.push(json!({"cachePoint": {"type": "default"}}));
    }
    Ok(specs)
}

/// The choice, and the names it leaves when it leaves only some.
fn choice<'a>(
    choice: Option<&'a Value>,
    names: &mut Names,
) -> Result<(Choice, Option<HashSet<&'a str>>), Refused> {
    match choice {
        None | Some(Value::Null) => Ok((Choice::Free, None)),
        Some(Value::String(word)) => Ok((mode(word)?, None)),
        Some(Value::Object(choice)) => {
            let allowed = choice
                .get("allowed_tools")
                .filter(|_| choice.get("type").is_some_and(|t| t == "allowed_tools"));
            if let Some(allowed) = allowed {
                let tools = allowed["tools"].as_array().into_iter().flatten();
                let kept = tools.filter_map(|t| t.get("function").unwrap_or(t)["name"].as_str()).collect();
                return Ok((mode(allowed["mode"].as_str().unwrap_or("auto"))?, Some(kept)));
            }
            let name = choice.get("function").and_then(|f| f.get("name")).or_else(|| choice.get("name"));
            match (name.and_then(Value::as_str), choice.get("type").and_then(Value::as_str)) {
                (Some(name), _) => Ok((Choice::Tool(sent_name(names, name)), None)),
                (None, Some(word)) => Ok((mode(word)?, None)),
                (None, None) => Err(Refused::new("tool_choice", "has neither a type nor a function name")),
            }
        }
        Some(other) => Err(Refused::new("tool_choice", format!("{other} is no tool choice"))),
    }
}

fn mode(word: &str) -> Result<Choice, Refused> {
    match word {
        "auto" => Ok(Choice::Auto),
        "none" => Ok(Choice::None),
        "required" | "any" => Ok(Choice::Any),
        other => Err(Refused::new("tool_choice", format!("{other:?} is none of auto, none, required"))),
    }
}
