//! What was used, from the format's counts to the unified ones.

use ::wire::counts::{TokenCounts, TokenKind};
use ::wire::usage::{CompletionDetails, PromptDetails, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::wire::Counts;

/// The usage that `metadata`, the `usageMetadata` of a reply or of an event, tells.
pub fn generate_content_usage(metadata: &Value) -> Option<Usage> {
    usage(&Counts::deserialize(metadata).ok()?)
}

/// `None` where nothing was counted: a zero would be a claim. The counts are not ours: sums saturate.
pub(super) fn usage(told: &Counts) -> Option<Usage> {
    let parts = [
        told.prompt_token_count,
        told.tool_use_prompt_token_count,
        told.candidates_token_count,
        told.thoughts_token_count,
    ];
    if parts.iter().all(Option::is_none) {
        return None;
    }
    let counts = counts(told);
    let cached = told.cached_content_token_count;
    let details = PromptDetails { cached_tokens: cached, ..PromptDetails::default() };
    let thoughts = told.thoughts_token_count.map(|_| CompletionDetails {
        reasoning_tokens: Some(counts.get(TokenKind::Reasoning)),
        ..CompletionDetails::default()
    });
    let usage = Usage {
        prompt_tokens: counts.input(),
        completion_tokens: counts.output(),
        total_tokens: counts.total(),
        prompt_tokens_details: cached.map(|_| details),
        completion_tokens_details: thoughts,
        ..Usage::default()
    };
    Some(usage.with_counts(counts))
}

/// `promptTokenCount` has the cached among it, and what tools put into the prompt beside it. Frames of a
/// video are counted as images.
fn counts(told: &Counts) -> TokenCounts {
    let or_none = |count: Option<u64>| count.unwrap_or(0);
    let prompt = or_none(told.prompt_token_count).saturating_add(or_none(told.tool_use_prompt_token_count));
    let (candidates, thoughts) = (or_none(told.candidates_token_count), or_none(told.thoughts_token_count));
    // Some models count their thoughts among the candidates: the total tells.
    let among = told.total_token_count == Some(prompt.saturating_add(candidates));
    let output = if among { candidates } else { candidates.saturating_add(thoughts) };
    let (input, cache, answer) =
        (&told.prompt_tokens_details, &told.cache_tokens_details, &told.candidates_tokens_details);
    let audio = input.of("AUDIO").map(|audio| audio.saturating_sub(or_none(cache.of("AUDIO"))));
    let seen = ["IMAGE", "VIDEO"].map(|kind| or_none(input.of(kind)).saturating_sub(or_none(cache.of(kind))));
    TokenCounts::new(prompt, output)
        .of_which(TokenKind::CacheRead, told.cached_content_token_count)
        .of(TokenKind::CacheRead, TokenKind::CacheReadAudio, cache.of("AUDIO"))
        .of_which(TokenKind::InputAudio, audio)
        .of_which(TokenKind::InputImage, Some(seen[0].saturating_add(seen[1])))
        .of_which(TokenKind::Reasoning, told.thoughts_token_count)
        .of_which(TokenKind::OutputAudio, answer.of("AUDIO"))
        .of_which(TokenKind::OutputImage, answer.of("IMAGE"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thoughts_are_counted_once_wherever_they_stand() {
        let told = |total: u64| {
            let counts = json!({"promptTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": total});
            generate_content_usage(&counts).unwrap()
        };
        assert_eq!((told(9).completion_tokens, told(7).completion_tokens), (5, 3));
        for total in [7, 9] {
            assert_eq!(told(total).counts().total(), total);
        }
    }

    #[test]
    fn kinds_of_input_are_apart_from_what_of_them_was_cached() {
        let counts = json!({"promptTokenCount": 100, "cachedContentTokenCount": 50, "candidatesTokenCount": 8, "totalTokenCount": 108,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 60}, {"modality": "AUDIO", "tokenCount": 30}, {"modality": "IMAGE", "tokenCount": 10}],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}], "candidatesTokensDetails": "soon"});
        let counts = generate_content_usage(&counts).unwrap().counts();
        assert_eq!((counts.input(), counts.output()), (100, 8));
        let of = |kind| counts.get(kind);
        assert_eq!((of(TokenKind::CacheRead), of(TokenKind::CacheReadAudio)), (30, 20));
        assert_eq!(
            (of(TokenKind::InputAudio), of(TokenKind::InputImage), of(TokenKind::Input)),
            (10, 10, 30)
        );
    }

    #[test]
    fn what_is_not_counted_is_no_zero() {
        for nothing in [json!({}), json!(null), json!({"totalTokenCount": 3}), json!("soon")] {
            assert_eq!(generate_content_usage(&nothing), None, "{nothing}");
        }
    }
}
