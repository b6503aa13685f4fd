//! Tools of the Responses format: functions, free-form tools, and both in namespaces. Chat has functions.

use serde_json::{Value, json};
use wire::chat::{FunctionSpec, Tool};
use wire::error::ApiError;

/// Tools that the API runs itself and that an answer can do without.
const DISPENSABLE: [&str; 5] =
    ["web_search", "web_search_preview", "image_generation", "local_shell", "tool_search"];

/// The one argument of the function that stands for a free-form tool.
pub(super) const INPUT: &str = "input";

/// What the function of a chat is to the client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    /// The name in chat.
    pub(super) function: String,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    /// Takes any text, and no JSON.
    pub(super) freeform: bool,
}

/// The name of a tool in chat.
pub(super) fn function_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if namespace.ends_with("__") => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
        None => name.to_owned(),
    }
}

/// Every tool that a client runs.
pub(super) fn known(tools: &[Value]) -> Vec<Known> {
    let mut out = Vec::new();
    for tool in tools {
        if tool["type"] == "namespace" {
            let namespace = tool["name"].as_str();
            let inner = tool["tools"].as_array().into_iter().flatten();
            out.extend(inner.filter_map(|tool| know(namespace, tool)));
        } else {
            out.extend(know(None, tool));
        }
    }
    out
}

fn know(namespace: Option<&str>, tool: &Value) -> Option<Known> {
    let freeform = match tool["type"].as_str()? {
        "function" => false,
        "custom" => true,
        _ => return None,
    };
    let name = tool["name"].as_str()?.to_owned();
    Some(Known {
        function: function_name(namespace, &name),
        name,
        namespace: namespace.map(str::to_owned),
        freeform,
    })
}

pub(super) fn read(tools: &[Value]) -> Result<Vec<Tool>, ApiError> {
    let mut out = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        let path = format!("tools[{at}]");
        match tool["type"].as_str().unwrap_or_default() {
            "namespace" => {
                for (inner_at, inner) in tool["tools"].as_array().into_iter().flatten().enumerate() {
                    out.extend(read_one(&format!("{path}.tools[{inner_at}]"), tool["name"].as_str(), inner)?);
                }
            }
            _ => out.extend(read_one(&path, None, tool)?),
        }
    }
    Ok(out)
}

fn read_one(path: &str, namespace: Option<&str>, tool: &Value) -> Result<Option<Tool>, ApiError> {
    let kind = tool["type"].as_str().unwrap_or_default();
    let is_dispensable = DISPENSABLE.iter().any(|known| {
        let version = kind.strip_prefix(known);
        version.is_some_and(|version| version.is_empty() || version.starts_with('_'))
    });
    match kind {
        "function" | "custom" => {}
        _ if is_dispensable => return Ok(None),
        _ => {
            return Err(ApiError::bad_request(format!(
                "{path}.type: {kind:?} is run by the provider of this format, and the model behind this endpoint has no such tool"
            )));
        }
    }
    let Some(name) = tool["name"].as_str() else {
        return Err(ApiError::bad_request(format!("{path}.name: is required")));
    };
    let name = function_name(namespace, name);
    let function = if kind == "custom" { freeform(name, tool) } else { function(name, tool) };
    Ok(Some(Tool { kind: "function".to_owned(), function: Some(function), ..Tool::default() }))
}

fn function(name: String, tool: &Value) -> FunctionSpec {
    FunctionSpec {
        name,
        description: tool["description"].as_str().map(str::to_owned),
        parameters: tool.get("parameters").filter(|schema| schema.is_object()).cloned(),
        strict: tool["strict"].as_bool().filter(|strict| *strict),
        ..FunctionSpec::default()
    }
}

/// A text of any form is a function with one text; its grammar is told to the model in words.
fn freeform(name: String, tool: &Value) -> FunctionSpec {
    let mut description = tool["description"].as_str().unwrap_or_default().to_owned();
    if let Some(definition) = tool["format"]["definition"].as_str() {
        let syntax = tool["format"]["syntax"].as_str().unwrap_or("given");
        description.push_str(&format!("\n\nThe input must follow this {syntax} grammar:\n{definition}"));
    }
    let text = json!({"type": "string", "description": "the whole input of the tool, as it is"});
    let parameters = json!({"type": "object", "properties": {INPUT: text}, "required": [INPUT], "additionalProperties": false});
    let description = (!description.is_empty()).then_some(description);
    FunctionSpec { name, description, parameters: Some(parameters), ..FunctionSpec::default() }
}

pub(super) fn choice(choice: &Value) -> Result<Value, ApiError> {
    let name = |tool: &Value| {
        let name = tool["name"].as_str().map(|name| function_name(tool["namespace"].as_str(), name));
        json!({"type": "function", "function": {"name": name}})
    };
    match choice {
        Value::String(_) => Ok(choice.clone()),
        _ => match choice["type"].as_str().unwrap_or_default() {
            "function" | "custom" => Ok(name(choice)),
            "allowed_tools" => {
                let tools: Vec<Value> = choice["tools"].as_array().into_iter().flatten().map(name).collect();
                Ok(
                    json!({"type": "allowed_tools", "allowed_tools": {"mode": choice["mode"], "tools": tools}}),
                )
            }
            kind => Err(ApiError::bad_request(format!(
                "tool_choice.type: {kind:?} is run by the provider of this format, and the model behind this endpoint has no such tool"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_that_a_client_runs_is_a_function() {
        let tools = json!([
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false},
            {"type": "custom", "name": "apply_patch", "description": "edit", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
            {"type": "namespace", "name": "mcp__files", "tools": [{"type": "function", "name": "read"}]},
            {"type": "web_search"}, {"type": "web_search_preview_2025_03_11"}]);
        let tools = tools.as_array().unwrap();
        let sent = serde_json::to_value(read(tools).unwrap()).unwrap();
        assert_eq!(
            sent[0],
            json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}})
        );
        assert_eq!(sent[1]["function"]["parameters"]["required"], json!(["input"]));
        assert_eq!(
            sent[1]["function"]["description"],
            "edit\n\nThe input must follow this lark grammar:\nstart: x"
        );
        assert_eq!(sent[2]["function"]["name"], "mcp__files__read");
        assert_eq!(sent.as_array().unwrap().len(), 3);
        let known = known(tools);
        assert_eq!(
            known[2],
            Known {
                function: "mcp__files__read".into(),
                name: "read".into(),
                namespace: Some("mcp__files".into()),
                freeform: false
            }
        );
        assert!(known[1].freeform);
    }

    #[test]
    fn what_cannot_be_done_without_is_refused_by_name() {
        for kind in ["file_search", "computer_use_preview", "mcp", "x"] {
            let error =
                read(&[json!({"type": "function", "name": "f"}), json!({ "type": kind })]).unwrap_err();
            assert!(error.message.starts_with("tools[1].type"), "{}", error.message);
        }
        assert!(choice(&json!({"type": "web_search"})).is_err());
        let forced = choice(&json!({"type": "custom", "name": "p"})).unwrap();
        assert_eq!(forced, json!({"type": "function", "function": {"name": "p"}}));
    }
}
