//! Messages stream to unified chunks.

use std::collections::HashMap;

use ::wire::Object;
use ::wire::chat::{ChatChunk, ChunkChoice, Delta, FunctionDelta, ToolCallDelta};
use serde_json::{Value, json};

use super::response::{error, finish_reason, usage};
use super::wire::{BlockDelta, MessageDelta, MessageReply, StreamEvent, UsageCounts};
use crate::codec::{ChatStream, Malformed, StreamFault};

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
        if name == "error" {
            return Err(StreamFault::Upstream(error(0, data)));
        }
        match serde_json::from_slice(data)? {
            StreamEvent::MessageStart { message } => self.start(message, out),
            StreamEvent::ContentBlockStart { index, content_block } => self.open(index, content_block, out),
            StreamEvent::ContentBlockDelta { index, delta } => self.delta(index, delta, out),
            StreamEvent::ContentBlockStop { index } => self.close(index, out),
            StreamEvent::MessageDelta { delta, usage } => self.message_delta(delta, usage, out),
            StreamEvent::MessageStop => self.stop(out),
            StreamEvent::Error => return Err(StreamFault::Upstream(error(0, data))),
            StreamEvent::Unknown => {}
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
        if self.stopped { Ok(()) } else { Err(Malformed("the stream ended before message_stop".to_owned())) }
    }
}

impl MessagesStream {
    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            model: self.model.clone(),
            choices,
            ..ChatChunk::default()
        }
    }

    fn push(&self, delta: Delta, out: &mut Vec<ChatChunk>) {
        out.push(self.chunk(vec![ChunkChoice { delta, ..ChunkChoice::default() }]));
    }

    fn start(&mut self, message: MessageReply, out: &mut Vec<ChatChunk>) {
        self.id = message.id;
        self.model = message.model;
        self.usage.merge(message.usage);
        let delta =
            Delta { role: Some("assistant".to_owned()), content: Some(String::new()), ..Delta::default() };
        self.push(delta, out);
    }

    fn open(&mut self, index: u64, mut block: Value, out: &mut Vec<ChatChunk>) {
        let opened = match block["type"].as_str() {
            Some("text") => {
                let text = block["text"].as_str().unwrap_or_default();
                if !text.is_empty() {
                    self.push(Delta { content: Some(text.to_owned()), ..Delta::default() }, out);
                }
                Block::Text
            }
            Some("tool_use") => self.open_tool(&mut block, out),
            Some("thinking") => Block::Thinking { text: String::new(), signature: String::new() },
            Some("redacted_thinking") => Block::Redacted(block),
            _ => Block::Other,
        };
        self.blocks.insert(index, opened);
    }

    fn open_tool(&mut self, block: &mut Value, out: &mut Vec<ChatChunk>) -> Block {
        let index = self.tools;
        self.tools += 1;
        let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
        let function = FunctionDelta {
            name: Some(text("name")),
            arguments: Some(String::new()),
            ..FunctionDelta::default()
        };
        let call = ToolCallDelta {
            index,
            id: Some(text("id")),
            kind: Some("function".to_owned()),
            function: Some(function),
            ..ToolCallDelta::default()
        };
        self.push(Delta { tool_calls: Some(vec![call]), ..Delta::default() }, out);
        Block::Tool { index, input: block["input"].take(), streamed: false }
    }

    fn delta(&mut self, index: u64, delta: BlockDelta, out: &mut Vec<ChatChunk>) {
        match (delta, self.blocks.get_mut(&index)) {
            // A text delta needs no block of its own: some gateways leave the start out.
            (BlockDelta::TextDelta { text }, _) if !text.is_empty() => {
                self.push(Delta { content: Some(text), ..Delta::default() }, out);
            }
            (BlockDelta::InputJsonDelta { partial_json }, Some(Block::Tool { index, streamed, .. }))
                if !partial_json.is_empty() =>
            {
                *streamed = true;
                let index = *index;
                self.arguments(index, partial_json, out);
            }
            (BlockDelta::ThinkingDelta { thinking }, Some(Block::Thinking { text, .. })) => {
                text.push_str(&thinking);
                self.push(Delta { reasoning_content: Some(thinking), ..Delta::default() }, out);
            }
            (BlockDelta::SignatureDelta { signature: more }, Some(Block::Thinking { signature, .. })) => {
                signature.push_str(&more);
            }
            _ => {}
        }
    }

    fn arguments(&self, index: u64, arguments: String, out: &mut Vec<ChatChunk>) {
        let function = FunctionDelta { arguments: Some(arguments), ..FunctionDelta::default() };
        let call = ToolCallDelta { index, function: Some(function), ..ToolCallDelta::default() };
        self.push(Delta { tool_calls: Some(vec![call]), ..Delta::default() }, out);
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
        self.usage.merge(counts);
        let Some(reason) = delta.stop_reason.filter(|_| !self.finished) else { return };
        self.finished = true;
        let finish = Some(finish_reason(&reason).to_owned());
        out.push(self.chunk(vec![ChunkChoice { finish_reason: finish, ..ChunkChoice::default() }]));
    }

    fn stop(&mut self, out: &mut Vec<ChatChunk>) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        if !self.finished {
            let finish = Some("stop".to_owned());
            out.push(self.chunk(vec![ChunkChoice { finish_reason: finish, ..ChunkChoice::default() }]));
        }
        out.push(ChatChunk { usage: Some(usage(&self.usage)), ..self.chunk(Vec::new()) });
    }
}
