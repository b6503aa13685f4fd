//! Usage where the provider gave none, estimated from the length of the text.

use std::fmt;

use journal::{CountedUsage, Provenance};
use policy::estimate;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use wire::counts::TokenKind;
use wire::raw::RawObject;
use wire::usage::Usage;

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

/// Characters of what was asked and of what was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) prompt: u64,
    pub(crate) answer: u64,
}

impl Lengths {
    /// Of a request whose answer is still to come.
    pub(crate) fn of_request(body: &RawObject<'_>) -> Self {
        Self { prompt: PROMPTS.iter().filter_map(|name| body.raw(name)).map(characters).sum(), answer: 0 }
    }

    pub(crate) fn usage(self) -> Usage {
        Usage::new(estimate::tokens(self.prompt), estimate::tokens(self.answer))
    }

    pub(crate) fn counted(self) -> CountedUsage {
        CountedUsage { usage: self.usage(), provenance: Provenance::Estimated }
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
    Count::Texts.deserialize(&mut serde_json::Deserializer::from_str(raw.get())).unwrap_or(0)
}

/// As [`characters`], of a value that is in memory.
pub(crate) fn characters_of<T: Serialize>(value: &T) -> u64 {
    serde_json::value::to_raw_value(value).map_or(0, |raw| characters(&raw))
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

/// What a tool is given and what it answers: its keys are the tool's own, and the model reads them too.
const FREE_KEYS: [&str; 4] = ["arguments", "args", "input", "response"];

/// What of a value is counted. It is counted while it is read, so that a long prompt is not built up in
/// memory only to be measured.
#[derive(Clone, Copy)]
enum Count {
    Nothing,
    Texts,
    /// Every string, and every key.
    All,
}

impl<'de> DeserializeSeed<'de> for Count {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        match self {
            Self::Nothing => deserializer.deserialize_ignored_any(IgnoredAny).map(|_| 0),
            Self::Texts | Self::All => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Count {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<u64, E> {
        Ok(text.chars().count() as u64)
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_bool<E>(self, _: bool) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_i64<E>(self, _: i64) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_u64<E>(self, _: u64) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_f64<E>(self, _: f64) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
        let mut sum = 0;
        while let Some(count) = items.next_element_seed(self)? {
            sum += count;
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut sum = 0;
        while let Some((key, value)) = map.next_key_seed(Key(self))? {
            sum += key + map.next_value_seed(value)?;
        }
        Ok(sum)
    }
}

/// A key of what is counted so: what it counts itself, and how its value does.
struct Key(Count);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = (u64, Count);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(u64, Count), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = (u64, Count);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<(u64, Count), E> {
        Ok(match self.0 {
            Count::All => (key.chars().count() as u64, Count::All),
            _ if FREE_KEYS.contains(&key) => (0, Count::All),
            _ if TEXT_KEYS.contains(&key) => (0, Count::Texts),
            _ => (0, Count::Nothing),
        })
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
        assert_eq!(prompt(r#"{"input":[[1,2,-3],"abcd"]}"#), 4);
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
    }
}
