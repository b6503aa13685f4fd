//! What is looked at in candidates that pass through: usage, errors and the end.

use bytes::BytesMut;
use serde_json::Value;
use wire::usage::{CompletionDetails, PromptDetails, Usage};

use crate::dialect::{Seen, Watch, write};
use crate::error::ServeError;
use crate::shape::Shape;

pub(super) fn new() -> Box<dyn Watch> {
    Box::<Events>::default()
}

/// Thoughts are counted apart; the unified count includes them.
pub(super) fn usage(response: &Value) -> Option<Usage> {
    let counts = &response["usageMetadata"];
    let prompt = counts["promptTokenCount"].as_u64()?;
    let candidates = counts["candidatesTokenCount"].as_u64().unwrap_or(0);
    let thoughts = counts["thoughtsTokenCount"].as_u64();
    // Some models count their thoughts among the candidates: the total tells.
    let total = counts["totalTokenCount"].as_u64();
    let included = total == Some(prompt.saturating_add(candidates));
    let completion = candidates.saturating_add(thoughts.filter(|_| !included).unwrap_or(0));
    let cached_tokens = counts["cachedContentTokenCount"].as_u64();
    Some(Usage {
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: prompt.saturating_add(completion),
        prompt_tokens_details: cached_tokens
            .map(|_| PromptDetails { cached_tokens, ..PromptDetails::default() }),
        completion_tokens_details: thoughts
            .map(|_| CompletionDetails { reasoning_tokens: thoughts, ..CompletionDetails::default() }),
        ..Usage::default()
    })
}

#[derive(Default)]
struct Events {
    usage: Option<Usage>,
    finished: bool,
}

impl Watch for Events {
    fn see(&mut self, _name: &str, data: &Value) -> Seen {
        if data["error"].is_object() {
            return Seen::Error(data.clone());
        }
        // Counts are cumulative: the last one is right.
        self.usage = usage(data).or(self.usage.take());
        let candidates = || data["candidates"].as_array().into_iter().flatten();
        self.finished |= candidates().any(|c| c["finishReason"].is_string())
            || data["promptFeedback"]["blockReason"].is_string();
        let parts = candidates().flat_map(|c| c["content"]["parts"].as_array().into_iter().flatten());
        Seen::More {
            text: parts.filter_map(|p| p["text"].as_str()).map(|text| text.chars().count() as u64).sum(),
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn is_complete(&self) -> bool {
        self.finished
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        write(out, "", &Shape::GenerateContent.body(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_count_is_right_and_thoughts_are_counted_once() {
        let mut events = Events::default();
        events.see("", &json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": 4}}));
        assert!(!events.is_complete());
        let counts = json!({"promptTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 9});
        events.see("", &json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": counts}));
        assert!(events.is_complete());
        assert_eq!(events.usage().unwrap().completion_tokens, 5);
        let included = json!({"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 7}});
        assert_eq!(usage(&included).unwrap().completion_tokens, 3);
    }
}
