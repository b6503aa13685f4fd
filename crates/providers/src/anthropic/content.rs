//! Messages and their parts: unified to content blocks.

use std::collections::HashSet;

use ::wire::chat::{Content, Message, Part, ToolCall};
use serde_json::{Value, json};

use super::tools::sent_name;
use crate::codec::Refused;
use crate::names::Names;
use crate::unified::{arguments, data_url};

/// The system prompt and the alternating turns.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: Vec<Value>,
    pub(super) turns: Vec<Turn>,
    /// The calls of the last assistant turn that have no result yet.
    awaited: HashSet<String>,
}

#[derive(Debug)]
pub(super) struct Turn {
    pub(super) role: &'static str,
    pub(super) blocks: Vec<Value>,
}

impl Conversation {
    pub(super) fn read(messages: &[Message], names: &mut Names) -> Result<Self, Refused> {
        let mut conversation = Self::default();
        for (at, message) in messages.iter().enumerate() {
            let path = format!("messages[{at}]");
            match message.role.as_str() {
                "system" | "developer" => conversation.system.extend(system_blocks(&path, message)?),
                "user" => conversation.push("user", content_blocks(&path, message)?),
                "assistant" => conversation.push("assistant", assistant_blocks(&path, message, names)?),
                "tool" | "function" => {
                    let blocks = conversation.tool_result(&path, message)?;
                    conversation.push("user", blocks);
                }
                other => {
                    let reason = format!("{other:?} is none of system, developer, user, assistant, tool");
                    return Err(Refused::new(format!("{path}.role"), reason));
                }
            }
        }
        conversation.tidy();
        Ok(conversation)
    }

    /// Neighbours of one role are one turn: the API wants them to alternate.
    fn push(&mut self, role: &'static str, blocks: Vec<Value>) {
        if blocks.is_empty() {
            return;
        }
        self.await_results(role, &blocks);
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.blocks.extend(blocks),
            _ => self.turns.push(Turn { role, blocks }),
        }
    }

    /// Keeps the calls that are awaited: what is pushed may make some and answer some.
    fn await_results(&mut self, role: &str, blocks: &[Value]) {
        let ids = |kind: &'static str, id: &'static str| {
            blocks.iter().filter(move |b| b["type"] == kind).filter_map(move |b| b[id].as_str())
        };
        if role == "assistant" {
            if self.turns.last().is_none_or(|turn| turn.role != role) {
                self.awaited.clear();
            }
            self.awaited.extend(ids("tool_use", "id").map(str::to_owned));
        } else {
            for id in ids("tool_result", "tool_use_id") {
                self.awaited.remove(id);
            }
        }
    }

    /// A result goes to the call of the turn before; one that answers no call becomes text, which loses
    /// nothing and is not refused upstream.
    fn tool_result(&self, path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
        let id = sent_id(message.tool_call_id.as_deref().unwrap_or_default());
        let content = parts(path, message)?;
        let mut blocks = if self.awaited.contains(&id) {
            let mut block = json!({"type": "tool_result", "tool_use_id": id});
            match content.as_slice() {
                [] => {}
                [only] if only["type"] == "text" && only.get("cache_control").is_none() => {
                    block["content"] = only["text"].clone();
                }
                _ => block["content"] = Value::Array(content),
            }
            if message.extra.get("is_error").is_some_and(|e| e == true) {
                block["is_error"] = true.into();
            }
            vec![block]
        } else {
            let text = message.content.as_ref().map(Content::text).unwrap_or_default();
            let mut blocks = vec![json!({"type": "text", "text": format!("[tool result {id}] {text}")})];
            blocks.extend(content.into_iter().filter(|b| b["type"] != "text"));
            blocks
        };
        mark(message, &mut blocks);
        Ok(blocks)
    }

    /// Results come first in their turn; the last assistant text must not end in white space.
    fn tidy(&mut self) {
        for turn in self.turns.iter_mut().filter(|t| t.role == "user") {
            turn.blocks.sort_by_key(|block| block["type"] != "tool_result");
        }
        let Some(last) = self.turns.last_mut().filter(|t| t.role == "assistant") else { return };
        let Some(block) = last.blocks.last_mut().filter(|b| b["type"] == "text") else { return };
        let trimmed = block["text"].as_str().unwrap_or_default().trim_end().to_owned();
        if trimmed.is_empty() {
            last.blocks.pop();
        } else {
            block["text"] = trimmed.into();
        }
        self.turns.retain(|t| !t.blocks.is_empty());
    }
}

fn assistant_blocks(path: &str, message: &Message, names: &mut Names) -> Result<Vec<Value>, Refused> {
    // Signed reasoning goes back unchanged and first; unsigned reasoning would be refused.
    let mut blocks: Vec<Value> =
        message.thinking_blocks.iter().flatten().filter(|b| is_replayable(b)).cloned().collect();
    blocks.extend(parts(path, message)?);
    if let Some(refusal) = message.refusal.as_deref().filter(|r| !r.is_empty()) {
        blocks.push(json!({"type": "text", "text": refusal}));
    }
    for (at, call) in message.tool_calls.iter().flatten().enumerate() {
        blocks.push(tool_use(&format!("{path}.tool_calls[{at}]"), call, names)?);
    }
    mark(message, &mut blocks);
    Ok(blocks)
}

fn is_replayable(block: &Value) -> bool {
    let signed = block["signature"].as_str().is_some_and(|s| !s.is_empty());
    (block["type"] == "thinking" && signed) || block["type"] == "redacted_thinking"
}

fn tool_use(path: &str, call: &ToolCall, names: &mut Names) -> Result<Value, Refused> {
    let input = arguments(path, call)?;
    let name = sent_name(names, &call.function.name);
    Ok(json!({"type": "tool_use", "id": sent_id(&call.id), "name": name, "input": input}))
}

/// Ids of other providers (`functions.search:0`) hold characters that the API refuses.
fn sent_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn system_blocks(path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
    let blocks = content_blocks(path, message)?;
    if blocks.iter().any(|b| b["type"] != "text") {
        return Err(Refused::new(format!("{path}.content"), "a system message of this provider is text"));
    }
    Ok(blocks)
}

fn content_blocks(path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
    let mut blocks = parts(path, message)?;
    mark(message, &mut blocks);
    Ok(blocks)
}

/// Puts the cache marker of a message on its last block that can carry one.
fn mark(message: &Message, blocks: &mut [Value]) {
    let Some(cache) = message.extra.get("cache_control") else { return };
    let takes = |b: &&mut Value| b["type"] != "thinking" && b["type"] != "redacted_thinking";
    if let Some(last) = blocks.iter_mut().rev().find(takes) {
        last["cache_control"] = cache.clone();
    }
}

/// The parts of a message as blocks; blank text, which the API refuses, is left out.
fn parts(path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
    Ok(match &message.content {
        None => Vec::new(),
        Some(Content::Text(text)) if text.trim().is_empty() => Vec::new(),
        Some(Content::Text(text)) => vec![json!({"type": "text", "text": text})],
        Some(Content::Parts(parts)) => {
            let mut blocks = Vec::with_capacity(parts.len());
            for (at, part) in parts.iter().enumerate() {
                blocks.extend(part_block(&format!("{path}.content[{at}]"), part)?);
            }
            blocks
        }
    })
}

fn part_block(path: &str, part: &Part) -> Result<Option<Value>, Refused> {
    let mut block = match part.kind.as_str() {
        "text" | "input_text" | "output_text" | "refusal" => {
            let text = part.text.as_deref().or_else(|| part.extra.get("refusal").and_then(Value::as_str));
            let Some(text) = text.filter(|t| !t.trim().is_empty()) else { return Ok(None) };
            json!({"type": "text", "text": text})
        }
        "image_url" => image(path, part)?,
        "file" => file(path, part)?,
        "reasoning" => return Ok(signed_reasoning(part)),
        "input_audio" => return Err(Refused::new(path, "this provider takes no audio")),
        // A block of the API's own (document, search_result, …) goes as it came.
        _ => serde_json::to_value(part).map_err(|e| Refused::new(path, e.to_string()))?,
    };
    if let Some(cache) = &part.cache_control {
        block["cache_control"] = cache.clone();
    }
    Ok(Some(block))
}

fn image(path: &str, part: &Part) -> Result<Value, Refused> {
    let url = part.image_url.as_ref().map(|i| i.url.as_str()).unwrap_or_default();
    if let Some((media_type, data)) = data_url(url) {
        // image/jpg is a common misspelling that the API refuses.
        let media_type = if media_type == "image/jpg" { "image/jpeg" } else { media_type };
        return Ok(
            json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}),
        );
    }
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(json!({"type": "image", "source": {"type": "url", "url": url}}));
    }
    Err(Refused::new(format!("{path}.image_url.url"), "must be an https URL or a base64 data URL"))
}

fn file(path: &str, part: &Part) -> Result<Value, Refused> {
    let file = part.extra.get("file").unwrap_or(&Value::Null);
    let data = file["file_data"].as_str().and_then(data_url);
    let Some((media_type, data)) = data else {
        return Err(Refused::new(format!("{path}.file"), "must carry file_data as a base64 data URL"));
    };
    let source = json!({"type": "base64", "media_type": media_type, "data": data});
    let mut block = json!({"type": "document", "source": source});
    if let Some(name) = file["filename"].as_str() {
        block["title"] = name.into();
    }
    Ok(block)
}

/// The reasoning part of Databricks' Claude endpoints, when it is signed.
fn signed_reasoning(part: &Part) -> Option<Value> {
    let summary = part.extra.get("summary")?.as_array()?.first()?;
    let signature = summary.get("signature")?.as_str().filter(|s| !s.is_empty())?;
    Some(json!({"type": "thinking", "thinking": summary["text"], "signature": signature}))
}
