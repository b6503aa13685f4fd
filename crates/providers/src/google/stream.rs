//! A stream to unified chunks. Each event is a whole reply with what is new in it.

use std::collections::BTreeMap;

use ::wire::chat::{ChatChunk, ChunkChoice, Delta, FunctionDelta, ToolCall, ToolCallDelta};
use ::wire::usage::Usage;
use serde_json::Value;

use super::calls::tool_call;
use super::response::{error, finish_reason, image, logprobs, refusal, signature_block, thinking_block};
use super::usage::usage;
use super::wire::{Candidate, Counts, Part, Reply};
use crate::codec::{ChatStream, Malformed, StreamFault};

#[derive(Debug, Default)]
pub(super) struct GeminiStream {
    id: String,
    model: String,
    usage: Counts,
    candidates: BTreeMap<u64, State>,
    blocked: bool,
}

/// One candidate.
#[derive(Debug, Default)]
struct State {
    calls: u64,
    /// Thoughts whose block has not been told.
    thoughts: String,
    finish: Option<String>,
}

impl ChatStream for GeminiStream {
    fn event(&mut self, _name: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
        match data.trim_ascii() {
            b"" | b"[DONE]" => return Ok(()),
            // An error that came with status 200 may be in a list.
            [b'[', ..] => return Err(StreamFault::Upstream(error(0, data))),
            _ => {}
        }
        let reply: Reply = serde_json::from_slice(data)?;
        if reply.error.is_some() {
            return Err(StreamFault::Upstream(error(0, data)));
        }
        if self.id.is_empty() {
            self.id = reply.response_id.unwrap_or_default();
        }
        if self.model.is_empty() {
            self.model = reply.model_version.unwrap_or_default();
        }
        // Cumulative: the last one counts.
        if let Some(counts) = reply.usage_metadata {
            self.usage = counts;
        }
        for (at, candidate) in (0..).zip(reply.candidates.unwrap_or_default()) {
            self.candidate(at, candidate, out);
        }
        if let Some(refusal) = refusal(reply.prompt_feedback)
            && self.candidates.is_empty()
            && !std::mem::replace(&mut self.blocked, true)
        {
            let delta =
                Delta { role: Some("assistant".to_owned()), refusal: Some(refusal), ..Delta::default() };
            out.push(self.chunk(vec![ChunkChoice { delta, ..ChunkChoice::default() }]));
        }
        Ok(())
    }

    fn counted(&self) -> Option<Usage> {
        usage(&self.usage)
    }

    /// The format has no terminator: the reason to finish, which may come before the last part, is told
    /// when the upstream closes.
    fn finish(&mut self, out: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
        let unfinished = self.candidates.values().any(|state| state.finish.is_none());
        if unfinished || (self.candidates.is_empty() && !self.blocked) {
            return Err(Malformed("the stream ended before a finish reason".to_owned()));
        }
        for (index, state) in std::mem::take(&mut self.candidates) {
            self.tell_thoughts(index, &state.thoughts, out);
            let reason = finish_reason(state.finish.as_deref(), state.calls > 0);
            self.end(index, reason, out);
        }
        if std::mem::take(&mut self.blocked) {
            self.end(0, "content_filter", out);
        }
        if let Some(usage) = usage(&self.usage) {
            out.push(ChatChunk { usage: Some(usage), ..self.chunk(Vec::new()) });
        }
        Ok(())
    }
}

impl GeminiStream {
    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk::of(&self.id, &self.model, choices)
    }

    fn push(&self, index: u64, delta: Delta, out: &mut Vec<ChatChunk>) {
        out.push(self.chunk(vec![ChunkChoice { index, delta, ..ChunkChoice::default() }]));
    }

    fn end(&self, index: u64, reason: &str, out: &mut Vec<ChatChunk>) {
        let finish_reason = Some(reason.to_owned());
        out.push(self.chunk(vec![ChunkChoice { index, finish_reason, ..ChunkChoice::default() }]));
    }

    fn candidate(&mut self, at: u64, mut candidate: Candidate, out: &mut Vec<ChatChunk>) {
        let index = candidate.index.unwrap_or(at);
        let known = self.candidates.remove(&index);
        if known.is_none() {
            let content = Some(String::new());
            let role = Some("assistant".to_owned());
            self.push(index, Delta { role, content, ..Delta::default() }, out);
        }
        let mut state = known.unwrap_or_default();
        for part in candidate.take_parts() {
            self.part(index, &mut state, part, out);
        }
        if let Some(found) = candidate.logprobs_result.take().and_then(logprobs) {
            let mut choice = ChunkChoice { index, ..ChunkChoice::default() };
            choice.extra.insert("logprobs".to_owned(), found);
            out.push(self.chunk(vec![choice]));
        }
        if let Some(reason) = candidate.finish_reason() {
            state.finish = Some(reason.to_owned());
        }
        self.candidates.insert(index, state);
    }

    fn part(&self, index: u64, state: &mut State, mut part: Part, out: &mut Vec<ChatChunk>) {
        let signature = part.take_signature();
        if let Some(call) = part.function_call {
            let call = tool_call(call, signature.as_deref(), &self.id, state.calls);
            self.push(index, call_delta(state.calls, call), out);
            state.calls += 1;
            return;
        }
        let text = part.text.unwrap_or_default();
        if part.thought == Some(true) {
            state.thoughts.push_str(&text);
            if !text.is_empty() {
                self.push(index, Delta { reasoning_content: Some(text), ..Delta::default() }, out);
            }
        } else {
            if !text.is_empty() {
                self.push(index, Delta { content: Some(text), ..Delta::default() }, out);
            }
            if let Some(image) = part.inline_data.and_then(image) {
                let mut delta = Delta::default();
                delta.extra.insert("images".to_owned(), Value::Array(vec![image]));
                self.push(index, delta, out);
            }
        }
        if let Some(signature) = signature {
            self.tell_thoughts(index, &std::mem::take(&mut state.thoughts), out);
            self.block(index, signature_block(signature), out);
        }
    }

    fn tell_thoughts(&self, index: u64, thoughts: &str, out: &mut Vec<ChatChunk>) {
        if !thoughts.is_empty() {
            self.block(index, thinking_block(thoughts), out);
        }
    }

    fn block(&self, index: u64, block: Value, out: &mut Vec<ChatChunk>) {
        self.push(index, Delta { thinking_blocks: Some(vec![block]), ..Delta::default() }, out);
    }
}

/// A call comes whole.
fn call_delta(index: u64, call: ToolCall) -> Delta {
    let function = FunctionDelta {
        name: Some(call.function.name),
        arguments: Some(call.function.arguments),
        ..FunctionDelta::default()
    };
    let delta = ToolCallDelta {
        index,
        id: Some(call.id),
        kind: Some(call.kind),
        function: Some(function),
        ..ToolCallDelta::default()
    };
    Delta { tool_calls: Some(vec![delta]), ..Delta::default() }
}
