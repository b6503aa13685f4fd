//! Unified messages to those of `/v2/chat`.

use std::collections::HashSet;

use ::wire::Object;
use ::wire::chat::{Content, Message, ToolCall};
use serde_json::{Value, json};

use super::request::MAX_NAME;
use crate::codec::Refused;
use crate::names::Names;
use crate::unified::plain_text;

/// Stands for a tool's result that is blank: the API refuses one without content.
const NO_OUTPUT: &str = "(no output)";

pub(super) fn encode(messages: &[Message], names: &mut Names) -> Result<Vec<Value>, Refused> {
    let mut sent = Vec::with_capacity(messages.len());
    let mut called = HashSet::new();
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages[{at}]");
        match message.role.as_str() {
            "system" | "developer" => sent.extend(spoken("system", text(&path, message)?)),
            "user" => sent.extend(user(&path, message)?),
            "assistant" => {
                called.extend(message.tool_calls.iter().flatten().map(|call| call.id.as_str()));
                sent.extend(assistant(&path, message, names)?);
            }
            "tool" => sent.push(result(&path, message, &called)?),
            other => {
                let reason = format!("{other:?} is none of system, developer, user, assistant, tool");
                return Err(Refused::new(format!("{path}.role"), reason));
            }
        }
    }
    if sent.is_empty() {
        return Err(Refused::new("messages", "needs at least one message that is not blank"));
    }
    Ok(sent)
}

/// A blank message is a 400 upstream, and says nothing.
fn spoken(role: &str, text: String) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"role": role, "content": text}))
}

/// The text of a message that can have nothing else.
fn text(path: &str, message: &Message) -> Result<String, Refused> {
    plain_text(message).map_err(|(at, kind)| unknown_part(path, at, kind, "text"))
}

fn unknown_part(path: &str, at: usize, kind: &str, takes: &str) -> Refused {
    let reason = format!("this provider takes {takes} here, not a part of type {kind:?}");
    Refused::new(format!("{path}.content[{at}]"), reason)
}

fn user(path: &str, message: &Message) -> Result<Option<Value>, Refused> {
    let Some(Content::Parts(parts)) = &message.content else {
        return Ok(spoken("user", text(path, message)?));
    };
    let mut sent = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        match (part.kind.as_str(), &part.text, &part.image_url) {
            ("text", Some(text), _) if text.trim().is_empty() => {}
            ("text", Some(text), _) => sent.push(json!({"type": "text", "text": text})),
            ("image_url", _, Some(image)) => {
                let mut url = json!({"url": image.url});
                if let Some(detail) = image.extra.get("detail").filter(|detail| detail.is_string()) {
                    url["detail"] = detail.clone();
                }
                sent.push(json!({"type": "image_url", "image_url": url}));
            }
            _ => return Err(unknown_part(path, at, &part.kind, "text and images")),
        }
    }
    let content = match sent.as_slice() {
        [] => return Ok(None),
        [only] if only["type"] == "text" => only["text"].clone(),
        _ => Value::Array(sent),
    };
    Ok(Some(json!({"role": "user", "content": content})))
}

fn assistant(path: &str, message: &Message, names: &mut Names) -> Result<Option<Value>, Refused> {
    let text = text(path, message)?;
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    if calls.is_empty() {
        return Ok(spoken("assistant", text));
    }
    let calls = calls.iter().enumerate().map(|(at, call)| tool_call(path, at, call, names));
    let mut sent = Object::new();
    sent.insert("role".to_owned(), "assistant".into());
    sent.insert("tool_calls".to_owned(), calls.collect::<Result<Value, _>>()?);
    // What the model said before it called comes back as its plan.
    if let Some(plan) = message.reasoning_content.as_deref().filter(|plan| !plan.trim().is_empty()) {
        sent.insert("tool_plan".to_owned(), plan.into());
    }
    if !text.trim().is_empty() {
        sent.insert("content".to_owned(), text.into());
    }
    Ok(Some(Value::Object(sent)))
}

fn tool_call(path: &str, at: usize, call: &ToolCall, names: &mut Names) -> Result<Value, Refused> {
    let given = call.function.arguments.trim();
    let arguments = if given.is_empty() { "{}" } else { given };
    if !serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object()) {
        let field = format!("{path}.tool_calls[{at}].function.arguments");
        return Err(Refused::new(field, "is not a JSON object"));
    }
    let name = names.sent(&call.function.name, MAX_NAME);
    Ok(json!({"id": call.id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

/// A result of a call that is not in the conversation is a 400 upstream: the user says it instead.
fn result(path: &str, message: &Message, called: &HashSet<&str>) -> Result<Value, Refused> {
    let text = text(path, message)?;
    let text = if text.trim().is_empty() { NO_OUTPUT.to_owned() } else { text };
    Ok(match message.tool_call_id.as_deref() {
        Some(id) if called.contains(id) => json!({"role": "tool", "tool_call_id": id, "content": text}),
        _ => json!({"role": "user", "content": text}),
    })
}
