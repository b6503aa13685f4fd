//! Secrets by name. A provider never holds a value.

use std::fmt;

/// The name of a secret, as it stands in a provider's config.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretRef {
    /// `{{secrets/<scope>/<key>}}`: a secret of a scope. Scope names are case-insensitive, so the scope
    /// is kept in lower case here.
    Scope { scope: String, key: String },
    /// `{{internal/<id>}}`: the server's own copy of a credential that came as `*_plaintext`.
    Internal(String),
}

impl SecretRef {
    /// Reads `{{secrets/…}}` or `{{internal/…}}`; `None` for anything else, a literal key above all.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
        if let Some(id) = inner.strip_prefix("internal/") {
            return (!id.is_empty()).then(|| Self::Internal(id.to_owned()));
        }
        let (scope, key) = inner.strip_prefix("secrets/")?.split_once('/')?;
        if scope.is_empty() || key.is_empty() {
            return None;
        }
        Some(Self::Scope { scope: scope.to_lowercase(), key: key.to_owned() })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope { scope, key } => write!(f, "{{{{secrets/{scope}/{key}}}}}"),
            Self::Internal(id) => write!(f, "{{{{internal/{id}}}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_references_and_nothing_else() {
        let scope = SecretRef::parse("{{secrets/Keys/openai}}").unwrap();
        assert_eq!(scope, SecretRef::Scope { scope: "keys".into(), key: "openai".into() });
        assert_eq!(SecretRef::parse(&scope.to_string()), Some(scope));
        assert_eq!(SecretRef::parse("{{internal/7}}"), Some(SecretRef::Internal("7".into())));
        for text in
            ["sk-123", "{{secrets/a}}", "{{secrets//k}}", "{{env/x}}", "{secrets/a/b}", "{{internal/}}", ""]
        {
            assert_eq!(SecretRef::parse(text), None, "{text}");
        }
    }
}
