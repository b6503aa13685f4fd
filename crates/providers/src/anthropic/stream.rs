//! Messages stream to unified chunks.

use std::collections::HashMap;

use ::wire::Object;
use ::wire::chat::{ChatChunk, ChunkChoice, Delta};
use ::wire::usage::Usage;
use serde_json::{Value, json};

use super::response::{error, finish_reason, usage};
use super::wire::{BlockDelta, MessageDelta, MessageReply, StreamEvent, UsageCounts, part};
use crate::codec::{ChatStream, Malformed, StreamFault};
use crate::unified::{call_arguments, call_opened};

#[derive(Debug, Default)]
pub(super) struct MessagesStream {
    id: String,
    model: String,
    usage: UsageCounts,
    blocks: HashMap<u64, Block>,
    tools: u64,
    finished: bool,
    stopped: bool,
}

/// A content block that is open.
#[derive(Debug)]
enum Block {
    Text,
    Tool { index: u64, input: Value, streamed: bool },
    Thinking { text: String, signature: String },
    Redacted(Value),
    Other,
}

impl ChatStream for MessagesStream {
    fn event(&mut self, name: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
        // What follows the end is not part of the answer.
        if self.stopped {
            return Ok(());
        }
        if name == "error" {
            return Err(StreamFault::Upstream(error(0, data)));
        }
        let event: StreamEvent<'_> = match serde_json::from_slice(data) {
            Ok(event) => event,
            Err(_) if is_noise(name, data) => return Ok(()),
            Err(fault) => return Err(fault.into()),
        };
        match event.kind(name).as_ref() {
            "message_start" => self.start(part(event.message)?, out),
            "content_block_start" => self.open(event.index()?, part(event.content_block)?, out),
            "content_block_delta" => self.delta(event.index()?, part(event.delta)?, out),
            "content_block_stop" => self.close(event.index()?, out),
            "message_delta" => self.message_delta(part(event.delta)?, part(event.usage)?, out),
            "message_stop" => self.stop(out),
            "error" => return Err(StreamFault::Upstream(error(0, data))),
            _ => {}
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        self.stopped
    }

    fn counted(&self) -> Option<Usage> {
        usage(&self.usage)
    }

    fn finish(&mut self, _out: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
        if self.stopped { Ok(()) } else { Err(Malformed("the stream ended before message_stop".to_owned())) }
    }
}

/// Data that is no JSON and need not be: a keep-alive, the terminator of another format that gateways
/// add, or an event of a name we do not know.
fn is_noise(name: &str, data: &[u8]) -> bool {
    let ours = name.is_empty() || name.starts_with("message_") || name.starts_with("content_block_");
    matches!(data.trim_ascii(), b"" | b"[DONE]") || !ours
}

impl MessagesStream {
    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk::of(&self.id, &self.model, choices)
    }

    fn push(&self, delta: Delta, out: &mut Vec<ChatChunk>) {
        out.push(self.chunk(vec![ChunkChoice { delta, ..ChunkChoice::default() }]));
    }

    fn start(&mut self, message: MessageReply, out: &mut Vec<ChatChunk>) {
        self.id = message.id.unwrap_or_default();
        self.model = message.model.unwrap_or_default();
        self.usage.merge(message.usage.unwrap_or_default());
        let delta =
            Delta { role: Some("assistant".to_owned()), content: Some(String::new()), ..Delta::default() };
        self.push(delta, out);
    }

    fn open(&mut self, index: u64, mut block: Value, out: &mut Vec<ChatChunk>) {
        let opened = match block["type"].as_str() {
            Some("text") => {
                self.text(block["text"].as_str().unwrap_or_default().to_owned(), out);
                Block::Text
            }
            Some("tool_use") => self.open_tool(&mut block, out),
            Some("thinking") => {
                let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
                self.reasoning(text("thinking"), out);
                Block::Thinking { text: text("thinking"), signature: text("signature") }
            }
            Some("redacted_thinking") => Block::Redacted(block),
            _ => Block::Other,
        };
        self.blocks.insert(index, opened);
    }

    fn open_tool(&mut self, block: &mut Value, out: &mut Vec<ChatChunk>) -> Block {
        let index = self.tools;
        self.tools += 1;
        let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
        self.push(call_opened(index, text("id"), text("name")), out);
        Block::Tool { index, input: block["input"].take(), streamed: false }
    }

    fn delta(&mut self, index: u64, delta: BlockDelta, out: &mut Vec<ChatChunk>) {
        match (delta, self.blocks.get_mut(&index)) {
            // A text delta needs no block of its own: some gateways leave the start out.
            (BlockDelta::TextDelta { text }, _) => self.text(text, out),
            (BlockDelta::InputJsonDelta { partial_json }, Some(Block::Tool { index, streamed, .. }))
                if !partial_json.is_empty() =>
            {
                *streamed = true;
                let index = *index;
                self.arguments(index, partial_json, out);
            }
            (BlockDelta::ThinkingDelta { thinking }, Some(Block::Thinking { text, .. })) => {
                text.push_str(&thinking);
                self.reasoning(thinking, out);
            }
            (BlockDelta::SignatureDelta { signature: more }, Some(Block::Thinking { signature, .. })) => {
                signature.push_str(&more);
            }
            _ => {}
        }
    }

    fn text(&self, text: String, out: &mut Vec<ChatChunk>) {
        if !text.is_empty() {
            self.push(Delta { content: Some(text), ..Delta::default() }, out);
        }
    }

    fn reasoning(&self, text: String, out: &mut Vec<ChatChunk>) {
        if !text.is_empty() {
            self.push(Delta { reasoning_content: Some(text), ..Delta::default() }, out);
        }
    }

    fn arguments(&self, index: u64, arguments: String, out: &mut Vec<ChatChunk>) {
        self.push(call_arguments(index, arguments), out);
    }

    fn close(&mut self, index: u64, out: &mut Vec<ChatChunk>) {
        let block = match self.blocks.remove(&index) {
            // A call without arguments streams none; the client needs a JSON object all the same.
            Some(Block::Tool { index, input, streamed: false }) => {
                let input = if input.is_object() { input } else { Value::Object(Object::new()) };
                return self.arguments(index, input.to_string(), out);
            }
            Some(Block::Thinking { text, signature }) if !signature.is_empty() => {
                json!({"type": "thinking", "thinking": text, "signature": signature})
            }
            Some(Block::Redacted(block)) => block,
            _ => return,
        };
        self.push(Delta { thinking_blocks: Some(vec![block]), ..Delta::default() }, out);
    }

    fn message_delta(&mut self, delta: MessageDelta, counts: UsageCounts, out: &mut Vec<ChatChunk>) {
        self.usage.merge(delta.usage.unwrap_or_default());
        self.usage.merge(counts);
        if delta.stop_reason.is_some() {
            self.end(delta.stop_reason.as_deref(), out);
        }
    }

    /// Says why the answer ended, once; a block that was left open is closed first.
    fn end(&mut self, reason: Option<&str>, out: &mut Vec<ChatChunk>) {
        if self.finished {
            return;
        }
        self.finished = true;
        let mut open: Vec<u64> = self.blocks.keys().copied().collect();
        open.sort_unstable();
        open.into_iter().for_each(|index| self.close(index, out));
        let finish = Some(finish_reason(reason, self.tools > 0).to_owned());
        out.push(self.chunk(vec![ChunkChoice { finish_reason: finish, ..ChunkChoice::default() }]));
    }

    fn stop(&mut self, out: &mut Vec<ChatChunk>) {
        self.end(None, out);
        self.stopped = true;
        if let Some(usage) = usage(&self.usage) {
            out.push(ChatChunk { usage: Some(usage), ..self.chunk(Vec::new()) });
        }
    }
}
