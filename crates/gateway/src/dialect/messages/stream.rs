//! Chunks as the events of a message, strictly one block open at a time.

use bytes::BytesMut;
use serde_json::{Value, json};
use wire::chat::ChatChunk;

use super::reply::{message_id, stop_reason, usage};
use crate::dialect::blocks::{Block, Blocks, Step, What};
use crate::dialect::{DialectStream, write};
use crate::error::ServeError;
use crate::shape::Shape;

#[derive(Default)]
pub(super) struct Events {
    blocks: Blocks,
    started: bool,
    /// Blocks that are over.
    closed: u64,
    /// What the block that is open says, as the type of its deltas and their field.
    says: (&'static str, &'static str),
}

impl DialectStream for Events {
    fn chunk(&mut self, chunk: ChatChunk, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        self.start(&chunk, out);
        let steps = self.blocks.chunk(chunk);
        self.write(steps, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        self.start(&ChatChunk::default(), out);
        let steps = self.blocks.finish();
        self.write(steps, out);
        let reason = stop_reason(self.blocks.finish_reason.as_deref(), self.blocks.called);
        let delta = json!({"stop_reason": reason, "stop_sequence": null});
        let event =
            json!({"type": "message_delta", "delta": delta, "usage": usage(self.blocks.usage.as_ref())});
        write(out, "message_delta", &event);
        write(out, "message_stop", &json!({"type": "message_stop"}));
        Ok(())
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        write(out, "error", &Shape::Messages.body(error));
    }
}

impl Events {
    fn start(&mut self, chunk: &ChatChunk, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        // What is not known yet is told in `message_delta`.
        let message = json!({"id": message_id(&chunk.id), "type": "message", "role": "assistant", "model": chunk.model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage(chunk.usage.as_ref())});
        write(out, "message_start", &json!({"type": "message_start", "message": message}));
    }

    fn write(&mut self, steps: Vec<Step>, out: &mut BytesMut) {
        for step in steps {
            match step {
                Step::Open(what) => self.open(what, out),
                Step::More(text) => self.delta(self.more(text), out),
                Step::Close(block) => self.close(&block, out),
            }
        }
    }

    fn open(&mut self, what: What, out: &mut BytesMut) {
        self.says = match what {
            What::Thought { .. } => ("thinking_delta", "thinking"),
            What::Call { .. } => ("input_json_delta", "partial_json"),
            What::Text | What::Hidden(_) => ("text_delta", "text"),
        };
        let block = match what {
            What::Text => json!({"type": "text", "text": ""}),
            What::Thought { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
            What::Hidden(block) => block,
            What::Call { id, name, .. } => json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
        };
        let event = json!({"type": "content_block_start", "index": self.closed, "content_block": block});
        write(out, "content_block_start", &event);
    }

    fn more(&self, text: String) -> Value {
        let (kind, field) = self.says;
        json!({"type": kind, field: text})
    }

    fn delta(&self, delta: Value, out: &mut BytesMut) {
        let event = json!({"type": "content_block_delta", "index": self.closed, "delta": delta});
        write(out, "content_block_delta", &event);
    }

    fn close(&mut self, block: &Block, out: &mut BytesMut) {
        match &block.what {
            What::Thought { replay: Some(replay) } => {
                // A thought of another provider may have none.
                if let Some(signature) = replay["signature"].as_str() {
                    self.delta(json!({"type": "signature_delta", "signature": signature}), out);
                }
            }
            // A call without arguments streams none; clients need a JSON object all the same.
            What::Call { .. } if block.text.trim().is_empty() => {
                self.delta(json!({"type": "input_json_delta", "partial_json": "{}"}), out);
            }
            _ => {}
        }
        write(out, "content_block_stop", &json!({"type": "content_block_stop", "index": self.closed}));
        self.closed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::blocks::tests::{any_delta, call, chunk, signed, text, thought};
    use proptest::prelude::*;
    use wire::chat::{ChunkChoice, Delta};
    use wire::sse::Parser;
    use wire::usage::Usage;

    fn events(deltas: Vec<Delta>, finish: Option<&str>) -> Vec<Value> {
        let (mut stream, mut out) = (Events::default(), BytesMut::new());
        for delta in deltas {
            stream.chunk(chunk(delta), &mut out).unwrap();
        }
        let finish_reason = finish.map(str::to_owned);
        let last = ChunkChoice { finish_reason, ..ChunkChoice::default() };
        let usage = Some(Usage::new(7, 3));
        stream.chunk(ChatChunk { choices: vec![last], usage, ..ChatChunk::default() }, &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        let mut parser = Parser::new(1 << 20);
        parser.push(&out);
        let mut events = Vec::new();
        while let Some(event) = parser.next_event().unwrap() {
            let value: Value = serde_json::from_slice(&event.data).unwrap();
            assert_eq!(value["type"], event.name);
            events.push(value);
        }
        events
    }

    /// What the format demands of the order; gives the blocks as (type, text).
    fn check(events: &[Value]) -> Vec<(String, String)> {
        let (mut open, mut blocks): (Option<u64>, Vec<(String, String)>) = (None, Vec::new());
        let (first, rest) = events.split_first().unwrap();
        assert_eq!(first["type"], "message_start");
        let (stop, rest) = rest.split_last().unwrap();
        assert_eq!(stop["type"], "message_stop");
        let (delta, rest) = rest.split_last().unwrap();
        assert!(delta["type"] == "message_delta" && delta["delta"]["stop_reason"].is_string());
        for event in rest {
            let index = event["index"].as_u64().unwrap();
            match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    assert_eq!((open, index), (None, blocks.len() as u64));
                    open = Some(index);
                    blocks.push((event["content_block"]["type"].as_str().unwrap().to_owned(), String::new()));
                }
                "content_block_delta" => {
                    assert_eq!(open, Some(index));
                    let delta = event["delta"].as_object().unwrap();
                    let said = ["text", "thinking", "partial_json"].iter().find_map(|key| delta.get(*key));
                    blocks.last_mut().unwrap().1.push_str(said.and_then(Value::as_str).unwrap_or_default());
                }
                "content_block_stop" => assert_eq!(open.take(), Some(index)),
                other => panic!("{other}"),
            }
        }
        assert_eq!(open, None);
        blocks
    }

    #[test]
    fn thought_text_and_interleaved_calls_make_a_message() {
        let events = events(
            vec![
                thought("hm"),
                signed("hm"),
                text("look"),
                call(0, "a", Some("f"), ""),
                call(1, "b", Some("g"), ""),
                call(0, "", None, "{}"),
            ],
            Some("stop"),
        );
        let blocks = check(&events);
        let expected = [("thinking", "hm"), ("text", "look"), ("tool_use", "{}"), ("tool_use", "{}")];
        assert_eq!(blocks, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(events.iter().any(|e| e["delta"] == json!({"type": "signature_delta", "signature": "sig"})));
        let end = &events[events.len() - 2];
        assert_eq!(end["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
        assert_eq!((&end["usage"]["input_tokens"], &end["usage"]["output_tokens"]), (&json!(7), &json!(3)));
    }

    #[test]
    fn a_thought_without_a_signature_has_no_delta_for_it() {
        let unsigned = json!({"type": "thinking", "thinking": "hm"});
        let block = Delta { thinking_blocks: Some(vec![unsigned]), ..Delta::default() };
        let events = events(vec![thought("hm"), block, text("a")], Some("stop"));
        check(&events);
        assert!(events.iter().all(|event| event["delta"]["type"] != "signature_delta"));
    }

    proptest! {
        #[test]
        fn any_chunks_make_a_well_formed_message(deltas in proptest::collection::vec(any_delta(), 0..12)) {
            let written: String = deltas.iter().filter_map(|d| d.content.as_deref()).collect();
            let blocks = check(&events(deltas, None));
            let said: String = blocks.iter().filter(|(kind, _)| kind == "text").map(|(_, text)| text.as_str()).collect();
            prop_assert_eq!(said, written);
        }
    }
}
