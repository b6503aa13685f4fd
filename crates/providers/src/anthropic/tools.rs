//! Tools and tool choice.

use ::wire::Object;
use ::wire::chat::{ChatRequest, Tool};
use serde_json::{Value, json};

use crate::codec::Refused;
use crate::names::Names;
use crate::tool_choice::{Must, ToolChoice};

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
    let choice = ToolChoice::read(request.tool_choice.as_ref())?;
    let mut encoded = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        if choice.allows(tool) {
            encoded.push(encode_tool(at, tool, names)?);
        }
    }
    if encoded.is_empty() {
        return Err(ToolChoice::names_none());
    }
    body.insert("tools".to_owned(), Value::Array(encoded));
    if let Some(choice) = encode_choice(&choice, request, names) {
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

fn encode_choice(choice: &ToolChoice<'_>, request: &ChatRequest, names: &mut Names) -> Option<Value> {
    let mut choice = choice.must.map(|must| match must {
        Must::Choose => json!({"type": "auto"}),
        Must::NotCall => json!({"type": "none"}),
        Must::Call => json!({"type": "any"}),
        Must::CallThe(name) => json!({"type": "tool", "name": sent_name(names, name)}),
    });
    if request.parallel_tool_calls == Some(false) {
        let choice = choice.get_or_insert_with(|| json!({"type": "auto"}));
        if choice["type"] != "none" {
            choice["disable_parallel_tool_use"] = true.into();
        }
    }
    choice
}
