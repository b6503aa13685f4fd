//! Chunks as partial responses; a call comes whole.

use bytes::BytesMut;
use serde_json::{Value, json};
use wire::chat::ChatChunk;

use super::reply::{closing, finish_reason, response};
use crate::dialect::blocks::{Blocks, Step, What};
use crate::dialect::{DialectStream, write};
use crate::error::ServeError;
use crate::shape::Shape;

#[derive(Default)]
pub(super) struct Events {
    blocks: Blocks,
    id: String,
    model: String,
    says: Says,
}

/// What the text of the open block is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Says {
    #[default]
    Text,
    Thought,
    /// Held back until it is whole.
    Call,
}

impl DialectStream for Events {
    fn chunk(&mut self, chunk: ChatChunk, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        if self.id.is_empty() {
            self.id.clone_from(&chunk.id);
            self.model.clone_from(&chunk.model);
        }
        let steps = self.blocks.chunk(chunk);
        let parts = self.parts(steps);
        if !parts.is_empty() {
            write(out, "", &response(&self.id, &self.model, parts, None, None));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        let steps = self.blocks.finish();
        let mut parts = self.parts(steps);
        if parts.is_empty() {
            parts.push(json!({"text": ""}));
        }
        let finish = finish_reason(self.blocks.finish_reason.as_deref());
        let last = response(&self.id, &self.model, parts, Some(finish), self.blocks.usage.as_ref());
        write(out, "", &last);
        Ok(())
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        write(out, "", &Shape::GenerateContent.body(error));
    }
}

impl Events {
    fn parts(&mut self, steps: Vec<Step>) -> Vec<Value> {
        let mut parts = Vec::new();
        for step in steps {
            match step {
                Step::Open(what) => {
                    self.says = match what {
                        What::Text | What::Hidden(_) => Says::Text,
                        What::Thought { .. } => Says::Thought,
                        What::Call { .. } => Says::Call,
                    };
                }
                Step::More(text) => match self.says {
                    Says::Text => parts.push(json!({ "text": text })),
                    Says::Thought => parts.push(json!({"text": text, "thought": true})),
                    Says::Call => {}
                },
                Step::Close(block) => parts.extend(closing(&block)),
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::blocks::tests::{any_delta, call, chunk, text, thought};
    use proptest::prelude::*;
    use wire::chat::{ChunkChoice, Delta};
    use wire::sse::Parser;
    use wire::usage::Usage;

    fn events(deltas: Vec<Delta>) -> Vec<Value> {
        let (mut stream, mut out) = (Events::default(), BytesMut::new());
        for delta in deltas {
            stream.chunk(chunk(delta), &mut out).unwrap();
        }
        let last = ChunkChoice { finish_reason: Some("stop".into()), ..ChunkChoice::default() };
        let usage = Some(Usage::new(2, 1));
        stream.chunk(ChatChunk { choices: vec![last], usage, ..ChatChunk::default() }, &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        let mut parser = Parser::new(1 << 20);
        parser.push(&out);
        let mut events = Vec::new();
        while let Some(event) = parser.next_event().unwrap() {
            assert_eq!(event.name, "");
            events.push(serde_json::from_slice(&event.data).unwrap());
        }
        events
    }

    #[test]
    fn text_is_streamed_and_a_call_comes_whole() {
        let deltas =
            vec![thought("hm"), text("a"), call(0, "t", Some("f"), "{\"a\""), call(0, "", None, ":1}")];
        let events = events(deltas);
        let parts: Vec<&Value> =
            events.iter().flat_map(|e| e["candidates"][0]["content"]["parts"].as_array().unwrap()).collect();
        assert_eq!(parts[0], &json!({"text": "hm", "thought": true}));
        assert_eq!(parts[1], &json!({"text": "a"}));
        assert_eq!(parts[2], &json!({"functionCall": {"id": "t", "name": "f", "args": {"a": 1}}}));
        let last = events.last().unwrap();
        assert_eq!(last["candidates"][0]["finishReason"], "STOP");
        assert_eq!(last["usageMetadata"]["totalTokenCount"], 3);
    }

    proptest! {
        #[test]
        fn any_chunks_end_in_one_reason(deltas in proptest::collection::vec(any_delta(), 0..12)) {
            let written: String = deltas.iter().filter_map(|d| d.content.as_deref()).collect();
            let events = events(deltas);
            let ends = events.iter().filter(|e| e["candidates"][0]["finishReason"].is_string()).count();
            prop_assert_eq!(ends, 1);
            let parts = events.iter().flat_map(|e| e["candidates"][0]["content"]["parts"].as_array().unwrap());
            let said: String = parts.filter(|p| p["thought"] != true).filter_map(|p| p["text"].as_str()).collect();
            prop_assert_eq!(said, written);
        }
    }
}
