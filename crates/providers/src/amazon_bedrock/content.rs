//! Messages and their parts: unified to Converse's content blocks.

use std::collections::{HashMap, HashSet};

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
    /// The names of documents that are taken.
    documents: HashSet<String>,
    /// How many names were made of a base, so that many alike do not cost their square.
    made: HashMap<String, usize>,
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
                "system" | "developer" => {
                    let blocks = conversation.system_blocks(&path, message)?;
                    conversation.system.extend(blocks);
                }
                "user" => {
                    let blocks = conversation.blocks(&path, message)?;
                    conversation.push("user", blocks);
                }
                "assistant" => {
                    let blocks = conversation.assistant_blocks(&path, message, names)?;
                    conversation.push("assistant", blocks);
                }
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

    /// The tools that were called: they must be declared whenever a call is in the history.
    pub(super) fn called(&self) -> Vec<&str> {
        let blocks = self.turns.iter().flat_map(|t| &t.blocks);
        let mut names: Vec<&str> = blocks.filter_map(|b| b.get("toolUse")?.get("name")?.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
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
        let ids =
            |kind: &'static str| blocks.iter().filter_map(move |b| b.get(kind)?.get("toolUseId")?.as_str());
        if role == "assistant" {
            if self.turns.last().is_none_or(|turn| turn.role != role) {
                self.awaited.clear();
            }
            self.awaited.extend(ids("toolUse").map(str::to_owned));
        } else {
            for id in ids("toolResult") {
                self.awaited.remove(id);
            }
        }
    }

    fn system_blocks(&mut self, path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
        let blocks = self.blocks(path, message)?;
        if blocks.iter().any(|b| b.get("text").is_none() && b.get("cachePoint").is_none()) {
            return Err(Refused::new(format!("{path}.content"), "a system message of this provider is text"));
        }
        Ok(blocks)
    }

    fn assistant_blocks(
        &mut self,
        path: &str,
        message: &Message,
        names: &mut Names,
    ) -> Result<Vec<Value>, Refused> {
        // Signed reasoning goes back unchanged and first; unsigned reasoning would be refused.
        let mut blocks: Vec<Value> =
            message.thinking_blocks.iter().flatten().filter_map(reasoning_block).collect();
        blocks.extend(self.parts(path, message)?);
        if let Some(refusal) = message.refusal.as_deref().filter(|r| !r.trim().is_empty()) {
            blocks.push(json!({ "text": refusal }));
        }
        for (at, call) in message.tool_calls.iter().flatten().enumerate() {
            blocks.push(tool_use(&format!("{path}.tool_calls[{at}]"), call, names)?);
        }
        blocks.extend(message.extra.get("cache_control").map(cache_point));
        Ok(blocks)
    }

    /// A result goes to the call of the turn before; one that answers no call becomes text, which loses
    /// nothing and is not refused upstream.
    fn tool_result(&mut self, path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
        let id = sent_id(message.tool_call_id.as_deref().unwrap_or_default());
        let mut content = self.parts(path, message)?;
        let point = content.iter().position(|b| b.get("cachePoint").is_some()).map(|at| content.remove(at));
        content.retain(|b| b.get("cachePoint").is_none());
        let mut blocks = if self.awaited.contains(&id) {
            if content.is_empty() {
                content.push(json!({ "json": {} }));
            }
            let mut result = json!({"toolUseId": id, "content": content});
            if message.extra.get("is_error").is_some_and(|e| e == true) {
                result["status"] = "error".into();
            }
            vec![json!({ "toolResult": result })]
        } else {
            let text = message.content.as_ref().map(Content::text).unwrap_or_default();
            let mut blocks = vec![json!({ "text": format!("[tool result {id}] {text}") })];
            blocks.extend(content.into_iter().filter(|b| b.get("text").is_none()));
            blocks
        };
        let marked = message.extra.get("cache_control").map(cache_point);
        blocks.extend(point.or(marked));
        Ok(blocks)
    }

    fn blocks(&mut self, path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
        let mut blocks = self.parts(path, message)?;
        blocks.extend(message.extra.get("cache_control").map(cache_point));
        Ok(blocks)
    }

    /// The parts of a message as blocks, each followed by its cache point; blank text, which the API
    /// refuses, is left out.
    fn parts(&mut self, path: &str, message: &Message) -> Result<Vec<Value>, Refused> {
        Ok(match &message.content {
            None => Vec::new(),
            Some(Content::Text(text)) if text.trim().is_empty() => Vec::new(),
            Some(Content::Text(text)) => vec![json!({ "text": text })],
            Some(Content::Parts(parts)) => {
                let mut blocks = Vec::with_capacity(parts.len());
                for (at, part) in parts.iter().enumerate() {
                    if let Some(block) = self.part(&format!("{path}.content[{at}]"), part)? {
                        blocks.push(block);
                        blocks.extend(part.cache_control.as_ref().map(cache_point));
                    }
                }
                blocks
            }
        })
    }

    fn part(&mut self, path: &str, part: &Part) -> Result<Option<Value>, Refused> {
        match part.kind.as_str() {
            "text" | "input_text" | "output_text" | "refusal" => {
                let text = part.text.as_deref().or_else(|| part.extra.get("refusal").and_then(Value::as_str));
                Ok(text.filter(|t| !t.trim().is_empty()).map(|text| json!({ "text": text })))
            }
            "image_url" => image(path, part).map(Some),
            "file" => self.document(path, part).map(Some),
            "input_audio" => audio(path, part).map(Some),
            // The reasoning part of Databricks' endpoints has no place here without its signature.
            "reasoning" => Ok(signed_reasoning(part)),
            other => Err(Refused::new(
                format!("{path}.type"),
                format!("{other:?} is none of text, image_url, file, input_audio, which this provider takes"),
            )),
        }
    }

    fn document(&mut self, path: &str, part: &Part) -> Result<Value, Refused> {
        let file = part.extra.get("file").unwrap_or(&Value::Null);
        let Some((media_type, data)) = file["file_data"].as_str().and_then(data_url) else {
            return Err(Refused::new(format!("{path}.file"), "must carry file_data as a base64 data URL"));
        };
        let name = file["filename"].as_str().unwrap_or("document");
        let Some(format) = document_format(media_type, name) else {
            let reason = format!(
                "{media_type:?} is no document of this provider: pdf, csv, doc, docx, xls, xlsx, html, txt, md"
            );
            return Err(Refused::new(format!("{path}.file.file_data"), reason));
        };
        Ok(
            json!({"document": {"format": format, "name": self.document_name(name), "source": {"bytes": data}}}),
        )
    }

    /// Letters, digits, single spaces, hyphens, parentheses and brackets, at most 200, and once only.
    fn document_name(&mut self, filename: &str) -> String {
        let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
        let legal = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
        let words: String = stem.chars().map(legal).take(190).collect();
        let base = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let base = if base.is_empty() { "document".to_owned() } else { base };
        let count = self.made.entry(base.clone()).or_insert(0);
        loop {
            *count += 1;
            let name = if *count == 1 { base.clone() } else { format!("{base} ({count})") };
            if self.documents.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Results come first in their turn; a document needs a text beside it; the last assistant text must not
    /// end in white space.
    fn tidy(&mut self) {
        for turn in self.turns.iter_mut().filter(|t| t.role == "user") {
            if turn.blocks.iter().any(|b| b.get("toolResult").is_some()) {
                turn.blocks = results_first(std::mem::take(&mut turn.blocks));
            }
            let name =
                turn.blocks.iter().find_map(|b| b.get("document")?["name"].as_str().map(str::to_owned));
            let texts = turn.blocks.iter().any(|b| b.get("text").is_some());
            if let Some(name) = name.filter(|_| !texts) {
                turn.blocks.insert(0, json!({ "text": name }));
            }
        }
        let Some(last) = self.turns.last_mut().filter(|t| t.role == "assistant") else { return };
        if let Some(Value::String(text)) = last.blocks.last_mut().and_then(|b| b.get_mut("text")) {
            text.truncate(text.trim_end().len());
        }
        last.blocks.retain(|b| b.get("text").is_none_or(|t| t != ""));
        self.turns.retain(|t| !t.blocks.is_empty());
    }
}

/// A cache point stays behind the block that it follows.
fn results_first(blocks: Vec<Value>) -> Vec<Value> {
    let (mut results, mut others) = (Vec::new(), Vec::new());
    let mut after_result = false;
    for block in blocks {
        if block.get("cachePoint").is_none() {
            after_result = block.get("toolResult").is_some();
        }
        if after_result { results.push(block) } else { others.push(block) }
    }
    results.extend(others);
    results
}

fn tool_use(path: &str, call: &ToolCall, names: &mut Names) -> Result<Value, Refused> {
    let input = arguments(path, call)?;
    let name = sent_name(names, &call.function.name);
    Ok(json!({"toolUse": {"toolUseId": sent_id(&call.id), "name": name, "input": input}}))
}

/// Ids of other providers hold characters that the API refuses, and may be longer than its 64.
fn sent_id(id: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "_.:-".contains(c) { c } else { '_' };
    let id: String = id.chars().map(legal).collect();
    // The end of a long id tells it from others.
    let from = id.len().saturating_sub(64);
    if id.is_empty() { "call".to_owned() } else { id[from..].to_owned() }
}

fn cache_point(marker: &Value) -> Value {
    match marker["ttl"].as_str() {
        Some(ttl) => json!({"cachePoint": {"type": "default", "ttl": ttl}}),
        None => json!({"cachePoint": {"type": "default"}}),
    }
}

/// A block that a turn before carried, as the API takes it back; `None` where it is not signed.
fn reasoning_block(block: &Value) -> Option<Value> {
    if block["type"] == "redacted_thinking" {
        return Some(json!({"reasoningContent": {"redactedContent": block["data"].as_str()?}}));
    }
    let signature = block["signature"].as_str().filter(|s| !s.is_empty())?;
    let text = block["thinking"].as_str()?;
    Some(json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}))
}

fn signed_reasoning(part: &Part) -> Option<Value> {
    let summary = part.extra.get("summary")?.as_array()?.first()?;
    reasoning_block(
        &json!({"type": "thinking", "thinking": summary["text"], "signature": summary["signature"]}),
    )
}

fn image(path: &str, part: &Part) -> Result<Value, Refused> {
    let url = part.image_url.as_ref().map(|i| i.url.as_str()).unwrap_or_default();
    let Some((media_type, data)) = data_url(url) else {
        let reason = "must be a base64 data URL: this provider fetches no images";
        return Err(Refused::new(format!("{path}.image_url.url"), reason));
    };
    let format = match media_type {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        other => {
            let reason = format!("{other:?} is none of png, jpeg, gif, webp");
            return Err(Refused::new(format!("{path}.image_url.url"), reason));
        }
    };
    Ok(json!({"image": {"format": format, "source": {"bytes": data}}}))
}

fn audio(path: &str, part: &Part) -> Result<Value, Refused> {
    let audio = part.extra.get("input_audio").unwrap_or(&Value::Null);
    let (Some(data), Some(format)) = (audio["data"].as_str(), audio["format"].as_str()) else {
        return Err(Refused::new(format!("{path}.input_audio"), "must have data and format"));
    };
    Ok(json!({"audio": {"format": format, "source": {"bytes": data}}}))
}

fn document_format(media_type: &str, filename: &str) -> Option<&'static str> {
    const FORMATS: [(&str, &str); 9] = [
        ("pdf", "application/pdf"),
        ("csv", "text/csv"),
        ("doc", "application/msword"),
        ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("xls", "application/vnd.ms-excel"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("html", "text/html"),
        ("txt", "text/plain"),
        ("md", "text/markdown"),
    ];
    let extension = filename.rsplit_once('.').map(|(_, end)| end.to_lowercase()).unwrap_or_default();
    // Markdown and tables often come as plain text: the name knows better.
    let by_name = FORMATS.iter().find(|(format, _)| *format == extension && media_type.starts_with("text/"));
    let by_type = FORMATS.iter().find(|(_, kind)| *kind == media_type);
    by_name.or(by_type).map(|(format, _)| *format)
}
