//! Usage where the provider gave none, estimated from the length of the text.

use journal::{CountedUsage, Provenance};
use policy::estimate;
use serde_json::value::RawValue;
use wire::chat::{Content, Message};
use wire::counts::TokenKind;
use wire::raw::RawObject;
use wire::usage::Usage;

use crate::tally::{Tally, tally};

/// Where the formats of clients have what is asked.
pub(crate) const PROMPTS: [&str; 10] = [
    "messages",
    "prompt",
    "input",
    "system",
    "instructions",
    "contents",
    "systemInstruction",
    "system_instruction",
    "generateContentRequest",
    "generate_content_request",
];

/// Which of these may be tokens already, as lists of numbers.
const IN_TOKENS: [&str; 2] = ["prompt", "input"];

/// Characters of what was asked and of what was answered. A token that is a number counts as many as it is
/// taken for in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) prompt: u64,
    pub(crate) answer: u64,
}

impl Lengths {
    /// Of a request whose answer is still to come.
    pub(crate) fn of_request(body: &RawObject<'_>) -> Self {
        let of = |name: &&str| {
            let count = if IN_TOKENS.contains(name) { Count::Tokens } else { Count::Texts };
            body.raw(name).map_or(0, |raw| tally(raw, count).unwrap_or(0))
        };
        Self { prompt: PROMPTS.iter().map(of).sum(), answer: 0 }
    }

    pub(crate) fn usage(self) -> Usage {
        Usage::new(estimate::tokens(self.prompt), estimate::tokens(self.answer))
    }

    pub(crate) fn counted(self) -> CountedUsage {
        CountedUsage { usage: self.usage(), provenance: Provenance::Estimated }
    }

    /// What is used of an answer that is made on without us: `expected` tokens of output, or what has come if
    /// that is more.
    pub(crate) fn going_on(self, expected: u64) -> CountedUsage {
        let usage = self.usage();
        let usage = Usage::new(usage.prompt_tokens, usage.completion_tokens.max(expected));
        CountedUsage { usage, provenance: Provenance::Estimated }
    }

    /// What was used of an answer that broke off, of which the upstream had counted `told`: that count may
    /// be older than what came last.
    pub(crate) fn cut(self, told: Option<&Usage>) -> CountedUsage {
        let Some(told) = told.map(Usage::counts) else { return self.counted() };
        let unseen = estimate::tokens(self.answer).saturating_sub(told.output());
        let tokens = told.and(TokenKind::Output, unseen);
        let usage = Usage::new(tokens.input(), tokens.output()).with_counts(tokens);
        CountedUsage { usage, provenance: Provenance::Counted }
    }
}

/// Characters of text in `raw`: its strings, those of its lists, and those under the keys that hold text.
/// What cannot be read counts as nothing.
pub(crate) fn characters(raw: &RawValue) -> u64 {
    tally(raw, Count::Texts).unwrap_or(0)
}

/// Characters of a message that a model wrote, as they are counted in a stream.
pub(crate) fn written(message: &Message) -> u64 {
    let length = |text: &String| text.chars().count() as u64;
    let content = match &message.content {
        None => 0,
        Some(Content::Text(text)) => length(text),
        Some(Content::Parts(parts)) => parts.iter().filter_map(|part| part.text.as_ref()).map(length).sum(),
    };
    let calls = message.tool_calls.iter().flatten();
    content
        + message.reasoning_content.as_ref().map_or(0, length)
        + calls.map(|call| length(&call.function.arguments)).sum::<u64>()
}

const TEXT_KEYS: [&str; 24] = [
    "content",
    "text",
    "message",
    "choices",
    "tool_calls",
    "function",
    "reasoning",
    "reasoning_content",
    "thinking",
    "output",
    "summary",
    "parts",
    "candidates",
    "contents",
    "systemInstruction",
    "system_instruction",
    "functionCall",
    "function_call",
    "functionResponse",
    "function_response",
    "toolUse",
    "toolResult",
    "reasoningContent",
    "reasoningText",
];

/// What engines of one format call it; those that changed from one name to the other send both.
const REASONING: [&str; 2] = ["reasoning", "reasoning_content"];

/// What a tool is given and what it answers: its keys are the tool's own, and the model reads them too.
const FREE_KEYS: [&str; 5] = ["arguments", "args", "input", "response", "json"];

/// What of a value is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Texts,
    /// The same, and numbers that stand for tokens.
    Tokens,
    /// Every string, and every key.
    All,
}

impl Tally for Count {
    fn text(self, text: &str) -> u64 {
        text.chars().count() as u64
    }

    fn number(self) -> u64 {
        if self == Self::Tokens { estimate::CHARACTERS } else { 0 }
    }

    fn key(self, key: &str) -> (u64, Option<Self>) {
        match self {
            Self::All => (self.text(key), Some(Self::All)),
            Self::Texts | Self::Tokens if FREE_KEYS.contains(&key) => (0, Some(Self::All)),
            Self::Texts | Self::Tokens => (0, TEXT_KEYS.contains(&key).then_some(Self::Texts)),
        }
    }

    fn is_other_name(self, key: &str) -> bool {
        self != Self::All && REASONING.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(body: &str) -> u64 {
        Lengths::of_request(&RawObject::parse(body.as_bytes()).unwrap()).prompt
    }

    #[test]
    fn text_is_counted_and_nothing_else() {
        let body = r#"{"messages":[{"role":"user","content":"höre"},
            {"role":"user","content":[{"type":"text","text":"ab\n"},{"type":"image_url","image_url":{"url":"data:xxxx"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"x","function":{"name":"f","arguments":"{}"}}],"n":1.5}]}"#;
        assert_eq!(prompt(body), 4 + 3 + 2);
        assert_eq!(prompt(r#"{"prompt":["ab","c"]}"#), 3);
    }

    #[test]
    fn a_token_that_is_a_number_counts_as_one() {
        let tokens = |body: &str| estimate::tokens(prompt(body));
        assert_eq!(tokens(r#"{"input":[[1,2,-3],"abcd"]}"#), 4);
        assert_eq!(tokens(r#"{"prompt":[1,2,3,4,5]}"#), 5);
        assert_eq!(tokens(r#"{"input":[{"type":"message","content":"abcd","n":7}],"max_tokens":9}"#), 1);
        assert_eq!(tokens(r#"{"messages":[{"content":5}]}"#), 0);
    }

    #[test]
    fn what_broke_off_is_what_was_counted_and_what_came_after() {
        let lengths = Lengths { prompt: 400, answer: 80 };
        let cut = |told: Option<Usage>| {
            let counted = lengths.cut(told.as_ref());
            (counted.tokens().input(), counted.tokens().output(), counted.provenance)
        };
        assert_eq!(cut(None), (100, 20, Provenance::Estimated));
        assert_eq!(cut(Some(Usage::new(90, 1))), (90, 20, Provenance::Counted));
        assert_eq!(cut(Some(Usage::new(90, 25))), (90, 25, Provenance::Counted));
    }

    #[test]
    fn a_text_of_two_names_counts_once() {
        let body = r#"{"messages":[{"content":"a","reasoning":"abc","reasoning_content":"abc"},{"reasoning":"de"}]}"#;
        assert_eq!(prompt(body), 1 + 3 + 2);
    }

    #[test]
    fn what_is_too_deep_counts_as_nothing() {
        let deep = format!(r#"{{"messages":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(prompt(&deep), 0);
    }

    #[test]
    fn contents_are_counted_in_every_spelling_and_place() {
        let contents = r#""contents":[{"parts":[{"text":"abcd"}]}]"#;
        for system in ["systemInstruction", "system_instruction"] {
            let request = format!(r#"{{{contents},"{system}":{{"parts":[{{"text":"ef"}}]}}}}"#);
            assert_eq!(prompt(&request), 6, "{system}");
            for inner in ["generateContentRequest", "generate_content_request"] {
                assert_eq!(prompt(&format!(r#"{{"{inner}":{request}}}"#)), 6, "{inner} {system}");
            }
        }
    }

    #[test]
    fn what_tools_are_given_and_answer_is_counted_whatever_its_keys() {
        for (call, result) in [("functionCall", "functionResponse"), ("function_call", "function_response")] {
            let body = format!(
                r#"{{"contents":[{{"parts":[{{"{call}":{{"name":"f","args":{{"city":"Paris","n":[1,{{"x":"y"}}]}}}}}}]}},
                {{"parts":[{{"{result}":{{"name":"f","response":{{"sky":"blue"}}}}}}]}}]}}"#
            );
            assert_eq!(prompt(&body), 4 + 5 + 1 + 1 + 1 + 3 + 4, "{call}");
        }
        let messages = r#"{"messages":[{"content":[{"type":"tool_use","id":"i","name":"f","input":{"path":"/etc"}}]},
            {"content":[{"type":"tool_result","content":"ok"}]}]}"#;
        assert_eq!(prompt(messages), 4 + 4 + 2);
        let turn = r#"{"messages":[{"content":[{"toolUse":{"toolUseId":"i","name":"f","input":{"path":"/etc"}}}]},
            {"content":[{"toolResult":{"toolUseId":"i","content":[{"text":"ok"},{"json":{"sky":"blue"}}]}}]}]}"#;
        assert_eq!(prompt(turn), 4 + 4 + 2 + 3 + 4);
    }
}
