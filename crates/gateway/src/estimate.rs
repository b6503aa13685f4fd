//! Usage where the provider gave none, estimated from the length of the text.

use std::fmt;

use journal::{CountedUsage, Provenance};
use policy::estimate;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::raw::RawObject;
use wire::usage::Usage;

/// Characters of what was asked and of what was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) prompt: u64,
    pub(crate) answer: u64,
}

impl Lengths {
    /// Of a request whose answer is still to come.
    pub(crate) fn of_request(body: &RawObject<'_>) -> Self {
        let fields =
            ["messages", "prompt", "input", "system", "instructions", "contents", "systemInstruction"];
        Self { prompt: fields.iter().filter_map(|name| body.raw(name)).map(characters).sum(), answer: 0 }
    }

    pub(crate) fn usage(self) -> Usage {
        Usage::new(estimate::tokens(self.prompt), estimate::tokens(self.answer))
    }

    pub(crate) fn counted(self) -> CountedUsage {
        CountedUsage { usage: self.usage(), provenance: Provenance::Estimated }
    }
}

/// Characters of text in `raw`: its strings, those of its lists, and those under the keys that hold text.
/// What cannot be read counts as nothing.
pub(crate) fn characters(raw: &RawValue) -> u64 {
    serde_json::from_str::<Characters>(raw.get()).map_or(0, |counted| counted.0)
}

/// As [`characters`], of a value that is in memory.
pub(crate) fn characters_of<T: Serialize>(value: &T) -> u64 {
    serde_json::value::to_raw_value(value).map_or(0, |raw| characters(&raw))
}

/// Counted while it is read, so that a long prompt is not built up in memory only to be measured.
struct Characters(u64);

const TEXT_KEYS: [&str; 16] = [
    "content",
    "text",
    "message",
    "choices",
    "tool_calls",
    "function",
    "arguments",
    "reasoning",
    "reasoning_content",
    "thinking",
    "output",
    "summary",
    "parts",
    "candidates",
    "args",
    "response",
];

impl<'de> Deserialize<'de> for Characters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Count)
    }
}

struct Count;

impl<'de> Visitor<'de> for Count {
    type Value = Characters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Characters, E> {
        Ok(Characters(text.chars().count() as u64))
    }

    fn visit_unit<E>(self) -> Result<Characters, E> {
        Ok(Characters(0))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Characters, E> {
        Ok(Characters(0))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Characters, E> {
        Ok(Characters(0))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Characters, E> {
        Ok(Characters(0))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Characters, E> {
        Ok(Characters(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Characters, A::Error> {
        let mut sum = 0;
        while let Some(Characters(count)) = items.next_element()? {
            sum += count;
        }
        Ok(Characters(sum))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Characters, A::Error> {
        let mut sum = 0;
        while let Some(HoldsText(holds)) = map.next_key()? {
            if holds {
                sum += map.next_value::<Characters>()?.0;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Characters(sum))
    }
}

/// Whether text stands under a key.
struct HoldsText(bool);

impl<'de> Deserialize<'de> for HoldsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = HoldsText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<HoldsText, E> {
                Ok(HoldsText(TEXT_KEYS.contains(&key)))
            }
        }
        deserializer.deserialize_str(Key)
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
    fn what_is_too_deep_counts_as_nothing() {
        let deep = format!(r#"{{"messages":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(prompt(&deep), 0);
    }
}
