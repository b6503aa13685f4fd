//! One visitor for all text that a model or a user sees, in every format: it knows where text is not.

use policy::guardrails::Writing;
use serde_json::Value;

/// Keys whose strings are names, kinds, ids, addresses and sealed bytes.
pub(super) const NO_TEXT: [&str; 46] = [
    "type",
    "id",
    "role",
    "name",
    "call_id",
    "tool_call_id",
    "tool_use_id",
    "toolUseId",
    "bytes",
    "redactedContent",
    "item_id",
    "response_id",
    "responseId",
    "signature",
    "thoughtSignature",
    "thought_signature",
    "encrypted_content",
    "encrypted_index",
    "media_type",
    "mimeType",
    "mime_type",
    "url",
    "uri",
    "file_id",
    "fileUri",
    "file_uri",
    "image_url",
    "input_audio",
    "inlineData",
    "inline_data",
    "fileData",
    "file_data",
    "cache_control",
    "status",
    "model",
    "modelVersion",
    "object",
    "format",
    "detail",
    "namespace",
    "finish_reason",
    "finishReason",
    "stop_reason",
    "logprobs",
    "logprobsResult",
    "obfuscation",
];

/// What a tool is given and gives: JSON of the tool's own, read as one text, so that its keys tell what its
/// values are.
const TOOLS_OWN: [&str; 4] = ["input", "arguments", "args", "response"];

/// Where a text is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Of the message that it is in.
    pub(super) role: &'a str,
    pub(super) writing: Writing,
}

/// Visits every text in `value`, which belongs to `role` unless it says otherwise.
pub(super) fn walk(value: &mut Value, role: &str, visit: &mut dyn FnMut(Place<'_>, &mut String)) {
    within(value, "", role, visit);
}

/// As [`walk`], of what stands under `key`.
pub(super) fn within(
    value: &mut Value,
    key: &str,
    role: &str,
    visit: &mut dyn FnMut(Place<'_>, &mut String),
) {
    match value {
        Value::String(text) => {
            let writing = if key == "arguments" { Writing::Json } else { Writing::Plain };
            visit(Place { role, writing }, text);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| within(item, key, role, visit)),
        Value::Object(fields) => {
            let own = fields.get("role").and_then(Value::as_str).map(str::to_owned);
            let role = own.as_deref().unwrap_or(role);
            let is_text = fields.get("type").and_then(Value::as_str) == Some("text");
            for (key, value) in fields {
                match key.as_str() {
                    "data" if !is_text => {}
                    name if NO_TEXT.contains(&name) => {}
                    name if TOOLS_OWN.contains(&name) && (value.is_object() || value.is_array()) => {
                        as_json(value, role, visit);
                    }
                    name => within(value, name, role, visit),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Visits a value as its JSON, and reads it again where that was changed.
fn as_json(value: &mut Value, role: &str, visit: &mut dyn FnMut(Place<'_>, &mut String)) {
    let before = value.to_string();
    let mut text = before.clone();
    visit(Place { role, writing: Writing::Json }, &mut text);
    if text != before {
        // What is masked stays JSON; were it not, nothing of the old value may go on.
        *value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(mut value: Value) -> Vec<String> {
        let mut out = Vec::new();
        walk(&mut value, "user", &mut |place, text| out.push(format!("{}: {text}", place.role)));
        out
    }

    #[test]
    fn texts_of_every_format_are_reached_and_nothing_else() {
        let chat = json!([{"role": "system", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"},
            {"type": "image_url", "image_url": {"url": "data:x"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "i", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
            {"role": "tool", "tool_call_id": "i", "content": "c"}]);
        assert_eq!(texts(chat), ["system: a", "user: b", "assistant: {\"x\":1}", "tool: c"]);
        let messages = json!([{"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "tool_use", "id": "i", "name": "f", "input": {"q": "d"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "i", "content": [{"type": "text", "text": "e"}]},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "f"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]}]);
        assert_eq!(texts(messages), ["assistant: t", "assistant: {\"q\":\"d\"}", "user: e", "user: f"]);
        let contents = json!([{"role": "user", "parts": [{"text": "g"}, {"inlineData": {"mimeType": "x", "data": "A"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": "h"}}}]}]);
        assert_eq!(texts(contents), ["user: g", "model: {\"a\":1}", "user: {\"r\":\"h\"}"]);
        let items = json!([{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "i"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": "j"},
            {"type": "custom_tool_call", "call_id": "c", "input": "k"}, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "l"}]}]);
        assert_eq!(texts(items), ["developer: i", "user: {}", "user: j", "user: k", "user: l"]);
    }
}
