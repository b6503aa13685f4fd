//! The record of a management call: who did what, on what, from where, before and after. It is written
//! before the effect; reads are recorded when they are refused, and when they give out a secret.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use http::header::USER_AGENT;
use http::request::Parts;
use journal::RequestId;
use journal::audit::{AuditPhase, AuditRecord, Peer};
use policy::Principal;
use providers::SecretRef;
use serde_json::Value;

use crate::Control;
use crate::access::Route;

/// Longest text that is kept of a body.
const MAX_TEXT: usize = 64 << 10;

const ELIDED: &str = "[elided]";

/// Parts of key names whose values are secrets.
const SECRET_NAMES: [&str; 9] = [
    "plaintext",
    "string_value",
    "bytes_value",
    "secret",
    "token",
    "password",
    "api_key",
    "private_key",
    "access_key",
];

/// What all records of one call share.
pub(crate) struct Trail {
    request_id: RequestId,
    principal: Option<Arc<str>>,
    peer: Option<IpAddr>,
    user_agent: String,
    method: Method,
    route: &'static str,
    path: String,
    request: String,
}

impl Trail {
    pub(crate) fn new(route: &Route, parts: &Parts) -> Self {
        let agent = parts.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        Self {
            request_id: parts.extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId("-".into())),
            principal: None,
            peer: parts.extensions.get::<Peer>().map(|p| p.0),
            user_agent: agent.chars().take(200).collect(),
            method: route.method.clone(),
            route: route.path,
            path: parts.uri.path().to_owned(),
            request: String::new(),
        }
    }

    pub(crate) fn caller(&mut self, principal: Option<&Principal>) {
        self.principal = principal.map(|p| Arc::clone(&p.name));
    }

    pub(crate) fn body(&mut self, body: &[u8]) {
        if self.changes() {
            self.request = self.text(body);
        }
    }

    /// Whether the call changes something, or gives out a secret.
    pub(crate) fn changes(&self) -> bool {
        self.method != Method::GET || self.route == "/api/2.0/secrets/get"
    }

    pub(crate) fn allowed(&self, control: &Control, before: Option<Value>) {
        if self.changes() {
            let before = before.map(|value| elide(value, false).to_string()).unwrap_or_default();
            self.write(control, AuditPhase::Allowed { before });
        }
    }

    pub(crate) fn denied(&self, control: &Control, status: u16) {
        self.write(control, AuditPhase::Denied { status });
    }

    pub(crate) fn done(&self, control: &Control, status: u16, answer: &[u8]) {
        if self.changes() {
            self.write(control, AuditPhase::Done { status, after: self.text(answer) });
        }
    }

    fn text(&self, body: &[u8]) -> String {
        text(body, self.route.contains("/scim/") || self.route.ends_with("/tags"))
    }

    fn write(&self, control: &Control, phase: AuditPhase) {
        control.inner.audit.record(&AuditRecord {
            request_id: self.request_id.clone(),
            phase,
            principal: self.principal.clone(),
            peer: self.peer,
            user_agent: self.user_agent.clone(),
            method: self.method.to_string(),
            route: self.route,
            path: self.path.clone(),
            request: self.request.clone(),
        });
    }
}

/// A body as JSON text without its secrets; what is no JSON is not kept, it could be anything.
/// `plain_values` says that what is called `value` is an id or a tag, not the value of a secret.
fn text(body: &[u8], plain_values: bool) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let text = elide(value, plain_values).to_string();
    if text.len() > MAX_TEXT { "[longer than 64 KiB]".to_owned() } else { text }
}

/// Replaces every value that may be a secret. References to secrets stay: they say which.
fn elide(value: Value, plain_values: bool) -> Value {
    match value {
        Value::Object(map) => {
            let elide_entry = |(key, value): (String, Value)| {
                let plain = key == "value" && plain_values;
                let secret = !plain && is_secret(&key, &value);
                let inner_plain = plain_values || key == "tags";
                (key, if secret { Value::from(ELIDED) } else { elide(value, inner_plain) })
            };
            Value::Object(map.into_iter().map(elide_entry).collect())
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| elide(item, plain_values)).collect())
        }
        other => other,
    }
}

fn is_secret(key: &str, value: &Value) -> bool {
    let Value::String(text) = value else { return false };
    let key = key.to_ascii_lowercase();
    // `value` alone is the value of a secret, or of a header that carries one.
    let named = key == "value" || SECRET_NAMES.iter().any(|name| key.contains(name));
    // Ids of tokens and secrets name them and are not them.
    named && !key.ends_with("_id") && SecretRef::parse(text).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_elided_and_references_stay() {
        let body = json!({
            "string_value": "s1", "tags": [{"key": "team", "value": "support"}], "token_value": "dapi1", "token_id": "t1", "name": "n",
            "config": {"served_entities": [{"external_model": {
                "openai_config": {"openai_api_key": "{{secrets/a/b}}", "openai_api_key_plaintext": "s2"},
                "p_config": {"api_key": "literal", "bearer_token_auth": {"token": "s3"}, "api_key_auth": {"key": "x-k", "value": "s4"}}}}]},
        });
        let text = text(body.to_string().as_bytes(), false);
        for secret in ["s1", "dapi1", "s2", "s3", "s4", "literal"] {
            assert!(!text.contains(&format!("\"{secret}\"")), "{secret} in {text}");
        }
        for kept in ["{{secrets/a/b}}", "t1", "\"x-k\"", "\"n\"", "support"] {
            assert!(text.contains(kept), "{kept} not in {text}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_kept() {
        assert_eq!(text(b"client_secret=s1", false), "");
    }
}
