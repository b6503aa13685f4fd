//! The fields of a provider's config block: a table that drives reading, refusing, sealing and docs.

use std::fmt;

use serde_json::Value;
use wire::Object;

use crate::nearest;
use crate::secret::SecretRef;

/// One field of a config block. `path` has a dot for a field of an inner object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub path: &'static str,
    pub kind: Kind,
    /// Not in Databricks' schema: an extension of ours.
    pub extension: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A reference to a secret, or its value under `<path>_plaintext` (write-only).
    Secret,
}

impl Field {
    pub const fn text(path: &'static str) -> Self {
        Self { path, kind: Kind::Text, extension: false }
    }

    pub const fn secret(path: &'static str) -> Self {
        Self { path, kind: Kind::Secret, extension: false }
    }

    pub const fn extension(path: &'static str) -> Self {
        Self { path, kind: Kind::Text, extension: true }
    }
}

/// What is wrong with a config block. `field` is a path inside the block, or empty for the block itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub field: String,
    pub reason: String,
}

impl ConfigError {
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.field, self.reason)
        }
    }
}

/// A block whose every field is known.
#[derive(Debug)]
pub struct Block<'a> {
    block: &'a Object,
}

impl<'a> Block<'a> {
    /// Refuses a field that is not in `fields`, naming the nearest one that is.
    pub fn read(block: &'a Object, fields: &[Field]) -> Result<Self, ConfigError> {
        for (name, value) in block {
            match value {
                Value::Object(inner) => {
                    for key in inner.keys() {
                        known(&format!("{name}.{key}"), fields)?;
                    }
                }
                _ => known(name, fields)?,
            }
        }
        Ok(Self { block })
    }

    fn value(&self, path: &str) -> Option<&'a Value> {
        lookup(self.block, path).filter(|v| !v.is_null())
    }

    /// A text that is there and not blank.
    pub fn text(&self, path: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.value(path) {
            None => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim())),
            // The value may be a key in the wrong place: it must not come back in the message.
            Some(other) => Err(ConfigError::new(path, format!("must be a string, not {}", kind_of(other)))),
        }
    }

    pub fn required(&self, path: &str) -> Result<&'a str, ConfigError> {
        self.text(path)?.ok_or_else(|| ConfigError::new(path, "is required"))
    }

    pub fn secret(&self, path: &str) -> Result<Option<SecretRef>, ConfigError> {
        let Some(text) = self.text(path)? else { return Ok(None) };
        // The text may be the key itself: it must not come back in the message.
        SecretRef::parse(text).map(Some).ok_or_else(|| {
            ConfigError::new(
                path,
                format!("must be a reference of the form {{{{secrets/<scope>/<key>}}}}; to send the value itself use {path}_plaintext"),
            )
        })
    }

    pub fn required_secret(&self, path: &str) -> Result<SecretRef, ConfigError> {
        self.secret(path)?
            .ok_or_else(|| ConfigError::new(path, format!("is required: set {path} or {path}_plaintext")))
    }

    pub fn contains(&self, path: &str) -> bool {
        self.value(path).is_some()
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn known(path: &str, fields: &[Field]) -> Result<(), ConfigError> {
    let is_prefix = |f: &Field| f.path.split_once('.').is_some_and(|(outer, _)| outer == path);
    if fields.iter().any(|f| f.path == path || is_prefix(f)) {
        return Ok(());
    }
    let near = nearest(path, fields.iter().map(|f| f.path));
    let hint = near.map_or_else(String::new, |near| format!(", did you mean {near}?"));
    Err(ConfigError::new(path, format!("unknown field{hint}")))
}

/// The value at a path of one or two names.
pub fn lookup<'a>(block: &'a Object, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => block.get(path),
        Some((outer, inner)) => block.get(outer)?.as_object()?.get(inner),
    }
}

/// Takes every `<path>_plaintext` out of a block and puts the reference that `seal` returns in its place.
pub fn take_plaintexts(
    block: &mut Object,
    fields: &[Field],
    mut seal: impl FnMut(String) -> SecretRef,
) -> Result<(), ConfigError> {
    for field in fields.iter().filter(|f| f.kind == Kind::Secret) {
        let (holder, name) = match field.path.split_once('.') {
            None => (&mut *block, field.path),
            Some((outer, inner)) => match block.get_mut(outer).and_then(Value::as_object_mut) {
                Some(holder) => (holder, inner),
                None => continue,
            },
        };
        let plain = holder.remove(&format!("{name}_plaintext"));
        let Some(plain) = plain.filter(|v| !v.is_null()) else { continue };
        let Value::String(value) = plain else {
            return Err(ConfigError::new(format!("{}_plaintext", field.path), "must be a string"));
        };
        if value.is_empty() {
            continue;
        }
        if holder.get(name).is_some_and(|v| v.as_str().is_some_and(|s| !s.is_empty())) {
            let both = format!("set {0} or {0}_plaintext, not both", field.path);
            return Err(ConfigError::new(field.path, both));
        }
        holder.insert(name.to_owned(), Value::String(seal(value).to_string()));
    }
    Ok(())
}

/// An `http(s)` base without trailing slashes and without any of `endings`, which users paste with it.
pub fn base_url(path: &str, text: &str, endings: &[&str]) -> Result<String, ConfigError> {
    let mut base = text.trim().trim_end_matches('/');
    for ending in endings {
        base = base.strip_suffix(ending).unwrap_or(base).trim_end_matches('/');
    }
    let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', ' ', '#']) => {
            Ok(base.to_owned())
        }
        // What stands before the @ may be a password: it must not come back in the message.
        _ if text.contains('@') => Err(ConfigError::new(path, "must be a URL without credentials in it")),
        _ => Err(ConfigError::new(path, format!("{text:?} is no http or https URL"))),
    }
}

/// `text` as one segment of a URL's path (RFC 3986: all but the unreserved characters are encoded, and the `@`
/// before a model's version, which may stand there).
pub(crate) fn path_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    // A dot segment would climb.
    if segment == "." || segment == ".." { segment.replace('.', "%2E") } else { segment }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FIELDS: &[Field] =
        &[Field::secret("api_key"), Field::text("api_base"), Field::secret("auth.token")];

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_unknown_field_names_the_nearest() {
        let error = Block::read(&object(json!({"apikey": "x"})), FIELDS).unwrap_err();
        assert_eq!(error.to_string(), "apikey: unknown field, did you mean api_key?");
    }

    #[test]
    fn a_literal_key_is_refused_without_repeating_it() {
        let block = object(json!({"api_key": "sk-very-secret"}));
        let error = Block::read(&block, FIELDS).unwrap().secret("api_key").unwrap_err().to_string();
        assert!(error.contains("api_key_plaintext") && !error.contains("very-secret"), "{error}");
    }

    #[test]
    fn no_message_repeats_what_may_be_a_secret() {
        let block =
            object(json!({"api_key": ["sk-very-secret"], "auth": {"token": {"x": "sk-very-secret"}}}));
        let block = Block::read(&block, FIELDS).unwrap();
        for error in [block.secret("api_key").unwrap_err(), block.secret("auth.token").unwrap_err()] {
            assert!(
                error.reason.starts_with("must be a string, not ") && !error.reason.contains("very-secret")
            );
        }
        let error = base_url("b", "https://user:very-secret@h", &[]).unwrap_err();
        assert!(!error.to_string().contains("very-secret"), "{error}");
    }

    #[test]
    fn plaintexts_are_taken_out() {
        let mut block = object(json!({"api_key_plaintext": "s1", "auth": {"token_plaintext": "s2"}}));
        let mut taken = Vec::new();
        take_plaintexts(&mut block, FIELDS, |value| {
            taken.push(value);
            SecretRef::Internal(taken.len().to_string())
        })
        .unwrap();
        assert_eq!(taken, ["s1", "s2"]);
        assert_eq!(
            Value::Object(block),
            json!({"api_key": "{{internal/1}}", "auth": {"token": "{{internal/2}}"}})
        );
    }

    #[test]
    fn both_spellings_of_a_secret_are_refused() {
        let mut block = object(json!({"api_key": "{{secrets/a/b}}", "api_key_plaintext": "s1"}));
        assert!(take_plaintexts(&mut block, FIELDS, |_| unreachable!()).is_err());
    }

    #[test]
    fn a_segment_of_a_path_stays_one() {
        assert_eq!(path_segment("gpt-4.1_x~y"), "gpt-4.1_x~y");
        assert_eq!(path_segment("a/b?c=ü %"), "a%2Fb%3Fc%3D%C3%BC%20%25");
        assert_eq!(path_segment(".."), "%2E%2E");
    }

    #[test]
    fn bases_are_normalised() {
        let base = |text| base_url("b", text, &["/messages", "/v1"]);
        assert_eq!(base("http://h:1/v1/messages").unwrap(), "http://h:1");
        assert_eq!(base("https://h/x/").unwrap(), "https://h/x");
        for bad in ["h:1", "ftp://h", "https://", "https://user:pw@h", "https:///x"] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }
}
