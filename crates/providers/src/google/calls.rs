//! Ids of calls. The format has none, or ones that are optional, and signs a call with a signature that
//! must come back with it: it travels in the id, the only place that every client keeps.

use std::hash::{DefaultHasher, Hash, Hasher};

use ::wire::chat::ToolCall;
use serde_json::Value;

use super::wire::Call;
use crate::unified::SIGNED_ID;

/// Accepted in the place of a signature for a call that another model made; see "Thought signatures" in
/// the documentation of the Gemini API.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The call as the client gets it. `at` is its place in the answer `response_id`: ids are unique within an
/// answer, and the same whether it is streamed or not.
pub(super) fn tool_call(call: Call, signature: Option<&str>, response_id: &str, at: u64) -> ToolCall {
    let arguments = match call.args {
        Some(args @ Value::Object(_)) => args.to_string(),
        _ => "{}".to_owned(),
    };
    let name = call.name.unwrap_or_default();
    let mut id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
        let mut hash = DefaultHasher::new();
        (response_id, at, &name, &arguments).hash(&mut hash);
        format!("call_{:016x}", hash.finish())
    });
    if let Some(signature) = signature {
        id.push_str(SIGNED_ID);
        // The URL-safe alphabet: other providers refuse ids with other characters.
        id.extend(signature.chars().filter(|c| *c != '=').map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        }));
    }
    ToolCall::function(id, name, arguments)
}

/// The id without its signature.
pub(super) fn plain(id: &str) -> &str {
    id.split_once(SIGNED_ID).map_or(id, |(plain, _)| plain)
}

/// The signature that came with the call: in its id, or where Google's own OpenAI-compatible API puts it.
pub(super) fn signature(call: &ToolCall) -> Option<String> {
    let told = call.extra.get("extra_content").and_then(|e| e["google"]["thought_signature"].as_str());
    if let Some(told) = told.filter(|told| !told.is_empty()) {
        return Some(told.to_owned());
    }
    let (_, carried) = call.id.split_once(SIGNED_ID)?;
    let mut signature: String = carried
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    while !signature.len().is_multiple_of(4) {
        signature.push('=');
    }
    Some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_comes_back_from_the_id_as_it_was() {
        for sent in ["Ci8BPhg+Q/5x", "AA==", "QUI="] {
            let call = tool_call(Call::default(), Some(sent), "r", 0);
            assert_eq!(signature(&call).as_deref(), Some(sent));
            assert!(call.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            assert!(!plain(&call.id).contains(SIGNED_ID));
        }
    }

    #[test]
    fn equal_calls_have_unlike_ids() {
        let id = |response: &str, at| tool_call(Call::default(), None, response, at).id;
        assert_ne!(id("r", 0), id("r", 1));
        assert_ne!(id("r", 0), id("s", 0));
        assert_eq!(id("r", 0), id("r", 0));
    }
}
