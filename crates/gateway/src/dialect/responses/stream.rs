//! Chunks as the events of a response.

use bytes::BytesMut;
use serde_json::{Value, json};
use wire::chat::ChatChunk;

use super::reply::{self, Asked, call_item, freeform_input, item_id, new_id, text_part};
use crate::dialect::blocks::{Block, Blocks, Step, What};
use crate::dialect::{DialectStream, write};
use crate::error::ServeError;
use crate::shape::Shape;

pub(super) struct Events {
    asked: Asked,
    blocks: Blocks,
    sequence: u64,
    /// The response as it began; null before that.
    response: Value,
    output: Vec<Value>,
    /// The item that is open.
    item: String,
    says: Says,
}

/// What the text of the open item is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Says {
    #[default]
    Text,
    Thought,
    Arguments,
    /// Held back: it is JSON until it is over.
    Freeform,
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
        let reason = self.blocks.finish_reason.as_deref();
        let mut response = std::mem::take(&mut self.response);
        reply::complete(&mut response, std::mem::take(&mut self.output), reason, self.blocks.usage.as_ref());
        let kind =
            if reply::incomplete(reason).is_some() { "response.incomplete" } else { "response.completed" };
        self.event(kind, json!({ "response": response }), out);
        Ok(())
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        self.start(&ChatChunk::default(), out);
        let said = Shape::OpenAi.body(error);
        let mut response = std::mem::take(&mut self.response);
        response["status"] = "failed".into();
        response["output"] = Value::Array(std::mem::take(&mut self.output));
        response["error"] = json!({"code": said["error"]["code"], "message": said["error"]["message"]});
        let fields =
            json!({"response": response, "error_code": said["error_code"], "message": said["message"]});
        self.event("response.failed", fields, out);
    }
}

impl Events {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            asked,
            blocks: Blocks::default(),
            sequence: 0,
            response: Value::Null,
            output: Vec::new(),
            item: String::new(),
            says: Says::default(),
        }
    }

    /// Writes an event with its type and number.
    fn event(&mut self, kind: &str, fields: Value, out: &mut BytesMut) {
        let mut event = json!({"type": kind, "sequence_number": self.sequence});
        self.sequence += 1;
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        write(out, kind, &event);
    }

    /// As [`Self::event`], of the item that is open.
    fn of_item(&mut self, kind: &str, mut fields: Value, out: &mut BytesMut) {
        fields["item_id"] = self.item.as_str().into();
        fields["output_index"] = self.output.len().into();
        self.event(kind, fields, out);
    }

    fn start(&mut self, chunk: &ChatChunk, out: &mut BytesMut) {
        if !self.response.is_null() {
            return;
        }
        self.response = self.asked.response(&new_id("resp"), chunk.created, &chunk.model, "in_progress");
        for kind in ["response.created", "response.in_progress"] {
            self.event(kind, json!({"response": self.response}), out);
        }
    }

    fn write(&mut self, steps: Vec<Step>, out: &mut BytesMut) {
        for step in steps {
            match step {
                Step::Open(what) => self.open(&what, out),
                Step::More(text) => self.more(&text, out),
                Step::Close(block) => self.close(&block, out),
            }
        }
    }

    fn open(&mut self, what: &What, out: &mut BytesMut) {
        self.item = item_id(what);
        let id = self.item.as_str();
        let (says, item) = match what {
            What::Text => (
                Says::Text,
                json!({"id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}),
            ),
            What::Thought { .. } | What::Hidden(_) => {
                (Says::Thought, json!({"id": id, "type": "reasoning", "summary": []}))
            }
            What::Call { id: call, name, .. } => {
                let known = self.asked.known(name);
                let says = if known.freeform { Says::Freeform } else { Says::Arguments };
                (says, call_item(id, call, &known, "in_progress"))
            }
        };
        self.says = says;
        let added = json!({"output_index": self.output.len(), "item": item});
        self.event("response.output_item.added", added, out);
        match what {
            What::Text => {
                let part = json!({"content_index": 0, "part": text_part("")});
                self.of_item("response.content_part.added", part, out);
            }
            What::Thought { .. } => {
                let part = json!({"summary_index": 0, "part": {"type": "summary_text", "text": ""}});
                self.of_item("response.reasoning_summary_part.added", part, out);
            }
            What::Hidden(_) | What::Call { .. } => {}
        }
    }

    fn more(&mut self, text: &str, out: &mut BytesMut) {
        match self.says {
            Says::Text => {
                let delta = json!({"content_index": 0, "delta": text, "logprobs": []});
                self.of_item("response.output_text.delta", delta, out);
            }
            Says::Thought => {
                let delta = json!({"summary_index": 0, "delta": text});
                self.of_item("response.reasoning_summary_text.delta", delta, out);
            }
            Says::Arguments => {
                self.of_item("response.function_call_arguments.delta", json!({ "delta": text }), out);
            }
            Says::Freeform => {}
        }
    }

    fn close(&mut self, block: &Block, out: &mut BytesMut) {
        let item = self.asked.item(&self.item, block);
        match &block.what {
            What::Text => {
                let done = json!({"content_index": 0, "text": block.text, "logprobs": []});
                self.of_item("response.output_text.done", done, out);
                let part = json!({"content_index": 0, "part": text_part(&block.text)});
                self.of_item("response.content_part.done", part, out);
            }
            What::Thought { .. } => {
                let done = json!({"summary_index": 0, "text": block.text});
                self.of_item("response.reasoning_summary_text.done", done, out);
                let part = json!({"summary_index": 0, "part": {"type": "summary_text", "text": block.text}});
                self.of_item("response.reasoning_summary_part.done", part, out);
            }
            What::Call { .. } if self.says == Says::Freeform => {
                let input = freeform_input(&block.text);
                self.of_item("response.custom_tool_call_input.delta", json!({ "delta": input }), out);
                self.of_item("response.custom_tool_call_input.done", json!({ "input": input }), out);
            }
            What::Call { .. } => {
                let done = json!({"name": item["name"], "arguments": item["arguments"]});
                if block.text.trim().is_empty() {
                    self.of_item("response.function_call_arguments.delta", json!({"delta": "{}"}), out);
                }
                self.of_item("response.function_call_arguments.done", done, out);
            }
            What::Hidden(_) => {}
        }
        let done = json!({"output_index": self.output.len(), "item": item});
        self.event("response.output_item.done", done, out);
        self.output.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::blocks::tests::{any_delta, call, chunk, signed, text, thought};
    use proptest::prelude::*;
    use wire::chat::{ChunkChoice, Delta};
    use wire::error::ApiError;
    use wire::raw::RawObject;
    use wire::sse::Parser;

    fn asked() -> Asked {
        let body =
            json!({"tools": [{"type": "custom", "name": "g"}], "include": ["reasoning.encrypted_content"]});
        Asked::read(&RawObject::parse(body.to_string().as_bytes()).unwrap())
    }

    fn events(deltas: Vec<Delta>, finish: &str) -> Vec<Value> {
        let (mut stream, mut out) = (Events::new(asked()), BytesMut::new());
        for delta in deltas {
            stream.chunk(chunk(delta), &mut out).unwrap();
        }
        if finish == "fail" {
            stream.fail(&ServeError::Api(ApiError::internal("broke")), &mut out);
        } else {
            let last = ChunkChoice { finish_reason: Some(finish.to_owned()), ..ChunkChoice::default() };
            stream.chunk(ChatChunk { choices: vec![last], ..ChatChunk::default() }, &mut out).unwrap();
            stream.finish(&mut out).unwrap();
        }
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

    /// What the format demands of order and numbers; gives the last event's response.
    fn check(events: &[Value]) -> Value {
        for (event, number) in events.iter().zip(0_u64..) {
            assert_eq!(event["sequence_number"], number);
        }
        assert_eq!(events[0]["type"], "response.created");
        assert_eq!(events[1]["type"], "response.in_progress");
        let (last, rest) = events[2..].split_last().unwrap();
        let (mut open, mut said, mut items) = (None, String::new(), Vec::new());
        for event in rest {
            assert_eq!(event["output_index"].as_u64(), Some(items.len() as u64), "{event}");
            let kind = event["type"].as_str().unwrap();
            if kind == "response.output_item.added" {
                assert!(open.is_none());
                open = Some(event["item"]["id"].clone());
                said.clear();
            } else if kind == "response.output_item.done" {
                let item = event["item"].clone();
                assert_eq!(open.take(), Some(item["id"].clone()));
                let whole = ["/content/0/text", "/summary/0/text", "/arguments", "/input"];
                let whole = whole.iter().find_map(|at| item.pointer(at)?.as_str()).unwrap_or_default();
                assert_eq!(said, whole, "{item}");
                items.push(item);
            } else {
                assert_eq!(Some(&event["item_id"]), open.as_ref());
                said.push_str(event["delta"].as_str().unwrap_or_default());
            }
        }
        assert!(open.is_none() || last["type"] == "response.failed");
        assert_eq!(last["response"]["output"], Value::Array(items));
        last["response"].clone()
    }

    #[test]
    fn thought_text_and_calls_make_a_response() {
        let deltas = vec![
            thought("hm"),
            signed("hm"),
            text("look"),
            call(0, "c0", Some("f"), ""),
            call(1, "c1", Some("g"), "{\"input\":\"*** x\"}"),
        ];
        let events = events(deltas, "tool_calls");
        let response = check(&events);
        assert_eq!(response["status"], "completed");
        let kinds: Vec<&str> =
            response["output"].as_array().unwrap().iter().map(|i| i["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["reasoning", "message", "function_call", "custom_tool_call"]);
        assert!(response["output"][0]["encrypted_content"].is_string());
        assert_eq!(response["output"][3]["input"], "*** x");
        assert!(events.iter().any(|e| e["type"] == "response.custom_tool_call_input.done"));
    }

    #[test]
    fn a_cut_answer_and_a_failed_one_say_so() {
        let cut = events(vec![text("x")], "length");
        assert_eq!(cut.last().unwrap()["type"], "response.incomplete");
        assert_eq!(check(&cut)["incomplete_details"]["reason"], "max_output_tokens");
        let failed = events(vec![text("x")], "fail");
        assert_eq!(failed.last().unwrap()["type"], "response.failed");
        let response = check(&failed);
        assert_eq!((&response["status"], &response["error"]["message"]), (&json!("failed"), &json!("broke")));
    }

    proptest! {
        #[test]
        fn any_chunks_make_a_well_formed_response(deltas in proptest::collection::vec(any_delta(), 0..12), fails: bool) {
            check(&events(deltas, if fails { "fail" } else { "stop" }));
        }
    }
}
