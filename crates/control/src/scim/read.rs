//! Reading what clients write: names of attributes in any case, lists in any form.

use serde_json::Value;
use wire::error::ApiError;

use super::filter::attribute;

/// Longest name, in characters; longest list of roles or entitlements.
const MAX_NAME: usize = 256;
const MAX_LIST: usize = 200;

/// The text at `name`; `None` when it is absent or null.
pub(super) fn text(body: &Value, name: &str) -> Result<Option<String>, ApiError> {
    match attribute(body, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => checked(name, text).map(Some),
        Some(other) => Err(ApiError::invalid(format!("{name} is {other}, it must be a text"))),
    }
}

fn checked(name: &str, text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if text.chars().count() > MAX_NAME {
        return Err(ApiError::invalid(format!("{name} is longer than {MAX_NAME} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!("{name} holds a control character: {text:?}")));
    }
    Ok(text.to_owned())
}

/// The text at `name`, which must be there.
pub(super) fn required(body: &Value, name: &str) -> Result<String, ApiError> {
    let found = text(body, name)?.filter(|text| !text.is_empty());
    found.ok_or_else(|| ApiError::invalid(format!("{name} is required")))
}

/// Some identity providers send a flag as text.
pub(super) fn flag(body: &Value, name: &str) -> Result<Option<bool>, ApiError> {
    match attribute(body, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(other) => Err(ApiError::invalid(format!("{name} is {other}, it must be true or false"))),
    }
}

/// The `value`s of the items at `name`, each once; `None` when the list is absent. Items that say that
/// they are inherited (`indirect`) are passed over: clients send back what they read. So is `{}`, which the
/// Terraform provider sends for an empty list.
pub(super) fn values(body: &Value, name: &str) -> Result<Option<Vec<String>>, ApiError> {
    let items = match attribute(body, name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(ApiError::invalid(format!("{name} is {other}, it must be a list"))),
    };
    let mut out = Vec::with_capacity(items.len());
    let mut seen = std::collections::HashSet::new();
    for (at, item) in items.iter().enumerate() {
        let nothing = item.as_object().is_some_and(serde_json::Map::is_empty);
        if nothing || attribute(item, "type").is_some_and(|kind| kind == "indirect") {
            continue;
        }
        let value = match attribute(item, "value").unwrap_or(item) {
            Value::String(text) => checked(name, text)?,
            Value::Number(number) => number.to_string(),
            _ => return Err(ApiError::invalid(format!("{name}[{at}] has no value"))),
        };
        if seen.insert(value.clone()) {
            out.push(value);
        }
    }
    Ok(Some(out))
}

/// Roles or entitlements.
pub(super) fn names(body: &Value, name: &str) -> Result<Vec<String>, ApiError> {
    let names = values(body, name)?.unwrap_or_default();
    if names.len() > MAX_LIST {
        return Err(ApiError::invalid(format!(
            "{name} has {} items, at most {MAX_LIST} are allowed",
            names.len()
        )));
    }
    match names.iter().any(String::is_empty) {
        true => Err(ApiError::invalid(format!("{name} holds an empty name"))),
        false => Ok(names),
    }
}
