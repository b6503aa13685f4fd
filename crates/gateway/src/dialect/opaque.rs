//! What a follow-up turn needs to continue the reasoning, as one opaque text: for formats that have a field
//! for such a text and none for blocks. It is signed by the provider that made it, and no secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Tells ours from what a provider of the same format made.
const MARK: &str = "tollgate.";

/// What every sealed text begins with: the mark, in base64.
pub(crate) const PREFIX: &str = "dG9sbGdhdGUu";

/// Blocks as a text of base64 characters.
pub(super) fn seal(blocks: &[Value]) -> Option<String> {
    let bytes = serde_json::to_vec(blocks).ok().filter(|_| !blocks.is_empty())?;
    Some(STANDARD.encode([MARK.as_bytes(), &bytes].concat()))
}

/// The blocks of a text that [`seal`] made; `None` for any other.
pub(super) fn open(text: &str) -> Option<Vec<Value>> {
    let bytes = STANDARD.decode(text).ok()?;
    serde_json::from_slice(bytes.strip_prefix(MARK.as_bytes())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_come_back_and_what_others_made_does_not() {
        let blocks = [json!({"type": "thinking", "thinking": "hm", "signature": "s"})];
        assert_eq!(open(&seal(&blocks).unwrap()).unwrap(), blocks);
        assert!(seal(&blocks).unwrap().starts_with(PREFIX));
        assert_eq!(seal(&[]), None);
        for foreign in ["gAAAAAB", "", "bm90IG91cnM=", "ü"] {
            assert_eq!(open(foreign), None);
        }
    }
}
