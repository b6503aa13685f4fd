//! `/v2/chat`'s events to unified chunks.

use std::collections::HashMap;

use ::wire::chat::{ChatChunk, ChunkChoice, Delta};
use serde_json::Value;

use super::response::{error, failure, finish_reason, usage};
use crate::codec::{ChatStream, Malformed, StreamFault};
use crate::unified::{call_arguments, call_opened};

#[derive(Debug, Default)]
pub(super) struct EventStream {
    id: String,
    /// The calls that are open, by the index the API gives them, which does not begin with 0.
    calls: HashMap<u64, Call>,
    count: u64,
    stopped: bool,
}

#[derive(Debug)]
struct Call {
    /// The place among the calls of the answer.
    index: u64,
    has_arguments: bool,
}

impl ChatStream for EventStream {
    fn event(&mut self, name: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
        // What follows the end is not part of the answer; a keep-alive and a terminator say nothing.
        if self.stopped || matches!(data.trim_ascii(), b"" | b"[DONE]") {
            return Ok(());
        }
        let event: Value = match serde_json::from_slice(data) {
            Ok(event) => event,
            Err(_) if !is_ours(name) => return Ok(()),
            Err(fault) => return Err(fault.into()),
        };
        let message = &event["delta"]["message"];
        let index = event["index"].as_u64().unwrap_or_default();
        match event["type"].as_str().unwrap_or(name) {
            "message-start" => self.start(&event, out),
            "content-start" | "content-delta" => self.content(&message["content"], out),
            "tool-plan-delta" => self.reasoning(text(&message["tool_plan"]), out),
            "tool-call-start" => self.open(index, &message["tool_calls"], out),
            "tool-call-delta" => {
                self.arguments(index, text(&message["tool_calls"]["function"]["arguments"]), out);
            }
            "tool-call-end" => self.close(index, out),
            "message-end" => return self.end(&event["delta"], out),
            "error" => return Err(StreamFault::Upstream(error(0, data))),
            _ => {}
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        self.stopped
    }

    fn finish(&mut self, _out: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
        if self.stopped { Ok(()) } else { Err(Malformed("the stream ended before message-end".to_owned())) }
    }
}

fn is_ours(name: &str) -> bool {
    let ours = ["message-", "content-", "tool-", "citation-"];
    name.is_empty() || ours.iter().any(|prefix| name.starts_with(prefix))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl EventStream {
    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk::of(&self.id, "", choices)
    }

    fn push(&self, delta: Delta, out: &mut Vec<ChatChunk>) {
        out.push(self.chunk(vec![ChunkChoice { delta, ..ChunkChoice::default() }]));
    }

    fn start(&mut self, event: &Value, out: &mut Vec<ChatChunk>) {
        self.id = text(&event["id"]);
        let delta =
            Delta { role: Some("assistant".to_owned()), content: Some(String::new()), ..Delta::default() };
        self.push(delta, out);
    }

    /// A block's start may hold the first of its text.
    fn content(&self, content: &Value, out: &mut Vec<ChatChunk>) {
        self.reasoning(text(&content["thinking"]), out);
        let text = text(&content["text"]);
        if !text.is_empty() {
            self.push(Delta { content: Some(text), ..Delta::default() }, out);
        }
    }

    fn reasoning(&self, text: String, out: &mut Vec<ChatChunk>) {
        if !text.is_empty() {
            self.push(Delta { reasoning_content: Some(text), ..Delta::default() }, out);
        }
    }

    fn open(&mut self, index: u64, call: &Value, out: &mut Vec<ChatChunk>) {
        let place = self.count;
        self.count += 1;
        let arguments = text(&call["function"]["arguments"]);
        self.calls.insert(index, Call { index: place, has_arguments: !arguments.is_empty() });
        self.push(call_opened(place, text(&call["id"]), text(&call["function"]["name"])), out);
        if !arguments.is_empty() {
            self.push(call_arguments(place, arguments), out);
        }
    }

    fn arguments(&mut self, index: u64, arguments: String, out: &mut Vec<ChatChunk>) {
        let Some(call) = self.calls.get_mut(&index).filter(|_| !arguments.is_empty()) else { return };
        call.has_arguments = true;
        let index = call.index;
        self.push(call_arguments(index, arguments), out);
    }

    /// A call without arguments streams none; the client needs a JSON object all the same.
    fn close(&mut self, index: u64, out: &mut Vec<ChatChunk>) {
        if self.calls.get(&index).is_some_and(|call| !call.has_arguments) {
            self.arguments(index, "{}".to_owned(), out);
        }
        self.calls.remove(&index);
    }

    fn end(&mut self, delta: &Value, out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
        let reason = delta["finish_reason"].as_str();
        if let Some(said) = failure(reason, &delta["error"]) {
            let body = serde_json::json!({"message": said}).to_string();
            return Err(StreamFault::Upstream(error(0, body.as_bytes())));
        }
        let mut open: Vec<u64> = self.calls.keys().copied().collect();
        open.sort_unstable();
        open.into_iter().for_each(|index| self.close(index, out));
        let finish = Some(finish_reason(reason, self.count > 0).to_owned());
        out.push(self.chunk(vec![ChunkChoice { finish_reason: finish, ..ChunkChoice::default() }]));
        if let Some(usage) = usage(&delta["usage"]) {
            out.push(ChatChunk { usage: Some(usage), ..self.chunk(Vec::new()) });
        }
        self.stopped = true;
        Ok(())
    }
}
