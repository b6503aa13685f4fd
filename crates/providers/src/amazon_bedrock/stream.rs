//! The state of one ConverseStream answer: events to chunks.

use std::collections::HashMap;

use ::wire::chat::{ChatChunk, ChunkChoice, Delta};
use serde::Deserialize;
use serde_json::{Value, json};

use super::response::{Counts, error, exception_status, finish_reason, usage};
use crate::codec::{ChatStream, Malformed, StreamFault};
use crate::unified::{call_arguments, call_opened};

#[derive(Debug, Default)]
pub(super) struct ConverseStream {
    blocks: HashMap<u64, Block>,
    tools: u64,
    /// Why the answer ended, once that is told; the usage comes after it.
    stopped: Option<Option<String>>,
    /// The finish reason is with the client.
    finished: bool,
    ended: bool,
}

#[derive(Debug)]
enum Block {
    Tool { index: u64, streamed: bool },
    Thought { text: String, signature: String, redacted: String },
}

/// The parts of all events: which are there depends on the event.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    content_block_index: Option<u64>,
    start: Option<Start>,
    delta: Option<BlockDelta>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    tool_use: Option<ToolStart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolStart {
    tool_use_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta {
    text: Option<String>,
    tool_use: Option<ToolInput>,
    reasoning_content: Option<Thought>,
}

#[derive(Deserialize)]
struct ToolInput {
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thought {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

impl ChatStream for ConverseStream {
    fn event(&mut self, name: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
        if let Some(exception) = name.strip_prefix("exception:") {
            return Err(StreamFault::Upstream(error(exception_status(exception), data)));
        }
        if name.starts_with("error:") {
            return Err(StreamFault::Upstream(error(0, data)));
        }
        match name {
            "messageStart" => {
                let role = Some("assistant".to_owned());
                push(Delta { role, content: Some(String::new()), ..Delta::default() }, out);
            }
            "contentBlockStart" => {
                let parts = read(data)?;
                if let Some(tool) = parts.start.and_then(|s| s.tool_use) {
                    self.open_tool(parts.content_block_index.unwrap_or_default(), tool, out);
                }
            }
            "contentBlockDelta" => {
                let parts = read(data)?;
                if let Some(delta) = parts.delta {
                    self.delta(parts.content_block_index.unwrap_or_default(), delta, out);
                }
            }
            "contentBlockStop" => self.close(read(data)?.content_block_index.unwrap_or_default(), out),
            "messageStop" => self.stopped = Some(read(data)?.stop_reason),
            "metadata" => {
                let counts = read(data)?.usage;
                self.end(out);
                out.extend(
                    counts.and_then(usage).map(|usage| ChatChunk { usage: Some(usage), ..chunk(Vec::new()) }),
                );
                self.ended = self.stopped.is_some();
            }
            _ => {}
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn finish(&mut self, out: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
        if self.stopped.is_none() {
            return Err(Malformed("the stream ended before messageStop".to_owned()));
        }
        self.end(out);
        Ok(())
    }
}

fn read(data: &[u8]) -> Result<Parts, Malformed> {
    Ok(serde_json::from_slice(data)?)
}

fn chunk(choices: Vec<ChunkChoice>) -> ChatChunk {
    ChatChunk::of("", "", choices)
}

fn push(delta: Delta, out: &mut Vec<ChatChunk>) {
    out.push(chunk(vec![ChunkChoice { delta, ..ChunkChoice::default() }]));
}

impl ConverseStream {
    fn open_tool(&mut self, block: u64, tool: ToolStart, out: &mut Vec<ChatChunk>) {
        let index = self.tools;
        self.tools += 1;
        push(call_opened(index, tool.tool_use_id, tool.name), out);
        self.blocks.insert(block, Block::Tool { index, streamed: false });
    }

    fn delta(&mut self, block: u64, delta: BlockDelta, out: &mut Vec<ChatChunk>) {
        if let Some(text) = delta.text.filter(|t| !t.is_empty()) {
            push(Delta { content: Some(text), ..Delta::default() }, out);
        }
        if let (Some(input), Some(Block::Tool { index, streamed })) =
            (delta.tool_use.filter(|t| !t.input.is_empty()), self.blocks.get_mut(&block))
        {
            *streamed = true;
            push(call_arguments(*index, input.input), out);
        }
        if let Some(thought) = delta.reasoning_content {
            self.think(block, thought, out);
        }
    }

    fn think(&mut self, block: u64, thought: Thought, out: &mut Vec<ChatChunk>) {
        let fresh =
            || Block::Thought { text: String::new(), signature: String::new(), redacted: String::new() };
        let Block::Thought { text, signature, redacted } = self.blocks.entry(block).or_insert_with(fresh)
        else {
            return;
        };
        signature.push_str(thought.signature.as_deref().unwrap_or_default());
        redacted.push_str(thought.redacted_content.as_deref().unwrap_or_default());
        if let Some(piece) = thought.text.filter(|t| !t.is_empty()) {
            text.push_str(&piece);
            push(Delta { reasoning_content: Some(piece), ..Delta::default() }, out);
        }
    }

    fn close(&mut self, block: u64, out: &mut Vec<ChatChunk>) {
        let block = match self.blocks.remove(&block) {
            // A call without arguments streams none; the client needs a JSON object all the same.
            Some(Block::Tool { index, streamed: false }) => {
                return push(call_arguments(index, "{}".to_owned()), out);
            }
            Some(Block::Thought { redacted, .. }) if !redacted.is_empty() => {
                json!({"type": "redacted_thinking", "data": redacted})
            }
            Some(Block::Thought { text, signature, .. }) if !signature.is_empty() => {
                json!({"type": "thinking", "thinking": text, "signature": signature})
            }
            _ => return,
        };
        push(Delta { thinking_blocks: Some(vec![Value::clone(&block)]), ..Delta::default() }, out);
    }

    /// Says why the answer ended, once; a block that was left open is closed first.
    fn end(&mut self, out: &mut Vec<ChatChunk>) {
        let Some(reason) = self.stopped.clone().filter(|_| !self.finished) else { return };
        self.finished = true;
        let mut open: Vec<u64> = self.blocks.keys().copied().collect();
        open.sort_unstable();
        open.into_iter().for_each(|block| self.close(block, out));
        let finish = Some(finish_reason(reason.as_deref(), self.tools > 0).to_owned());
        out.push(chunk(vec![ChunkChoice { finish_reason: finish, ..ChunkChoice::default() }]));
    }
}
