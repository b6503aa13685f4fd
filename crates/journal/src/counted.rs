//! Usage as it is stored: what clients are told of it, and beside that the kinds that they are not told.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::counts::{TokenCounts, TokenKind};
use wire::usage::Usage;

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    usage: &'a Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    tollgate_counts: Option<&'a TokenCounts>,
}

#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    usage: Usage,
    /// By the name of the kind.
    #[serde(default)]
    tollgate_counts: Option<BTreeMap<String, u64>>,
}

pub(crate) fn serialize<S: Serializer>(usage: &Usage, serializer: S) -> Result<S::Ok, S::Error> {
    Written { usage, tollgate_counts: usage.counts.as_deref() }.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Usage, D::Error> {
    let Read { usage, tollgate_counts } = Read::deserialize(deserializer)?;
    let Some(stored) = tollgate_counts else { return Ok(usage) };
    let count = |kind: &TokenKind| stored.get(kind.as_str()).map(|count| (*kind, *count));
    let counts = TokenKind::ALL.iter().filter_map(count);
    Ok(usage.with_counts(counts.fold(TokenCounts::default(), |sum, (kind, count)| sum.and(kind, count))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CountedUsage, Provenance};

    #[test]
    fn no_kind_is_lost() {
        let counts = TokenKind::ALL.iter().zip(1..);
        let counts = counts.fold(TokenCounts::default(), |sum, (kind, count)| sum.and(*kind, count));
        for usage in [Usage::new(3, 4), Usage::new(3, 4).with_counts(counts)] {
            let counted = CountedUsage { usage, provenance: Provenance::Provider };
            let text = serde_json::to_string(&counted).unwrap();
            assert_eq!(serde_json::from_str::<CountedUsage>(&text).unwrap(), counted, "{text}");
        }
    }
}
