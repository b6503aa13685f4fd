//! What an entity takes where the caller sends nothing.

use std::borrow::Cow;

use policy::endpoint::DefaultParams;
use serde_json::Value;
use wire::chat::ChatRequest;
use wire::raw::RawObject;

/// Words of other formats for what a parameter says: a caller who used one has said it, also where the word
/// for it in the unified format is none.
const OTHER_WORDS: [(&str, &[&str]); 1] = [("reasoning_effort", &["thinking", "reasoning", "output_config"])];

/// Whether the caller's own body says what `name` is about. A choice among tools says nothing where there
/// are none, and is refused there.
fn is_said(body: &RawObject<'_>, name: &str) -> bool {
    let has = |field: &str| body.raw(field).is_some_and(|raw| raw.get() != "null");
    if name == "parallel_tool_calls" {
        let disables =
            |raw: &str| memchr::memmem::find(raw.as_bytes(), b"disable_parallel_tool_use").is_some();
        return !has("tools") || has(name) || body.raw("tool_choice").is_some_and(|raw| disables(raw.get()));
    }
    let words = OTHER_WORDS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, words)| words);
    has(name) || words.iter().any(|word| has(word))
}

/// Fills a request in its bytes; what was sent stays as it was.
pub(super) fn fill(body: &mut RawObject<'_>, params: &DefaultParams) {
    let missing: Vec<_> = params
        .missing(|name| is_said(body, name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, value) in missing {
        body.set_raw(Cow::Owned(name), Cow::Owned(value));
    }
}

/// The same for a request that was read from `body`.
pub(super) fn filled(
    request: ChatRequest,
    params: &DefaultParams,
    body: &RawObject<'_>,
) -> Result<ChatRequest, serde_json::Error> {
    // To see what the request says it is written out and read again: not where the body has said it all.
    if params.missing(|name| is_said(body, name)).next().is_none() {
        return Ok(request);
    }
    let mut value = serde_json::to_value(request)?;
    let missing: Vec<_> = params
        .missing(|name| value.get(name).is_some_and(|sent| !sent.is_null()) || is_said(body, name))
        .map(|(name, raw)| Ok((name.to_owned(), serde_json::from_str(raw.get())?)))
        .collect::<Result<Vec<(String, Value)>, serde_json::Error>>()?;
    if let Some(fields) = value.as_object_mut() {
        fields.extend(missing);
    }
    serde_json::from_value(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_that_says_everything_is_not_built_anew() {
        let model = json!({"max_tokens": 5});
        let params = DefaultParams::new(model.as_object());
        // JSON has no such number: what is built anew has lost it.
        let request = ChatRequest { temperature: Some(f64::NAN), ..ChatRequest::default() };
        let filled = |body: &str| {
            filled(request.clone(), &params, &RawObject::parse(body.as_bytes()).unwrap()).unwrap()
        };
        assert!(filled(r#"{"max_tokens":7}"#).temperature.is_some());
        assert_eq!(filled("{}").max_tokens, Some(5));
    }
}
