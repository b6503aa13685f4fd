//! The chunks of a streamed answer as blocks, one open at a time: the formats that clients speak have text,
//! thought and calls one after the other, chunks may mix them.

use std::collections::VecDeque;

use serde::de::IgnoredAny;
use serde_json::Value;
use wire::chat::{ChatChunk, Content, Delta, FunctionDelta, Message, Part, ToolCallDelta};
use wire::usage::Usage;

/// One part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) what: What,
    /// The text, the thought, or the arguments.
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Text,
    /// `replay` is the block that a follow-up turn needs, with its signature.
    Thought {
        replay: Option<Value>,
    },
    /// A thought that only its provider can read.
    Hidden(Value),
    /// `index` is that of the unified format; `id` is never empty.
    Call {
        index: u64,
        id: String,
        name: String,
    },
}

/// What happened to the block that is open.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// It begins, without any text yet.
    Open(What),
    More(String),
    /// It is over, and whole.
    Close(Block),
}

/// The state of one streamed answer. What belongs to a block that is not open yet is held back.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The first is open.
    queue: VecDeque<Block>,
    opened: bool,
    /// The thoughts that are over and had no block to replay.
    told: String,
    pub(super) called: bool,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<Usage>,
}

impl Block {
    /// Whether nothing more can come, seen that something else has come.
    fn is_over(&self) -> bool {
        match self.what {
            What::Call { .. } => {
                self.text.trim_end().ends_with('}') && serde_json::from_str::<IgnoredAny>(&self.text).is_ok()
            }
            _ => true,
        }
    }
}

impl Blocks {
    /// Takes one chunk; of several choices the first counts, as these formats have one.
    pub(super) fn chunk(&mut self, chunk: ChatChunk) -> Vec<Step> {
        let mut steps = Vec::new();
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.delta(choice.delta, &mut steps);
            if choice.finish_reason.is_some() {
                self.finish_reason = choice.finish_reason;
            }
        }
        steps
    }

    /// The answer is complete: whatever is held back is said.
    pub(super) fn finish(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        while !self.queue.is_empty() {
            self.open_first(&mut steps);
            self.close_first(&mut steps);
        }
        steps
    }

    fn delta(&mut self, delta: Delta, steps: &mut Vec<Step>) {
        if let Some(text) = delta.reasoning_content.filter(|text| !text.is_empty()) {
            self.text(What::Thought { replay: None }, &text, steps);
        }
        for block in delta.thinking_blocks.into_iter().flatten() {
            self.replay(block, steps);
        }
        for text in [delta.content, delta.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
            self.text(What::Text, &text, steps);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call, steps);
        }
    }

    /// Text goes to the last block when that is of its kind, else to a new one.
    fn text(&mut self, what: What, text: &str, steps: &mut Vec<Step>) {
        let same = |block: &Block| match (&block.what, &what) {
            (What::Text, What::Text) => true,
            (What::Thought { replay }, What::Thought { .. }) => replay.is_none(),
            _ => false,
        };
        if !self.queue.back().is_some_and(same) {
            self.queue.push_back(Block { what, text: String::new() });
        }
        self.add(self.queue.len() - 1, text, steps);
    }

    /// The block with the signature comes when its thought has been said.
    fn replay(&mut self, block: Value, steps: &mut Vec<Step>) {
        if block["type"] != "thinking" {
            self.queue.push_back(Block { what: What::Hidden(block), text: String::new() });
            return self.advance(steps);
        }
        let waiting = self.queue.back_mut().filter(|b| b.what == What::Thought { replay: None });
        match waiting {
            Some(thought) => thought.what = What::Thought { replay: Some(block) },
            // Some providers say at the end what was thought, without a signature: it is not to be said twice.
            None if block["signature"].as_str().is_none_or(str::is_empty)
                && block["thinking"].as_str().is_some_and(|text| self.told.contains(text)) => {}
            None => {
                let text = block["thinking"].as_str().unwrap_or_default().to_owned();
                self.queue
                    .push_back(Block { what: What::Thought { replay: Some(block) }, text: String::new() });
                self.add(self.queue.len() - 1, &text, steps);
            }
        }
    }

    fn call(&mut self, call: ToolCallDelta, steps: &mut Vec<Step>) {
        let function = call.function.unwrap_or_default();
        let is_it = |block: &Block| matches!(&block.what, What::Call { index, .. } if *index == call.index);
        let at = match self.queue.iter().position(is_it) {
            Some(at) => at,
            // What comes after the end of a call is white space at best.
            None if function.name.is_none() => return,
            None => {
                let id = call.id.filter(|id| !id.is_empty());
                let id = id.unwrap_or_else(|| format!("call_{}", uuid::Uuid::now_v7().simple()));
                let name = function.name.unwrap_or_default();
                let what = What::Call { index: call.index, id, name };
                self.called = true;
                self.queue.push_back(Block { what, text: String::new() });
                self.queue.len() - 1
            }
        };
        self.add(at, function.arguments.as_deref().unwrap_or_default(), steps);
    }

    fn add(&mut self, at: usize, text: &str, steps: &mut Vec<Step>) {
        self.queue[at].text.push_str(text);
        if self.opened && at == 0 && !text.is_empty() {
            steps.push(Step::More(text.to_owned()));
        }
        self.advance(steps);
    }

    /// Opens the first block, and closes those that are over since another waits.
    fn advance(&mut self, steps: &mut Vec<Step>) {
        while self.queue.len() > 1 && self.queue[0].is_over() {
            self.open_first(steps);
            self.close_first(steps);
        }
        self.open_first(steps);
    }

    fn open_first(&mut self, steps: &mut Vec<Step>) {
        let Some(first) = self.queue.front().filter(|_| !self.opened) else { return };
        self.opened = true;
        steps.push(Step::Open(first.what.clone()));
        if !first.text.is_empty() {
            steps.push(Step::More(first.text.clone()));
        }
    }

    fn close_first(&mut self, steps: &mut Vec<Step>) {
        if let Some(block) = self.queue.pop_front() {
            self.opened = false;
            if block.what == (What::Thought { replay: None }) {
                self.told.push_str(&block.text);
            }
            steps.push(Step::Close(block));
        }
    }
}

/// The blocks of a whole answer.
pub(super) fn of_message(message: Message) -> Vec<Block> {
    let mut blocks = Blocks::default();
    let mut steps = Vec::new();
    let thought = message.thinking_blocks.unwrap_or_default();
    // The blocks hold the same text, each its own.
    let told = thought.iter().any(|block| block["type"] == "thinking");
    let reasoning = message.reasoning_content.filter(|_| !told);
    blocks.delta(
        Delta { reasoning_content: reasoning, thinking_blocks: Some(thought), ..Delta::default() },
        &mut steps,
    );
    match message.content {
        Some(Content::Text(text)) => {
            blocks.delta(Delta { content: Some(text), ..Delta::default() }, &mut steps);
        }
        Some(Content::Parts(parts)) => {
            parts.into_iter().for_each(|part| blocks.delta(delta_of(part), &mut steps));
        }
        None => {}
    }
    let calls = message.tool_calls.into_iter().flatten().zip(0..).map(|(call, index)| ToolCallDelta {
        index,
        id: Some(call.id),
        function: Some(FunctionDelta {
            name: Some(call.function.name),
            arguments: Some(call.function.arguments),
            ..FunctionDelta::default()
        }),
        ..ToolCallDelta::default()
    });
    let rest = Delta { refusal: message.refusal, tool_calls: Some(calls.collect()), ..Delta::default() };
    blocks.delta(rest, &mut steps);
    steps.extend(blocks.finish());
    let closed = steps.into_iter().filter_map(|step| match step {
        Step::Close(block) => Some(block),
        _ => None,
    });
    closed.collect()
}

/// A part of an answer: text, or the reasoning of Databricks' own endpoints.
fn delta_of(part: Part) -> Delta {
    if part.kind != "reasoning" {
        return Delta { content: part.text, ..Delta::default() };
    }
    let summary = part.extra.get("summary").and_then(Value::as_array).into_iter().flatten();
    let blocks = summary.map(|item| {
        let signature = item.get("signature").cloned().unwrap_or_else(|| "".into());
        serde_json::json!({"type": "thinking", "thinking": item["text"], "signature": signature})
    });
    Delta { thinking_blocks: Some(blocks.collect()), ..Delta::default() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use wire::chat::ChunkChoice;

    pub(in crate::dialect) fn chunk(delta: Delta) -> ChatChunk {
        ChatChunk {
            id: "c".into(),
            model: "m".into(),
            choices: vec![ChunkChoice { delta, ..ChunkChoice::default() }],
            ..ChatChunk::default()
        }
    }

    pub(in crate::dialect) fn call(index: u64, id: &str, name: Option<&str>, arguments: &str) -> Delta {
        let function = FunctionDelta {
            name: name.map(str::to_owned),
            arguments: Some(arguments.to_owned()),
            ..FunctionDelta::default()
        };
        let id = (!id.is_empty()).then(|| id.to_owned());
        let call = ToolCallDelta { index, id, function: Some(function), ..ToolCallDelta::default() };
        Delta { tool_calls: Some(vec![call]), ..Delta::default() }
    }

    pub(in crate::dialect) fn text(text: &str) -> Delta {
        Delta { content: Some(text.to_owned()), ..Delta::default() }
    }

    pub(in crate::dialect) fn thought(text: &str) -> Delta {
        Delta { reasoning_content: Some(text.to_owned()), ..Delta::default() }
    }

    pub(in crate::dialect) fn signed(text: &str) -> Delta {
        let block = json!({"type": "thinking", "thinking": text, "signature": "sig"});
        Delta { thinking_blocks: Some(vec![block]), ..Delta::default() }
    }

    /// Any delta, of calls that begin before they go on or not.
    pub(in crate::dialect) fn any_delta() -> impl Strategy<Value = Delta> {
        prop_oneof![
            Just(Delta { role: Some("assistant".into()), ..Delta::default() }),
            "[a-z ]{0,4}".prop_map(|t| text(&t)),
            // In letters that nothing else is in.
            "[A-Z]{0,4}".prop_map(|t| thought(&t)),
            "[a-z]{0,4}".prop_map(|t| signed(&t)),
            Just(Delta {
                thinking_blocks: Some(vec![json!({"type": "redacted_thinking", "data": "x"})]),
                ..Delta::default()
            }),
            (0..3_u64).prop_map(|i| call(i, &format!("id{i}"), Some("f"), "")),
            (0..3_u64).prop_map(|i| call(i, "", Some("g"), "{}")),
            (0..3_u64, "[{}1]{0,2}").prop_map(|(i, t)| call(i, "", None, &t)),
        ]
    }

    fn steps(deltas: Vec<Delta>) -> Vec<Step> {
        let mut blocks = Blocks::default();
        let mut steps: Vec<Step> = deltas.into_iter().flat_map(|d| blocks.chunk(chunk(d))).collect();
        steps.extend(blocks.finish());
        steps
    }

    fn closed(steps: &[Step]) -> Vec<(&str, &str)> {
        let name = |what: &What| match what {
            What::Text => "text",
            What::Thought { replay: None } => "thought",
            What::Thought { .. } => "signed",
            What::Hidden(_) => "hidden",
            What::Call { .. } => "call",
        };
        let closed = steps.iter().filter_map(|step| match step {
            Step::Close(block) => Some((name(&block.what), block.text.as_str())),
            _ => None,
        });
        closed.collect()
    }

    #[test]
    fn thoughts_that_are_repeated_unsigned_at_the_end_are_said_once() {
        let repeated = json!({"type": "thinking", "thinking": "hm so"});
        let at_the_end = Delta { thinking_blocks: Some(vec![repeated]), ..Delta::default() };
        let got = steps(vec![thought("hm "), thought("so"), call(0, "a", Some("f"), "{}"), at_the_end]);
        assert_eq!(closed(&got), [("thought", "hm so"), ("call", "{}")]);
        let got = steps(vec![thought("hm"), text("a"), signed("hm")]);
        assert_eq!(closed(&got), [("thought", "hm"), ("text", "a"), ("signed", "hm")]);
    }

    #[test]
    fn interleaved_calls_come_one_after_the_other() {
        let got = steps(vec![
            call(0, "a", Some("f"), ""),
            call(1, "b", Some("g"), ""),
            call(1, "", None, "{\"y\":"),
            call(0, "", None, "{\"x\":1}"),
            call(1, "", None, "2}"),
        ]);
        assert_eq!(closed(&got), [("call", "{\"x\":1}"), ("call", "{\"y\":2}")]);
    }

    #[test]
    fn calls_in_order_are_not_held_back() {
        let mut blocks = Blocks::default();
        blocks.chunk(chunk(call(0, "a", Some("f"), "{}")));
        let steps = blocks.chunk(chunk(call(1, "b", Some("g"), "{\"y\"")));
        assert!(matches!(steps[0], Step::Close(_)) && steps[2] == Step::More("{\"y\"".into()), "{steps:?}");
    }

    #[test]
    fn a_thought_is_closed_with_its_signature() {
        let got = steps(vec![thought("h"), thought("m"), signed("hm"), text("a"), text("b")]);
        assert_eq!(closed(&got), [("signed", "hm"), ("text", "ab")]);
    }

    #[test]
    fn a_whole_answer_has_the_blocks_of_a_streamed_one() {
        let message = json!({"role": "assistant", "content": "a", "reasoning_content": "hm",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]});
        let blocks = of_message(serde_json::from_value(message).unwrap());
        let steps: Vec<Step> = blocks.into_iter().map(Step::Close).collect();
        assert_eq!(closed(&steps), [("signed", "hm"), ("text", "a"), ("call", "{}")]);
        let parts = json!({"role": "assistant", "content": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "signature": "s"}]},
            {"type": "text", "text": "a"}]});
        let blocks = of_message(serde_json::from_value(parts).unwrap());
        let steps: Vec<Step> = blocks.into_iter().map(Step::Close).collect();
        assert_eq!(closed(&steps), [("signed", "hm"), ("text", "a")]);
    }

    proptest! {
        #[test]
        fn one_block_is_open_at_a_time_and_nothing_is_lost(deltas in proptest::collection::vec(any_delta(), 0..12)) {
            let written: String = deltas.iter().filter_map(|d| d.content.as_deref()).collect();
            let thought: String = deltas.iter().filter_map(|d| d.reasoning_content.as_deref()).collect();
            let (mut open, mut said, mut all, mut thoughts) = (false, String::new(), String::new(), String::new());
            for step in steps(deltas) {
                match step {
                    Step::Open(_) => { prop_assert!(!open); open = true; said.clear(); }
                    Step::More(more) => { prop_assert!(open && !more.is_empty()); said.push_str(&more); }
                    Step::Close(block) => {
                        prop_assert!(open);
                        open = false;
                        prop_assert_eq!(&said, &block.text);
                        match block.what {
                            What::Text => all.push_str(&block.text),
                            What::Thought { .. } => thoughts.push_str(&block.text),
                            What::Hidden(_) | What::Call { .. } => {}
                        }
                    }
                }
            }
            prop_assert!(!open);
            prop_assert_eq!(all, written);
            thoughts.retain(|letter| letter.is_ascii_uppercase());
            prop_assert_eq!(thoughts, thought);
        }
    }
}
