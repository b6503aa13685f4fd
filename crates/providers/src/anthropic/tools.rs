//! Tools and tool choice.

use std::collections::HashSet;

use ::wire::Object;
use ::wire::chat::{ChatRequest, Tool};
use serde_json::{Value, json};

use crate::codec::Refused;
use crate::names::Names;

/// Longest tool name the API takes.
const NAME_LIMIT: usize = 128;

pub(super) fn sent_name(names: &mut Names, name: &str) -> String {
    names.sent(name, NAME_LIMIT)
}

/// Sets `tools` and `tool_choice`. An empty list is a 400 upstream and means none.
pub(super) fn encode(request: &ChatRequest, body: &mut Object, names: &mut Names) -> Result<(), Refused> {
    let tools = request.tools.as_deref().unwrap_or_default();
    if tools.is_empty() {
        return Ok(());
    }
    let allowed = allowed_tools(request.tool_choice.as_ref());
    let mut encoded = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        let name = tool.function.as_ref().map(|f| f.name.as_str());
        if allowed.as_ref().is_none_or(|allowed| name.is_some_and(|n| allowed.contains(n))) {
            encoded.push(encode_tool(at, tool, names)?);
        }
    }
    if encoded.is_empty() {
        return Err(Refused::new("tool_choice.allowed_tools", "names none of the tools"));
    }
    body.insert("tools".to_owned(), Value::Array(encoded));
    if let Some(choice) = encode_choice(request, names)? {
        body.insert("tool_choice".to_owned(), choice);
    }
    Ok(())
}

fn encode_tool(at: usize, tool: &Tool, names: &mut Names) -> Result<Value, Refused> {
    let Some(function) = &tool.function else {
        // A tool of the API's own, such as web_search: it goes as it came.
        return serde_json::to_value(tool).map_err(|e| Refused::new(format!("tools[{at}]"), e.to_string()));
    };
    let mut out = Object::new();
    out.insert("name".to_owned(), sent_name(names, &function.name).into());
    if let Some(description) = &function.description {
        out.insert("description".to_owned(), description.as_str().into());
    }
    out.insert("input_schema".to_owned(), input_schema(function.parameters.as_ref()));
    if let Some(cache) = &tool.cache_control {
        out.insert("cache_control".to_owned(), cache.clone());
    }
    Ok(Value::Object(out))
}

/// The API requires a schema, and in it a type; the unified format neither.
fn input_schema(parameters: Option<&Value>) -> Value {
    let mut schema = match parameters {
        Some(Value::Object(schema)) => schema.clone(),
        _ => Object::from_iter([("type".to_owned(), "object".into()), ("properties".to_owned(), json!({}))]),
    };
    schema.entry("type").or_insert_with(|| "object".into());
    Value::Object(schema)
}

fn encode_choice(request: &ChatRequest, names: &mut Names) -> Result<Option<Value>, Refused> {
    let mut choice = match &request.tool_choice {
        None | Some(Value::Null) => None,
        Some(Value::String(word)) => Some(mode(word)?),
        Some(Value::Object(choice)) => Some(named(choice, names)?),
        Some(other) => return Err(Refused::new("tool_choice", format!("{other} is no tool choice"))),
    };
    if request.parallel_tool_calls == Some(false) {
        let choice = choice.get_or_insert_with(|| json!({"type": "auto"}));
        if choice["type"] != "none" {
            choice["disable_parallel_tool_use"] = true.into();
        }
    }
    Ok(choice)
}

fn mode(word: &str) -> Result<Value, Refused> {
    match word {
        "auto" | "none" => Ok(json!({"type": word})),
        "required" | "any" => Ok(json!({"type": "any"})),
        other => Err(Refused::new("tool_choice", format!("{other:?} is none of auto, none, required"))),
    }
}

fn named(choice: &Object, names: &mut Names) -> Result<Value, Refused> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(allowed) = allowed_block(choice) {
        return mode(allowed.get("mode").and_then(Value::as_str).unwrap_or("auto"));
    }
    let name =
        choice.get("function").and_then(|f| f.get("name")).or_else(|| choice.get("name")).and_then(text);
    match name {
        Some(name) => Ok(json!({"type": "tool", "name": sent_name(names, &name)})),
        None => match choice.get("type").and_then(Value::as_str) {
            Some(word) => mode(word),
            None => Err(Refused::new("tool_choice", "has neither a type nor a function name")),
        },
    }
}

fn allowed_block(choice: &Object) -> Option<&Object> {
    (choice.get("type")?.as_str()? == "allowed_tools")
        .then(|| choice.get("allowed_tools")?.as_object())
        .flatten()
}

/// The names that `tool_choice: {"type": "allowed_tools"}` leaves, `None` when all are.
fn allowed_tools(choice: Option<&Value>) -> Option<HashSet<&str>> {
    let tools = allowed_block(choice?.as_object()?)?.get("tools")?.as_array()?;
    Some(tools.iter().filter_map(|t| t.get("function").unwrap_or(t).get("name")?.as_str()).collect())
}
