//! Token usage in the one convention of the unified format.

use serde::{Deserialize, Serialize};

use crate::Object;
use crate::counts::{TokenCounts, TokenKind};

/// `prompt_tokens` is all input, cache reads and writes included; `completion_tokens` includes
/// reasoning; the details carry the split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(default, deserialize_with = "null_is_zero")]
    pub prompt_tokens: u64,
    #[serde(default, deserialize_with = "null_is_zero")]
    pub completion_tokens: u64,
    #[serde(default, deserialize_with = "null_is_zero")]
    pub total_tokens: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptDetails>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<CompletionDetails>,
    #[serde(flatten)]
    pub extra: Object,
    /// What the provider told in a format of its own that has more kinds than this one. Clients do not see it.
    #[serde(skip)]
    pub counts: Option<Box<TokenCounts>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptDetails {
    /// Input read from the provider's prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Input written to the provider's prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation_tokens: Option<u64>,
    #[serde(flatten)]
    pub extra: Object,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionDetails {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    #[serde(flatten)]
    pub extra: Object,
}

impl Usage {
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            ..Self::default()
        }
    }

    pub fn cached_tokens(&self) -> Option<u64> {
        self.prompt_tokens_details.as_ref()?.cached_tokens
    }

    pub fn cache_creation_tokens(&self) -> Option<u64> {
        self.prompt_tokens_details.as_ref()?.cache_creation_tokens
    }

    /// Databricks' model APIs tell it beside the completion's count, not in its details. What other engines tell there
    /// and is in no count is not taken.
    pub fn reasoning_tokens(&self) -> Option<u64> {
        let detail = self.completion_tokens_details.as_ref().and_then(|details| details.reasoning_tokens);
        let sum = self.prompt_tokens.saturating_add(self.completion_tokens);
        let is_counted = |tokens: &u64| {
            *tokens <= self.completion_tokens || self.total_tokens == sum.saturating_add(*tokens)
        };
        detail.or_else(|| self.extra.get("reasoning_tokens")?.as_u64().filter(is_counted))
    }

    /// Whether it says anything: engines that do not count send an empty usage, nulls or zeros.
    pub fn is_told(&self) -> bool {
        self.counts().total() > 0
    }

    /// With the counts that stand behind it.
    #[must_use]
    pub fn with_counts(self, counts: TokenCounts) -> Self {
        Self { counts: Some(Box::new(counts)), ..self }
    }

    /// The same in kinds that do not overlap and add up to what the provider counts in all.
    pub fn counts(&self) -> TokenCounts {
        self.counts.as_deref().copied().unwrap_or_else(|| self.split())
    }

    /// As the unified format has it: the details are parts of the counts they stand under. Engines that
    /// speak it with the names of another format for their cache are understood.
    fn split(&self) -> TokenCounts {
        let of = |extra: Option<&Object>, key: &str| extra.and_then(|extra| extra.get(key)?.as_u64());
        let other = |key| of(Some(&self.extra), key);
        let (prompt, answer) = (self.prompt_tokens_details.as_ref(), self.completion_tokens_details.as_ref());
        let prompt_part = |key| of(prompt.map(|details| &details.extra), key);
        let answer_part = |key| of(answer.map(|details| &details.extra), key);
        let read = self.cached_tokens().or_else(|| OTHER_READS.into_iter().find_map(other));
        let written = self.cache_creation_tokens().or_else(|| other("cache_creation_input_tokens"));
        self.whole()
            .of_which(TokenKind::CacheRead, read)
            .of_which(TokenKind::CacheWrite5m, written)
            .of_which(TokenKind::InputAudio, prompt_part("audio_tokens"))
            .of_which(TokenKind::InputImage, prompt_part("image_tokens"))
            .of_which(TokenKind::Reasoning, self.reasoning_tokens())
            .of_which(TokenKind::OutputAudio, answer_part("audio_tokens"))
            .of_which(TokenKind::OutputImage, answer_part("image_tokens"))
    }

    /// Input and output. Some engines count reasoning beside the completion: the total tells. One that
    /// gives nothing but a total has only input.
    fn whole(&self) -> TokenCounts {
        let (prompt, completion, total) = (self.prompt_tokens, self.completion_tokens, self.total_tokens);
        let reasoning = self.reasoning_tokens().unwrap_or(0);
        let sum = prompt.saturating_add(completion);
        let beside = reasoning > 0 && total == sum.saturating_add(reasoning);
        let input = if sum == 0 { total } else { prompt };
        TokenCounts::new(input, completion.saturating_add(if beside { reasoning } else { 0 }))
    }
}

/// What engines call input from the cache, which they count in `prompt_tokens` too.
const OTHER_READS: [&str; 2] = ["cache_read_input_tokens", "prompt_cache_hit_tokens"];

/// Some engines send `null` for a count they do not have.
fn null_is_zero<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    Ok(Option::<u64>::deserialize(d)?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_missing_counts_are_normal() {
        let usage: Usage = serde_json::from_str(
            r#"{"prompt_tokens":3,"completion_tokens":null,"prompt_tokens_details":null}"#,
        )
        .unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (3, 0, 0));
        assert_eq!(usage.counts(), TokenCounts::new(3, 0));
    }

    fn counts(json: &str) -> Vec<(TokenKind, u64)> {
        let usage: Usage = serde_json::from_str(json).unwrap();
        usage.counts().iter().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn details_are_parts_of_what_they_stand_under() {
        use TokenKind::{CacheRead, Input, InputAudio, Output, OutputAudio, Reasoning};
        let told = r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"cached_tokens":60,"audio_tokens":10},
            "completion_tokens_details":{"reasoning_tokens":30,"audio_tokens":5,"accepted_prediction_tokens":9}}"#;
        let kinds =
            [(Input, 30), (CacheRead, 60), (InputAudio, 10), (Output, 15), (Reasoning, 30), (OutputAudio, 5)];
        assert_eq!(counts(told), kinds);
        // More is told of a part than there is of the whole.
        let odd = r#"{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,
            "prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":3}}"#;
        assert_eq!(counts(odd), [(CacheRead, 10), (Reasoning, 2)]);
    }

    #[test]
    fn what_engines_count_in_their_own_way_adds_up_to_their_total() {
        use TokenKind::{CacheRead, CacheWrite5m, Input, Output, Reasoning};
        let beside = r#"{"prompt_tokens":10,"completion_tokens":2,"total_tokens":15,
            "completion_tokens_details":{"reasoning_tokens":3}}"#;
        assert_eq!(counts(beside), [(Input, 10), (Output, 2), (Reasoning, 3)]);
        let cache = r#"{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,
            "cache_read_input_tokens":4,"cache_creation_input_tokens":5}"#;
        assert_eq!(counts(cache), [(Input, 1), (CacheRead, 4), (CacheWrite5m, 5), (Output, 2)]);
        let hits =
            r#"{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_cache_hit_tokens":8}"#;
        assert_eq!(counts(hits), [(Input, 2), (CacheRead, 8), (Output, 2)]);
        assert_eq!(counts(r#"{"total_tokens":7}"#), [(Input, 7)]);
        let at_the_top =
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"reasoning_tokens":3}"#;
        assert_eq!(counts(at_the_top), [(Input, 10), (Output, 2), (Reasoning, 3)]);
        let in_no_count =
            r#"{"prompt_tokens":33,"completion_tokens":7163,"total_tokens":7196,"reasoning_tokens":73997}"#;
        assert_eq!(counts(in_no_count), [(Input, 33), (Output, 7163)]);
    }

    #[test]
    fn zeros_and_nulls_tell_nothing() {
        let told = |json: &str| serde_json::from_str::<Usage>(json).unwrap().is_told();
        for nothing in [
            "{}",
            r#"{"prompt_tokens":null,"completion_tokens":null,"total_tokens":null}"#,
            r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,"prompt_tokens_details":{"cached_tokens":0}}"#,
        ] {
            assert!(!told(nothing), "{nothing}");
        }
        for something in [r#"{"prompt_tokens":1}"#, r#"{"completion_tokens":1}"#, r#"{"total_tokens":1}"#] {
            assert!(told(something), "{something}");
        }
        assert!(Usage::default().with_counts(TokenCounts::new(0, 1)).is_told());
    }

    #[test]
    fn clients_do_not_see_what_only_we_know() {
        let usage = Usage::new(3, 1);
        let told = serde_json::to_string(&usage).unwrap();
        let known = usage.with_counts(TokenCounts::new(3, 0).and(TokenKind::Reasoning, 1));
        assert_eq!(serde_json::to_string(&known).unwrap(), told);
        assert_eq!(known.counts().get(TokenKind::Reasoning), 1);
    }
}
