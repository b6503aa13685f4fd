//! The record of a management call: who did what, on what, from where, before and after. It is written
//! before the effect; reads are recorded when they are refused, and when they give out a secret.

mod subject;

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use http::header::USER_AGENT;
use http::request::Parts;
use journal::RequestId;
use journal::audit::{AuditPhase, AuditRecord, Peer};
use policy::Principal;
use providers::SecretRef;
use serde_json::{Map, Value};

use crate::access::{Needs, Route};
use crate::{Control, endpoints, workspace};

pub(crate) use subject::Subject;

/// Longest text that is kept of a body.
const MAX_TEXT: usize = 64 << 10;

/// Longest path and longest reason for a refusal, in characters, and longest text that is kept of what was refused, in
/// bytes: whoever asks can make the server keep these.
const MAX_PATH: usize = 1024;
const MAX_MESSAGE: usize = 1024;
const MAX_REFUSED: usize = 4 << 10;

/// Parameters of a query that name what a read is on, and how many characters are kept of each.
const NAMES: [&str; 4] = ["scope", "key", "principal", "path"];
const MAX_NAME: usize = 2048;

const ELIDED: &str = "[elided]";

/// Parts of key names whose values are secrets.
const SECRET_NAMES: [&str; 10] = [
    "plaintext",
    "string_value",
    "bytes_value",
    "secret",
    "token",
    "password",
    "api_key",
    "private_key",
    "access_key",
    // Of a file.
    "content",
];

/// What all records of one call share.
pub(crate) struct Trail {
    request_id: RequestId,
    principal: Option<Arc<str>>,
    peer: Option<IpAddr>,
    user_agent: String,
    method: Method,
    route: &'static str,
    needs: Needs,
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
            needs: route.needs,
            path: parts.uri.path().chars().take(MAX_PATH).collect(),
            request: asked_of(parts),
        }
    }

    pub(crate) fn caller(&mut self, principal: Option<&Principal>) {
        self.principal = principal.map(|p| Arc::clone(&p.name));
    }

    pub(crate) fn body(&mut self, body: &[u8]) {
        // A file is not copied into the audit trail: the path says which it is.
        // Nor is a prompt that nobody is asked, or what anybody may send.
        let (asks, anybody) = (self.route == endpoints::explain::PATH, self.needs == Needs::Nobody);
        if self.method != Method::GET && !asks && !anybody && !workspace::takes_a_file(self.route) {
            self.request = self.text(body);
        }
    }

    /// Whether the call changes something, or gives out a secret or a file, which may hold some.
    pub(crate) fn changes(&self) -> bool {
        (self.method != Method::GET && self.route != endpoints::explain::PATH)
            || self.route == "/api/2.0/secrets/get"
            || workspace::gives_a_file(self.route)
    }

    pub(crate) fn allowed(&self, control: &Control, before: Option<Value>) {
        if self.changes() {
            let before = before.map(|value| bounded(value, self.shown())).unwrap_or_default();
            self.write(control, AuditPhase::Allowed { before });
        }
    }

    pub(crate) fn denied(&mut self, control: &Control, status: u16, message: &str) {
        self.shorten();
        let message = message.chars().take(MAX_MESSAGE).collect();
        self.write(control, AuditPhase::Denied { status, message });
    }

    /// `after` is the object as it is now; where there is none, the answer says what became of the call.
    pub(crate) fn done(&mut self, control: &Control, status: u16, after: Option<Value>, answer: &[u8]) {
        if self.changes() {
            if status >= 400 {
                self.shorten();
            }
            let answer = if workspace::gives_a_file(self.route) { &[] } else { answer };
            let after = after.map_or_else(|| self.text(answer), |value| bounded(value, self.shown()));
            self.write(control, AuditPhase::Done { status, after });
        } else if status == 403 {
            // A read that its handler refused.
            self.denied(control, status, &message(answer));
        }
    }

    /// Whoever is refused does not choose how much is kept of it.
    fn shorten(&mut self) {
        if self.request.len() > MAX_REFUSED {
            self.request = "[longer than 4 KiB]".to_owned();
        }
    }

    fn text(&self, body: &[u8]) -> String {
        text(body, self.shown())
    }

    fn shown(&self) -> Shown {
        let plain = ["/scim/", "/service-principals/"].iter().any(|part| self.route.contains(part));
        if plain || self.route.ends_with("/tags") { Shown::PlainValues } else { Shown::Normal }
    }

    fn write(&self, control: &Control, phase: AuditPhase) {
        control.inner.audit.record(&AuditRecord {
            request_id: self.request_id.clone(),
            phase,
            principal: self.principal.clone(),
            peer: self.peer,
            user_agent: self.user_agent.clone(),
            method: self.method.to_string(),
            route: self.route.into(),
            path: self.path.clone(),
            request: self.request.clone(),
        });
    }
}

/// What an answer that is an error says of it.
fn message(answer: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    answer["message"].as_str().unwrap_or_default().to_owned()
}

/// What a read names in its query, as a body would name it.
fn asked_of(parts: &Parts) -> String {
    if parts.method != Method::GET {
        return String::new();
    }
    let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let named: Map<String, Value> = query
        .filter(|(name, _)| NAMES.contains(&name.as_ref()))
        .map(|(name, value)| (name.into_owned(), value.chars().take(MAX_NAME).collect::<String>().into()))
        .collect();
    if named.is_empty() { String::new() } else { Value::Object(named).to_string() }
}

/// A body as JSON text without its secrets; what is no JSON is not kept, it could be anything.
fn text(body: &[u8], shown: Shown) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return String::new() };
    bounded(value, shown)
}

fn bounded(value: Value, shown: Shown) -> String {
    let text = elide(value, shown).to_string();
    if text.len() > MAX_TEXT { "[longer than 64 KiB]".to_owned() } else { text }
}

/// How much of a subtree is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// All but what is named like a secret.
    Normal,
    /// As above, and what is called `value` is an id or a tag.
    PlainValues,
    /// No text: it stands where a secret should, in a shape that no secret has.
    Nothing,
}

/// Replaces every text that may be a secret. References to secrets stay: they say which.
fn elide(value: Value, shown: Shown) -> Value {
    match value {
        Value::Object(map) => {
            let entry = |(key, value): (String, Value)| {
                let inner = inside(&key, shown);
                (key, elide(value, inner))
            };
            Value::Object(map.into_iter().map(entry).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| elide(item, shown)).collect()),
        Value::String(text) if shown == Shown::Nothing && SecretRef::parse(&text).is_none() => {
            Value::from(ELIDED)
        }
        other => other,
    }
}

/// How much is shown of what `key` holds.
fn inside(key: &str, outside: Shown) -> Shown {
    let key = key.to_ascii_lowercase();
    // `value` alone is the value of a secret, or of a header that carries one.
    let named =
        key == "value" && outside != Shown::PlainValues || SECRET_NAMES.iter().any(|name| key.contains(name));
    // Ids of tokens and secrets name them and are not them; `…_auth` and `…_info` hold more than the secret.
    let harmless = ["_id", "_auth", "_info"].iter().any(|end| key.ends_with(end));
    match outside {
        Shown::Nothing => Shown::Nothing,
        _ if named && !harmless => Shown::Nothing,
        _ if key == "tags" => Shown::PlainValues,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_elided_and_references_stay() {
        let body = json!({
            "bytes_value": {"a": ["s5"]}, "limits": {"tokens": 100},
            "string_value": "s1", "tags": [{"key": "team", "value": "support"}], "token_value": "dapi1", "token_id": "t1", "name": "n",
            "config": {"served_entities": [{"external_model": {
                "openai_config": {"openai_api_key": "{{secrets/a/b}}", "openai_api_key_plaintext": "s2"},
                "p_config": {"api_key": "literal", "bearer_token_auth": {"token": "s3"}, "api_key_auth": {"key": "x-k", "value": "s4"}}}}]},
        });
        let text = text(body.to_string().as_bytes(), Shown::Normal);
        for secret in ["s1", "dapi1", "s2", "s3", "s4", "s5", "literal"] {
            assert!(!text.contains(&format!("\"{secret}\"")), "{secret} in {text}");
        }
        for kept in ["{{secrets/a/b}}", "t1", "\"x-k\"", "\"n\"", "support", "100"] {
            assert!(text.contains(kept), "{kept} not in {text}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_kept() {
        assert_eq!(text(b"client_secret=s1", Shown::Normal), "");
    }
}
