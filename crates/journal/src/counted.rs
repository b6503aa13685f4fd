//! Usage as it is stored: three totals, and the tokens by kind. What else a provider told stays out of the
//! journal: its names and its depth are the provider's, and nobody reads it there.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::counts::{TokenCounts, TokenKind};
use wire::usage::Usage;

/// Most tokens of a kind that count of one call. None uses as many, and sums have room for them.
const MAX_TOKENS: u64 = 1 << 40;

/// What else stands there is passed over.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    /// By the name of the kind; none where there are totals alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    tollgate_counts: Option<BTreeMap<String, u64>>,
}

pub(crate) fn serialize<S: Serializer>(usage: &Usage, serializer: S) -> Result<S::Ok, S::Error> {
    let counts = usage.counts();
    let kinds = counts.iter().filter(|(_, count)| *count > 0);
    let stored = Stored {
        prompt_tokens: usage.prompt_tokens.min(MAX_TOKENS),
        completion_tokens: usage.completion_tokens.min(MAX_TOKENS),
        total_tokens: usage.total_tokens.min(MAX_TOKENS),
        tollgate_counts: Some(
            kinds.map(|(kind, count)| (kind.as_str().to_owned(), count.min(MAX_TOKENS))).collect(),
        ),
    };
    stored.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Usage, D::Error> {
    let stored = Stored::deserialize(deserializer)?;
    let usage = Usage {
        prompt_tokens: stored.prompt_tokens.min(MAX_TOKENS),
        completion_tokens: stored.completion_tokens.min(MAX_TOKENS),
        total_tokens: stored.total_tokens.min(MAX_TOKENS),
        ..Usage::default()
    };
    let Some(kinds) = stored.tollgate_counts else { return Ok(usage) };
    let count = |kind: &TokenKind| Some((*kind, (*kinds.get(kind.as_str())?).min(MAX_TOKENS)));
    Ok(usage.with_counts(TokenKind::ALL.iter().filter_map(count).collect::<TokenCounts>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CountedUsage, Provenance};

    fn stored(usage: Usage) -> Usage {
        let counted = CountedUsage { usage, provenance: Provenance::Provider };
        let text = serde_json::to_string(&counted).unwrap();
        serde_json::from_str::<CountedUsage>(&text).unwrap_or_else(|e| panic!("{e}: {text}")).usage
    }

    #[test]
    fn no_kind_is_lost() {
        let counts = TokenKind::ALL.iter().zip(1..);
        let counts = counts.fold(TokenCounts::default(), |sum, (kind, count)| sum.and(*kind, count));
        for usage in [Usage::new(3, 4), Usage::new(3, 4).with_counts(counts)] {
            let read = stored(usage.clone());
            assert_eq!(read.counts(), usage.counts());
            assert_eq!((read.prompt_tokens, read.completion_tokens, read.total_tokens), (3, 4, 7));
        }
    }

    #[test]
    fn what_a_provider_calls_its_own_fields_does_not_matter() {
        let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
        for told in [r#"[]"#, r#"{"input":"x"}"#, r#"{"x":{}}"#, &deep] {
            let text = format!(
                r#"{{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"tollgate_counts":{told},"x":{told},
                "prompt_tokens_details":{{"cached_tokens":2,"x":{told}}}}}"#
            );
            let usage: Usage = serde_json::from_str(&text).unwrap();
            let read = stored(usage);
            assert_eq!((read.counts().get(TokenKind::CacheRead), read.counts().total()), (2, 7), "{told}");
        }
    }

    #[test]
    fn counts_that_no_call_can_have_are_cut() {
        let usage = Usage { prompt_tokens: u64::MAX, total_tokens: u64::MAX, ..Usage::default() };
        let read = stored(usage);
        assert_eq!((read.prompt_tokens, read.counts().total()), (MAX_TOKENS, MAX_TOKENS));
    }
}
