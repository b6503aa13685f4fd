//! How many tokens a request may take.

use policy::limits::Tokens;
use providers::Task;
use serde_json::Value;
use wire::raw::RawObject;

use crate::call::Call;

/// Where the formats of clients say how long one answer may be, and how many there shall be.
const LENGTHS: [&str; 3] = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
const COUNTS: [&str; 2] = ["n", "best_of"];
/// The same of those that say it one level down.
const CONFIGS: [&str; 3] = ["generationConfig", "generation_config", "inferenceConfig"];
const CONFIG_LENGTHS: [&str; 3] = ["maxOutputTokens", "max_output_tokens", "maxTokens"];
const CONFIG_COUNTS: [&str; 2] = ["candidateCount", "candidate_count"];

/// `usual` is how many tokens answers of the endpoint have.
pub(super) fn tokens(call: &Call<'_>, usual: u64) -> Tokens {
    if call.dialect.is_free() {
        return Tokens::default();
    }
    let input = call.lengths().usage().prompt_tokens;
    if call.endpoint.task == Task::Embeddings {
        return with_answer(input, 0, Some(0));
    }
    with_answer(input, usual, longest_answer(&call.body))
}

/// How many tokens an answer to `body` is taken to have that nobody has seen.
pub(super) fn unseen(body: &RawObject<'_>, usual: u64) -> u64 {
    longest_answer(body).unwrap_or(usual)
}

/// `longest` is what the request allows; without it, what is usual stands in.
fn with_answer(input: u64, usual: u64, longest: Option<u64>) -> Tokens {
    let longest = longest.unwrap_or(usual);
    // What is not free takes something: nothing would fit where there is no room.
    let plus = |output: u64| input.saturating_add(output).max(1);
    Tokens { least: plus(longest.min(1)), expected: plus(usual.min(longest)), most: plus(longest) }
}

fn longest_answer(body: &RawObject<'_>) -> Option<u64> {
    let config = CONFIGS.iter().find_map(|name| body.get::<Value>(name).ok().flatten());
    let outer = |names: &[&str]| names.iter().find_map(|name| body.get::<u64>(name).ok().flatten());
    let inner = |names: &[&str]| names.iter().find_map(|name| config.as_ref()?.get(name)?.as_u64());
    let length = outer(&LENGTHS).or_else(|| inner(&CONFIG_LENGTHS))?;
    let count = outer(&COUNTS).or_else(|| inner(&CONFIG_COUNTS)).unwrap_or(1).max(1);
    Some(length.saturating_mul(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_says_its_bound_in_its_own_place() {
        let longest = |body: &str| longest_answer(&RawObject::parse(body.as_bytes()).unwrap());
        for (body, tokens) in [
            (r#"{"max_tokens":7}"#, Some(7)),
            (r#"{"max_completion_tokens":7,"n":3}"#, Some(21)),
            (r#"{"max_output_tokens":7}"#, Some(7)),
            (r#"{"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}"#, Some(14)),
            (r#"{"generation_config":{"max_output_tokens":7}}"#, Some(7)),
            (r#"{"inferenceConfig":{"maxTokens":7}}"#, Some(7)),
            (r#"{"max_tokens":null,"n":2}"#, None),
            (r#"{"max_tokens":"7"}"#, None),
            (r#"{"max_tokens":-7,"generationConfig":[]}"#, None),
        ] {
            assert_eq!(longest(body), tokens, "{body}");
        }
    }

    #[test]
    fn the_request_s_own_bound_counts_and_what_is_usual_stands_in_for_none() {
        let of = |least, expected, most| Tokens { least, expected, most };
        assert_eq!(with_answer(100, 50, Some(32_000)), of(101, 150, 32_100));
        assert_eq!(with_answer(100, 50, Some(20)), of(101, 120, 120));
        assert_eq!(with_answer(100, 50, None), of(101, 150, 150));
        assert_eq!(with_answer(100, 0, Some(0)), of(100, 100, 100));
        assert_eq!(with_answer(1, 5, Some(u64::MAX)).most, u64::MAX);
        assert_eq!(with_answer(0, 0, Some(0)), of(1, 1, 1));
    }
}
