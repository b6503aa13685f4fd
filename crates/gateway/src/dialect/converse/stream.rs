//! Chunks as the events of a turn, one block open at a time.

use bytes::BytesMut;
use serde_json::{Value, json};
use wire::chat::ChatChunk;

use super::reply::{redacted, stop_reason, usage};
use super::write;
use crate::dialect::DialectStream;
use crate::dialect::blocks::{Block, Blocks, Step, What};
use crate::error::ServeError;

#[derive(Default)]
pub(super) struct Events {
    blocks: Blocks,
    started: bool,
    /// Blocks that are over.
    closed: u64,
    says: Says,
}

/// What the block that is open says.
#[derive(Clone, Copy, Default)]
enum Says {
    #[default]
    Text,
    Thought,
    Arguments,
}

impl DialectStream for Events {
    fn chunk(&mut self, chunk: ChatChunk, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        self.start(out);
        let steps = self.blocks.chunk(chunk);
        self.write(steps, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        self.start(out);
        let steps = self.blocks.finish();
        self.write(steps, out);
        let reason = stop_reason(self.blocks.finish_reason.as_deref(), self.blocks.called);
        write(out, "messageStop", &json!({ "stopReason": reason }));
        write(out, "metadata", &json!({ "usage": usage(self.blocks.usage.as_ref()) }));
        Ok(())
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        super::fail(error, out);
    }
}

impl Events {
    fn start(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.started, true) {
            write(out, "messageStart", &json!({"role": "assistant"}));
        }
    }

    fn write(&mut self, steps: Vec<Step>, out: &mut BytesMut) {
        for step in steps {
            match step {
                Step::Open(what) => self.open(what, out),
                Step::More(text) => self.delta(&self.more(&text), out),
                Step::Close(block) => self.close(&block, out),
            }
        }
    }

    /// Calls alone have an event for their beginning.
    fn open(&mut self, what: What, out: &mut BytesMut) {
        self.says = match what {
            What::Thought { .. } | What::Hidden(_) => Says::Thought,
            What::Call { .. } => Says::Arguments,
            What::Text => Says::Text,
        };
        match what {
            What::Call { id, name, .. } => {
                let start = json!({"toolUse": {"toolUseId": id, "name": name}});
                write(out, "contentBlockStart", &json!({"contentBlockIndex": self.closed, "start": start}));
            }
            What::Hidden(hidden) => {
                self.delta(&json!({"reasoningContent": {"redactedContent": redacted(&hidden)}}), out);
            }
            What::Text | What::Thought { .. } => {}
        }
    }

    fn more(&self, text: &str) -> Value {
        match self.says {
            Says::Text => json!({ "text": text }),
            Says::Thought => json!({"reasoningContent": {"text": text}}),
            Says::Arguments => json!({"toolUse": {"input": text}}),
        }
    }

    fn delta(&self, delta: &Value, out: &mut BytesMut) {
        write(out, "contentBlockDelta", &json!({"contentBlockIndex": self.closed, "delta": delta}));
    }

    fn close(&mut self, block: &Block, out: &mut BytesMut) {
        match &block.what {
            What::Thought { replay: Some(replay) } => {
                if let Some(signature) = replay["signature"].as_str() {
                    self.delta(&json!({"reasoningContent": {"signature": signature}}), out);
                }
            }
            // A call without arguments streams none; clients need a JSON object all the same.
            What::Call { .. } if block.text.trim().is_empty() => self.delta(&self.more("{}"), out),
            _ => {}
        }
        write(out, "contentBlockStop", &json!({"contentBlockIndex": self.closed}));
        self.closed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::blocks::tests::{any_delta, call, chunk, signed, text, thought};
    use proptest::prelude::*;
    use wire::chat::{ChunkChoice, Delta};
    use wire::eventstream::Parser;
    use wire::usage::Usage;

    /// The names and payloads of the frames.
    fn events(deltas: Vec<Delta>) -> Vec<(String, Value)> {
        let (mut stream, mut out) = (Events::default(), BytesMut::new());
        for delta in deltas {
            stream.chunk(chunk(delta), &mut out).unwrap();
        }
        let last = ChunkChoice { finish_reason: Some("stop".to_owned()), ..ChunkChoice::default() };
        let usage = Some(Usage::new(7, 3));
        stream.chunk(ChatChunk { choices: vec![last], usage, ..ChatChunk::default() }, &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        let mut parser = Parser::new(1 << 20);
        parser.push(&out);
        let mut events = Vec::new();
        while let Some(event) = parser.next_event().unwrap() {
            events.push((event.name, serde_json::from_slice(&event.data).unwrap()));
        }
        assert!(!parser.is_cut());
        events
    }

    /// What the format demands of the order; gives the text that was written.
    fn check(events: &[(String, Value)]) -> String {
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names[0], &names[names.len() - 2..]), ("messageStart", &["messageStop", "metadata"][..]));
        let (mut closed, mut said) = (0, String::new());
        for (name, event) in &events[1..events.len() - 2] {
            assert_eq!(event["contentBlockIndex"], closed, "{name} {event}");
            said.push_str(event["delta"]["text"].as_str().unwrap_or_default());
            closed += u64::from(name == "contentBlockStop");
        }
        said
    }

    #[test]
    fn thought_text_and_interleaved_calls_make_a_turn() {
        let events = events(vec![
            thought("hm"),
            signed("hm"),
            text("look"),
            call(0, "a", Some("f"), ""),
            call(1, "b", Some("g"), ""),
            call(0, "", None, "{}"),
        ]);
        assert_eq!(check(&events), "look");
        let has = |name: &str, event: Value| {
            assert!(events.contains(&(name.to_owned(), event.clone())), "{event} {events:?}");
        };
        has(
            "contentBlockDelta",
            json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "sig"}}}),
        );
        has(
            "contentBlockStart",
            json!({"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "b", "name": "g"}}}),
        );
        has("contentBlockDelta", json!({"contentBlockIndex": 3, "delta": {"toolUse": {"input": "{}"}}}));
        has("messageStop", json!({"stopReason": "tool_use"}));
        assert_eq!(events.last().unwrap().1["usage"]["totalTokens"], 10);
    }

    proptest! {
        #[test]
        fn any_chunks_make_a_well_formed_turn(deltas in proptest::collection::vec(any_delta(), 0..12)) {
            let written: String = deltas.iter().filter_map(|d| d.content.as_deref()).collect();
            prop_assert_eq!(check(&events(deltas)), written);
        }
    }
}
