//! Tools and tool choice.

use std::collections::HashSet;

use ::wire::Object;
use ::wire::chat::{ChatRequest, Tool};
use serde_json::{Value, json};

use super::content::Conversation;
use crate::codec::Refused;
use crate::names::Names;
use crate::tool_choice::{Must, ToolChoice};

/// Longest tool name the API takes.
const NAME_LIMIT: usize = 64;

pub(super) fn sent_name(names: &mut Names, name: &str) -> String {
    names.sent(name, NAME_LIMIT)
}

/// `toolConfig`: the tools, those that the history calls included, since the API refuses calls of tools
/// that are not declared.
pub(super) fn encode(
    request: &ChatRequest,
    conversation: &Conversation,
    names: &mut Names,
) -> Result<Option<Value>, Refused> {
    let tools = request.tools.as_deref().unwrap_or_default();
    let choice = ToolChoice::read(request.tool_choice.as_ref())?;
    let (mut specs, mut offered) = (Vec::with_capacity(tools.len()), false);
    let mut missing: HashSet<&str> = conversation.called().into_iter().collect();
    for (at, tool) in tools.iter().enumerate() {
        let spec = tool_spec(&format!("tools[{at}]"), tool, names)?;
        let was_called = spec[0]["toolSpec"]["name"].as_str().is_some_and(|name| missing.remove(name));
        let may_be = choice.must != Some(Must::NotCall) && choice.allows(tool);
        offered |= may_be;
        if may_be || was_called {
            specs.extend(spec);
        }
    }
    if !offered && !tools.is_empty() && choice.must != Some(Must::NotCall) {
        return Err(ToolChoice::names_none());
    }
    let stand_in =
        |name: &str| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}});
    specs.extend(conversation.called().into_iter().filter(|name| missing.remove(name)).map(stand_in));
    if specs.is_empty() {
        return Ok(None);
    }
    let mut config = json!({ "tools": specs });
    match choice.must {
        None | Some(Must::NotCall) => {}
        Some(Must::Choose) => config["toolChoice"] = json!({ "auto": {} }),
        Some(Must::Call) => config["toolChoice"] = json!({ "any": {} }),
        Some(Must::CallThe(name)) => {
            config["toolChoice"] = json!({"tool": {"name": sent_name(names, name)}});
        }
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
