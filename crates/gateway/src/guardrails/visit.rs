//! One visitor for all text that a model or a user sees, in every format: it knows where text is not.

use policy::guardrails::Writing;
use serde_json::{Map, Value};

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

/// Objects whose keys a caller or a tool names: JSON read as one text, so that its keys tell what its values
/// are, and none of them is taken for one that holds no text.
pub(super) const OTHERS_OWN: [&str; 8] =
    ["input", "arguments", "args", "response", "json", "variables", "env", "attributes"];

/// Where a text is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Of the message that it is in.
    pub(super) role: &'a str,
    pub(super) writing: Writing,
    /// Which of the messages that say their role it is in, counted from 1; 0 in none.
    pub(super) message: usize,
}

type Visit<'v> = dyn FnMut(Place<'_>, &mut String) + 'v;

/// Visits every text in `value`, which belongs to `role` unless it says otherwise.
pub(super) fn walk(value: &mut Value, role: &str, visit: &mut Visit<'_>) {
    Walk { visit, messages: 0 }.within(value, "", At { role, message: 0 });
}

/// As [`walk`], of what an object has under `key`.
pub(super) fn field(value: &mut Value, key: &str, role: &str, visit: &mut Visit<'_>) {
    Walk { visit, messages: 0 }.field(value, key, At { role, message: 0 });
}

/// Visits `value` as its JSON where it is an object or a list.
pub(super) fn own(value: &mut Value, role: &str, visit: &mut Visit<'_>) {
    Walk { visit, messages: 0 }.own(value, "", At { role, message: 0 });
}

struct Walk<'w, 'v> {
    visit: &'w mut Visit<'v>,
    /// That have begun.
    messages: usize,
}

#[derive(Clone, Copy)]
struct At<'a> {
    role: &'a str,
    message: usize,
}

impl Walk<'_, '_> {
    fn tell(&mut self, text: &mut String, writing: Writing, at: At<'_>) {
        (self.visit)(Place { role: at.role, writing, message: at.message }, text);
    }

    fn within(&mut self, value: &mut Value, key: &str, at: At<'_>) {
        match value {
            Value::String(text) => {
                let writing = if key == "arguments" { Writing::Json } else { Writing::Plain };
                self.tell(text, writing, at);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.within(item, key, at)),
            Value::Object(fields) => self.object(fields, at),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn object(&mut self, fields: &mut Map<String, Value>, at: At<'_>) {
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let own = fields.get("role").and_then(Value::as_str).map(str::to_owned);
        let own = own.or_else(|| speaker(&kind).map(str::to_owned));
        if own.is_some() {
            self.messages += 1;
        }
        let at = match own.as_deref() {
            Some(role) => At { role, message: self.messages },
            None => at,
        };
        let says_name = fields.contains_key("role") && !matches!(at.role, "tool" | "function");
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("data", _) if kind != "text" => {}
                // Who speaks, by a name.
                ("name", Value::String(name)) if says_name => self.tell(name, Writing::Plain, at),
                (key, value) => self.field(value, key, at),
            }
        }
    }

    fn field(&mut self, value: &mut Value, key: &str, at: At<'_>) {
        match key {
            key if NO_TEXT.contains(&key) => {}
            key if OTHERS_OWN.contains(&key) => self.own(value, key, at),
            key => self.within(value, key, at),
        }
    }

    /// A value as its JSON, read again where that was changed.
    fn own(&mut self, value: &mut Value, key: &str, at: At<'_>) {
        if !value.is_object() && !value.is_array() {
            return self.within(value, key, at);
        }
        if value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty) {
            return;
        }
        let before = value.to_string();
        let mut text = before.clone();
        self.tell(&mut text, Writing::Json, at);
        if text != before {
            // What is masked stays JSON; were it not, nothing of the old value may go on.
            *value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        }
    }
}

/// Whose an item is that says no role: what a tool gives, and what a model did, are no user's.
fn speaker(kind: &str) -> Option<&'static str> {
    match kind {
        "tool_result" => Some("tool"),
        "reasoning" => Some("assistant"),
        kind if kind.ends_with("_output") => Some("tool"),
        kind if kind.ends_with("_call") => Some("assistant"),
        _ => None,
    }
}

/// Probabilities of tokens tell what is held back or masked. Whether there were any.
pub(super) fn drop_probabilities(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter_mut().fold(false, |dropped, (key, value)| {
            dropped
                | match (key.as_str(), &mut *value) {
                    ("logprobs" | "logprobsResult", Value::Array(told)) if !told.is_empty() => {
                        told.clear();
                        true
                    }
                    ("logprobs" | "logprobsResult", Value::Object(_)) => {
                        *value = Value::Null;
                        true
                    }
                    (key, _) if OTHERS_OWN.contains(&key) => false,
                    _ => drop_probabilities(value),
                }
        }),
        Value::Array(items) => {
            items.iter_mut().fold(false, |dropped, item| dropped | drop_probabilities(item))
        }
        _ => false,
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
        assert_eq!(texts(messages), ["assistant: t", "assistant: {\"q\":\"d\"}", "tool: e", "user: f"]);
        let contents = json!([{"role": "user", "parts": [{"text": "g"}, {"inlineData": {"mimeType": "x", "data": "A"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": "h"}}}]}]);
        assert_eq!(texts(contents), ["user: g", "model: {\"a\":1}", "user: {\"r\":\"h\"}"]);
        let items = json!([{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "i"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": "j"},
            {"type": "custom_tool_call", "call_id": "c", "input": "k"}, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "l"}]}]);
        assert_eq!(
            texts(items),
            ["developer: i", "assistant: {}", "tool: j", "assistant: k", "assistant: l"]
        );
    }

    #[test]
    fn keys_that_a_caller_names_hide_nothing() {
        let converse = json!([{"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"json": {"name": "a", "url": "b"}}]}}]}]);
        assert_eq!(texts(converse), ["user: {\"name\":\"a\",\"url\":\"b\"}"]);
        let prompt =
            json!({"id": "p", "variables": {"name": "c", "id": {"type": "input_text", "text": "d"}}});
        assert_eq!(texts(prompt), ["user: {\"name\":\"c\",\"id\":{\"type\":\"input_text\",\"text\":\"d\"}}"]);
        let named = json!([{"role": "user", "name": "bob", "content": "e"}, {"role": "tool", "name": "f", "content": "g"}]);
        let mut named = texts(named);
        named.sort();
        assert_eq!(named, ["tool: g", "user: bob", "user: e"]);
    }

    #[test]
    fn probabilities_are_dropped_wherever_they_stand() {
        let mut value = json!({"choices": [{"logprobs": {"content": []}}], "item": {"content": [{"logprobs": [{"token": "x"}]}]},
            "candidates": [{"logprobsResult": {"chosenCandidates": []}}], "input": {"logprobs": [1]}, "logprobs": []});
        assert!(drop_probabilities(&mut value));
        assert_eq!(
            value,
            json!({"choices": [{"logprobs": null}], "item": {"content": [{"logprobs": []}]},
                "candidates": [{"logprobsResult": null}], "input": {"logprobs": [1]}, "logprobs": []})
        );
        assert!(!drop_probabilities(&mut value));
    }
}
