//! What an entity takes where the caller sends nothing.

use std::borrow::Cow;

use policy::endpoint::DefaultParams;
use serde_json::Value;
use wire::chat::ChatRequest;
use wire::raw::RawObject;

/// Fills a request in its bytes; what was sent stays as it was.
pub(super) fn fill(body: &mut RawObject<'_>, params: &DefaultParams) {
    let missing: Vec<_> = params
        .missing(|name| body.raw(name).is_some_and(|raw| raw.get() != "null"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, value) in missing {
        body.set_raw(Cow::Owned(name), Cow::Owned(value));
    }
}

/// The same for a request that was read.
pub(super) fn filled(request: ChatRequest, params: &DefaultParams) -> Result<ChatRequest, serde_json::Error> {
    if params.is_empty() {
        return Ok(request);
    }
    let mut value = serde_json::to_value(request)?;
    let missing: Vec<_> = params
        .missing(|name| value.get(name).is_some_and(|sent| !sent.is_null()))
        .map(|(name, raw)| Ok((name.to_owned(), serde_json::from_str(raw.get())?)))
        .collect::<Result<Vec<(String, Value)>, serde_json::Error>>()?;
    if let Some(fields) = value.as_object_mut() {
        fields.extend(missing);
    }
    serde_json::from_value(value)
}
