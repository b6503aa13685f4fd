//! Fields that an upstream may not know. What engines of one format take differs: such a field is sent until the
//! upstream refuses it by name, and then left out for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy::Entity;
use serde_json::Value;
use tokio::time::Instant;

use crate::error::ServeError;

/// Upstreams that are remembered. Of those beyond, each is asked with the fields first.
const MOST: usize = 10_000;

/// After this an upstream is asked with the fields again: it may be another version of itself.
const AGE: Duration = Duration::from_secs(3600);

/// The upstreams that refused such a field, by the entities' marks, and when.
#[derive(Debug, Default)]
pub(crate) struct Refusing(Mutex<HashMap<Arc<str>, Instant>>);

impl Refusing {
    pub(super) fn knows(&self, mark: &str) -> bool {
        self.0.lock().get(mark).is_some_and(|since| since.elapsed() < AGE)
    }

    pub(super) fn add(&self, entity: &Entity, fields: &[&str]) {
        tracing::info!(entity = %entity.name, provider = entity.provider_name, model = entity.model, ?fields,
            "the upstream refuses fields that it may not know: they are left out for an hour");
        let mut known = self.0.lock();
        if known.len() >= MOST {
            known.retain(|_, since| since.elapsed() < AGE);
        }
        if known.len() < MOST {
            known.insert(Arc::clone(&entity.mark), Instant::now());
        }
    }
}

/// Whether `error` says that the upstream does not take one of `fields`.
pub(super) fn refuses(error: &ServeError, fields: &[&str]) -> bool {
    let ServeError::Upstream { error, .. } = error else { return false };
    matches!(error.status, 400 | 422) && fields.iter().any(|field| names(&error.body, field))
}

/// In a text or, as validators of JSON do, as a step of a path to what is wrong.
fn names(body: &Value, field: &str) -> bool {
    match body {
        Value::String(text) => text.contains(field),
        Value::Array(items) => items.iter().any(|item| names(item, field)),
        Value::Object(members) => members.iter().any(|(key, value)| key == field || names(value, field)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::At;
    use providers::UpstreamError;
    use serde_json::json;

    fn refusal(status: u16, body: Value) -> ServeError {
        let at = At { provider: "p", entity: "e".into() };
        ServeError::Upstream {
            at,
            error: Box::new(UpstreamError { status, message: String::new(), body }),
            retry_after: None,
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        let bodies = [
            json!("Extra inputs are not permitted: stream_options"),
            json!({"error": {"message": "Unrecognized request argument supplied: stream_options"}}),
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}),
        ];
        for body in bodies {
            assert!(refuses(&refusal(422, body.clone()), &["stream_options"]), "{body}");
            assert!(!refuses(&refusal(500, body.clone()), &["stream_options"]));
            assert!(!refuses(&refusal(400, body), &["other"]));
        }
        assert!(!refuses(&refusal(400, json!({"message": "max_tokens is too large"})), &["stream_options"]));
    }
}
