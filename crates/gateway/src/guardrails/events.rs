//! Where the events of each format's streams have text: pieces of texts that go on, and texts that are whole.

use policy::guardrails::Writing;
use serde_json::{Value, json};

use super::texts::{ABOUT, answer};
use super::visit::{NO_TEXT, OTHERS_OWN, field};
use crate::dialect::Format;

/// Which text a piece belongs to: the choice, block or item, and what of it.
pub(super) type Key = (u64, String);

/// What a string of an event is.
#[derive(Debug)]
pub(super) enum Spot {
    /// The next piece of a text.
    Piece(Key, Writing),
    Whole(Writing),
}

/// Which texts are over with an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Over {
    Nothing,
    Groups(Vec<u64>),
    Everything,
}

pub(super) type Visit<'f> = dyn FnMut(Spot, &mut String) + 'f;

/// Every text of `event`: what goes on in the next as pieces, all else whole.
pub(super) fn visit(format: Format, event: &mut Value, visit: &mut Visit<'_>) {
    let goes_on = match format {
        Format::Chat | Format::Completions => "choices",
        Format::Contents => "candidates",
        Format::Messages => match event["type"].as_str() {
            Some("content_block_delta") => "delta",
            Some("content_block_start") => "content_block",
            _ => "",
        },
        Format::Responses => "response",
        Format::Converse => return turn(event, visit),
    };
    if format == Format::Responses && delta(event, visit) {
        return rest(event, &[goes_on, "delta"], visit);
    }
    rest(event, &[goes_on], visit);
    match format {
        Format::Chat | Format::Completions => {
            for (at, choice) in list(event, "choices").iter_mut().enumerate() {
                let group = index(choice, at);
                pieces(choice, group, "", visit);
            }
        }
        Format::Messages => message(event, goes_on, visit),
        Format::Responses => response(event, visit),
        Format::Contents => contents(event, visit),
        Format::Converse => {}
    }
}

fn list<'v>(value: &'v mut Value, key: &str) -> &'v mut [Value] {
    value.get_mut(key).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

fn index(value: &Value, at: usize) -> u64 {
    value["index"].as_u64().unwrap_or(at as u64)
}

/// Every string of a choice, by its path: the same path in the next event goes on with it.
fn pieces(value: &mut Value, group: u64, path: &str, visit: &mut Visit<'_>) {
    match value {
        Value::String(text) => {
            let writing = if path.ends_with("/arguments") { Writing::Json } else { Writing::Plain };
            visit(Spot::Piece((group, path.to_owned()), writing), text);
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                let path = format!("{path}/{}", index(item, at));
                pieces(item, group, &path, visit);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut().filter(|(key, _)| !NO_TEXT.contains(&key.as_str())) {
                let own = OTHERS_OWN.contains(&key.as_str()) && !value.is_string();
                // They come whole, with what signs them.
                if own || key == "thinking_blocks" || key == "message" {
                    whole(value, key, visit);
                } else {
                    pieces(value, group, &format!("{path}/{key}"), visit);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn whole(value: &mut Value, key: &str, visit: &mut Visit<'_>) {
    field(value, key, "assistant", &mut |place, text| visit(Spot::Whole(place.writing), text));
}

/// What an object has under other keys than `apart`, whole.
fn rest(value: &mut Value, apart: &[&str], visit: &mut Visit<'_>) {
    for (key, value) in value.as_object_mut().into_iter().flatten() {
        if !apart.contains(&key.as_str()) && !ABOUT.contains(&key.as_str()) {
            whole(value, key, visit);
        }
    }
}

fn message(event: &mut Value, said: &str, visit: &mut Visit<'_>) {
    let group = index(event, 0);
    let Some(said) = event.get_mut(said) else { return };
    for name in ["text", "thinking", "partial_json"] {
        if let Some(Value::String(text)) = said.get_mut(name) {
            let writing = if name == "partial_json" { Writing::Json } else { Writing::Plain };
            visit(Spot::Piece((group, name.to_owned()), writing), text);
        }
    }
    // `data` of what is hidden is no text.
    rest(said, &["text", "thinking", "partial_json", "data"], visit);
}

/// What a block says in pieces: where it stands in a delta, by the key that it is told apart by.
const SAID: [(&str, Option<&str>); 3] =
    [("text", None), ("toolUse", Some("input")), ("reasoningContent", Some("text"))];

fn turn(event: &mut Value, visit: &mut Visit<'_>) {
    for (name, said) in event.as_object_mut().into_iter().flatten() {
        // `p` makes all events of a length.
        let goes_on = if name == "contentBlockDelta" { "delta" } else { "" };
        rest(said, &[goes_on, "p"], visit);
        let group = said["contentBlockIndex"].as_u64().unwrap_or(0);
        let Some(delta) = said.get_mut("delta").filter(|_| !goes_on.is_empty()) else { continue };
        for (key, inner) in SAID {
            let Some(block) = delta.get_mut(key) else { continue };
            let text = match inner {
                Some(inner) => {
                    rest(block, &[inner], visit);
                    block.get_mut(inner)
                }
                None => Some(block),
            };
            let writing = if key == "toolUse" { Writing::Json } else { Writing::Plain };
            if let Some(Value::String(text)) = text {
                visit(Spot::Piece((group, key.to_owned()), writing), text);
            }
        }
        rest(delta, &SAID.map(|(key, _)| key), visit);
    }
}

/// The texts of a delta.
fn said(delta: &Value) -> impl Iterator<Item = &Value> {
    SAID.into_iter().map(|(key, inner)| inner.map_or(&delta[key], |inner| &delta[key][inner]))
}

fn response(event: &mut Value, visit: &mut Visit<'_>) {
    if let Some(response) = event.get_mut("response") {
        answer(response, &mut |place, text| visit(Spot::Whole(place.writing), text));
    }
}

/// The piece of a text that `event` is, if it is one.
fn delta(event: &mut Value, visit: &mut Visit<'_>) -> bool {
    let kind = event["type"].as_str().unwrap_or_default();
    if !kind.ends_with(".delta") || !event["delta"].is_string() {
        return false;
    }
    let place = |name: &str| event[name].as_u64().unwrap_or(0);
    let key = format!("{kind}/{}/{}", place("content_index"), place("summary_index"));
    let group = place("output_index");
    let writing = if kind.contains("arguments") { Writing::Json } else { Writing::Plain };
    if let Some(Value::String(text)) = event.get_mut("delta") {
        visit(Spot::Piece((group, key), writing), text);
    }
    true
}

fn contents(event: &mut Value, visit: &mut Visit<'_>) {
    for (at, candidate) in list(event, "candidates").iter_mut().enumerate() {
        let group = index(candidate, at);
        rest(candidate, &["content"], visit);
        let Some(content) = candidate.get_mut("content") else { continue };
        rest(content, &["parts"], visit);
        for part in list(content, "parts") {
            let thought = part["thought"].as_bool().unwrap_or(false);
            if let Some(Value::String(text)) = part.get_mut("text") {
                let kind = if thought { "thought" } else { "text" };
                visit(Spot::Piece((group, kind.to_owned()), Writing::Plain), text);
            }
            rest(part, &["text"], visit);
        }
    }
}

/// What is over with `event`.
pub(super) fn over(format: Format, event: &Value) -> Over {
    let kind = event["type"].as_str().unwrap_or_default();
    let ended = |list: &str, reason: &str| {
        let items = event[list].as_array().into_iter().flatten().enumerate();
        let ended = items.filter(|(_, item)| item[reason].is_string()).map(|(at, item)| index(item, at));
        Over::Groups(ended.collect())
    };
    match format {
        Format::Chat | Format::Completions => ended("choices", "finish_reason"),
        Format::Contents => ended("candidates", "finishReason"),
        Format::Messages if kind == "content_block_stop" => Over::Groups(vec![index(event, 0)]),
        Format::Messages if matches!(kind, "message_delta" | "message_stop") => Over::Everything,
        Format::Responses
            if matches!(kind, "response.completed" | "response.incomplete" | "response.failed") =>
        {
            Over::Everything
        }
        Format::Responses if kind.ends_with(".done") => {
            Over::Groups(vec![event["output_index"].as_u64().unwrap_or(0)])
        }
        Format::Converse if !event["messageStop"].is_null() || !event["metadata"].is_null() => {
            Over::Everything
        }
        Format::Converse => {
            Over::Groups(event["contentBlockStop"]["contentBlockIndex"].as_u64().into_iter().collect())
        }
        Format::Messages | Format::Responses => Over::Nothing,
    }
}

/// Whether an event says nothing any more, since all its text is held back.
pub(super) fn is_vacuous(format: Format, event: &Value) -> bool {
    let empty = |value: &Value| value.as_str() == Some("");
    match format {
        Format::Messages => {
            let delta = event["delta"].as_object().filter(|_| event["type"] == "content_block_delta");
            delta.is_some_and(|delta| {
                ["text", "thinking", "partial_json"].iter().any(|key| delta.get(*key).is_some_and(empty))
            })
        }
        Format::Responses => {
            event["type"].as_str().is_some_and(|kind| kind.ends_with(".delta")) && empty(&event["delta"])
        }
        Format::Chat | Format::Completions => {
            let choices =
                event["choices"].as_array().filter(|choices| !choices.is_empty() && event["usage"].is_null());
            choices.is_some_and(|choices| {
                choices.iter().all(|choice| {
                    let delta = choice["delta"].as_object();
                    let silent = delta.is_some_and(|delta| !delta.is_empty() && delta.values().all(empty));
                    choice["finish_reason"].is_null() && (silent || empty(&choice["text"]))
                })
            })
        }
        Format::Contents => {
            let parts = event["candidates"].as_array().into_iter().flatten().map(|candidate| {
                let parts = candidate["content"]["parts"].as_array();
                candidate["finishReason"].is_null()
                    && parts.is_some_and(|parts| {
                        !parts.is_empty()
                            && parts
                                .iter()
                                .all(|part| empty(&part["text"]) && part["thoughtSignature"].is_null())
                    })
            });
            let parts: Vec<bool> = parts.collect();
            !parts.is_empty() && parts.into_iter().all(|silent| silent) && event["usageMetadata"].is_null()
        }
        Format::Converse => said(&event["contentBlockDelta"]["delta"]).any(empty),
    }
}

/// An event with `text` as the next piece of `key`'s text; `like` is one that had such a piece.
pub(super) fn piece(format: Format, like: &Value, key: &Key, text: &str) -> Value {
    let (group, name) = key;
    match format {
        Format::Messages => {
            let kind = match name.as_str() {
                "thinking" => "thinking_delta",
                "partial_json" => "input_json_delta",
                _ => "text_delta",
            };
            json!({"type": "content_block_delta", "index": group, "delta": {"type": kind, name: text}})
        }
        Format::Responses => {
            let mut event = like.clone();
            event["delta"] = text.into();
            event
        }
        Format::Converse => {
            let inner = SAID.iter().find(|(key, _)| key == name).and_then(|(_, inner)| *inner);
            let text = inner.map_or_else(|| text.into(), |inner| json!({ inner: text }));
            json!({"contentBlockDelta": {"contentBlockIndex": group, "delta": {name: text}}})
        }
        Format::Contents => {
            let mut part = json!({ "text": text });
            if name == "thought" {
                part["thought"] = true.into();
            }
            let mut event = head(like, "candidates");
            event["candidates"] = json!([{"content": {"role": "model", "parts": [part]}, "index": group}]);
            event
        }
        Format::Chat | Format::Completions => {
            let choices = like["choices"].as_array().into_iter().flatten().enumerate();
            let choice =
                choices.filter(|(at, choice)| index(choice, *at) == *group).map(|(_, choice)| choice).next();
            let path: Vec<&str> = name.split('/').skip(1).collect();
            let mut choice = alone(choice.unwrap_or(&Value::Null), &path, text);
            choice["index"] = (*group).into();
            choice["finish_reason"] = Value::Null;
            let mut event = head(like, "choices");
            event["choices"] = json!([choice]);
            event
        }
    }
}

/// What is said of the whole answer in `event`, without what is said in it.
pub(super) fn head(event: &Value, list: &str) -> Value {
    let mut head = event.clone();
    if let Some(fields) = head.as_object_mut() {
        fields
            .retain(|key, _| key != list && key != "usage" && key != "usageMetadata" && key != "obfuscation");
    }
    head
}

/// `text` at `path` and nothing else, but for what tells which of several it is.
fn alone(like: &Value, path: &[&str], text: &str) -> Value {
    let Some((first, rest)) = path.split_first() else { return text.into() };
    if let Some(items) = like.as_array() {
        let wanted: u64 = first.parse().unwrap_or(0);
        let item =
            items.iter().enumerate().find(|(at, item)| index(item, *at) == wanted).map(|(_, item)| item);
        return json!([alone(item.unwrap_or(&Value::Null), rest, text)]);
    }
    let mut out = json!({});
    for key in ["type", "index"] {
        if let Some(value) = like.get(key).filter(|value| value.is_string() || value.is_u64()) {
            out[key] = value.clone();
        }
    }
    out[*first] = alone(&like[*first], rest, text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wholes(format: Format, event: &Value) -> Vec<String> {
        let (mut out, mut event) = (Vec::new(), event.clone());
        visit(format, &mut event, &mut |spot, text| {
            if let Spot::Whole(writing) = spot {
                out.push(format!("{writing:?}: {text}"));
            }
        });
        out
    }

    #[test]
    fn what_is_no_piece_is_read_whole() {
        for (format, event, expected) in [
            (
                Format::Contents,
                json!({"candidates": [{"content": {"parts": [{"text": "a"}, {"functionCall": {"name": "f", "args": {"q": 1}}}]},
                    "groundingMetadata": {"webSearchQueries": ["b"]}, "finishMessage": "c"}], "promptFeedback": {"blockReasonMessage": "d"}}),
                &["Plain: d", "Plain: b", "Plain: c", "Json: {\"q\":1}"][..],
            ),
            (
                Format::Responses,
                json!({"type": "response.code_interpreter_call_code.done", "item_id": "i", "code": "a"}),
                &["Plain: a"],
            ),
            (
                Format::Responses,
                json!({"type": "response.shell_call_command.done", "command": "a"}),
                &["Plain: a"],
            ),
            (
                Format::Responses,
                json!({"type": "response.apply_patch_call_operation_diff.done", "diff": "a"}),
                &["Plain: a"],
            ),
            (
                Format::Responses,
                json!({"type": "response.completed", "response": {"instructions": "x", "output": [{"text": "a"}], "error": {"message": "b"}}}),
                &["Plain: a", "Plain: b"],
            ),
            (
                Format::Messages,
                json!({"type": "content_block_start", "content_block": {"type": "tool_use", "id": "i", "name": "f", "input": {"id": "a"}}}),
                &["Json: {\"id\":\"a\"}"],
            ),
            (Format::Chat, json!({"id": "i", "choices": [], "citations": ["a"]}), &["Plain: a"]),
            (
                Format::Chat,
                json!({"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": {"name": "a"}}}]}}]}),
                &["Json: {\"name\":\"a\"}"],
            ),
        ] {
            assert_eq!(wholes(format, &event), expected, "{event}");
        }
    }
}
