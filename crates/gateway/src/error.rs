//! Why a request was not served. How that looks to the client is in `shape.rs`.

use http::HeaderValue;
use policy::circuit::Blame;
use providers::{Refused, UpstreamError};
use serde_json::json;
use std::sync::Arc;
use wire::error::{ApiError, ErrorCode};

use crate::guardrails::Blocked;

/// Who is to blame is in the variant, and with it whether another entity may be tried.
#[derive(Debug)]
pub(crate) enum ServeError {
    /// The caller's request, or our own refusal.
    Api(ApiError),
    /// A limit of the endpoint has no room; `retry_after` is in seconds.
    Limited { error: ApiError, retry_after: u32 },
    /// The upstream cannot express what was asked.
    Refused(Refused),
    /// The upstream answered with an error.
    Upstream { at: At, error: Box<UpstreamError>, retry_after: Option<u32> },
    /// The upstream's credential was not to be had: what is configured is at fault, or who gives tokens.
    NoCredential { at: At, reason: String },
    /// The secret of the entity is gone; the upstream was not called.
    NoSecret { entity: Arc<str>, secret: String },
    /// The upstream was not reached, or broke off, or sent what its format does not allow.
    Broken { at: At, reason: String },
    /// The upstream took too long.
    TimedOut { at: At, reason: String },
    /// A guardrail said no.
    Blocked(Box<Blocked>),
}

/// Where it happened.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) provider: &'static str,
    pub(crate) entity: Arc<str>,
}

impl At {
    pub(crate) fn of(entity: &policy::Entity) -> Self {
        Self { provider: entity.provider_name, entity: Arc::clone(&entity.name) }
    }
}

impl ServeError {
    pub(crate) fn allows_fallback(&self) -> bool {
        match self {
            Self::Api(_) | Self::Limited { .. } | Self::Refused(_) | Self::Blocked(_) => false,
            Self::Upstream { error, .. } => error.allows_fallback(),
            Self::NoSecret { .. }
            | Self::NoCredential { .. }
            | Self::Broken { .. }
            | Self::TimedOut { .. } => true,
        }
    }

    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Api(error) | Self::Limited { error, .. } => error.status,
            Self::Refused(_) | Self::Blocked(_) | Self::NoSecret { .. } => 400,
            Self::Upstream { error, .. } => error.status,
            Self::NoCredential { .. } | Self::Broken { .. } => 502,
            // Not 503: databricks-sdk would repeat that for five minutes.
            Self::TimedOut { .. } => 504,
        }
    }

    /// The status the upstream answered with, if it did.
    pub(crate) fn upstream_status(&self) -> Option<u16> {
        match self {
            Self::Upstream { error, .. } => Some(error.status),
            _ => None,
        }
    }

    /// What was wrong where there is no status of the upstream that says so.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Api(_)
            | Self::Limited { .. }
            | Self::Refused(_)
            | Self::Blocked(_)
            | Self::NoSecret { .. } => Some("refused"),
            Self::Upstream { .. } => None,
            Self::NoCredential { .. } | Self::Broken { .. } => Some("connection"),
            Self::TimedOut { .. } => Some("timeout"),
        }
    }

    /// Whom of the upstream's side it speaks against; `None` where it is nobody there.
    pub(crate) fn blame(&self) -> Option<Blame> {
        match self {
            Self::Api(_) | Self::Limited { .. } | Self::Refused(_) | Self::Blocked(_) => None,
            Self::Upstream { error, .. } => Blame::of_status(error.status),
            Self::NoSecret { .. } | Self::NoCredential { .. } => Some(Blame::Key),
            Self::Broken { .. } | Self::TimedOut { .. } => Some(Blame::Provider),
        }
    }

    /// Whether an upstream was called, or who gives the tokens for it.
    pub(crate) fn was_asked(&self) -> bool {
        match self {
            Self::Api(_)
            | Self::Limited { .. }
            | Self::Refused(_)
            | Self::Blocked(_)
            | Self::NoSecret { .. } => false,
            Self::Upstream { .. }
            | Self::NoCredential { .. }
            | Self::Broken { .. }
            | Self::TimedOut { .. } => true,
        }
    }

    /// What the upstream said, if it answered with an error.
    pub(crate) fn upstream_body(&self) -> Option<&serde_json::Value> {
        match self {
            Self::Upstream { error, .. } => Some(&error.body),
            _ => None,
        }
    }

    /// How long the upstream, or a limit, asks to wait, in seconds.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Limited { retry_after, .. } => Some(*retry_after),
            Self::Upstream { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// As the Databricks routes say it.
    pub(crate) fn to_api(&self) -> ApiError {
        match self {
            Self::Api(error) | Self::Limited { error, .. } => error.clone(),
            Self::Refused(refused) => ApiError::invalid(refused.to_string()),
            Self::NoSecret { .. } => ApiError::invalid(self.sentence()),
            Self::Blocked(blocked) => ApiError::bad_request(blocked.message()),
            Self::Upstream { at, error, .. } => {
                let inner = json!({"external_model_provider": at.provider, "external_model_error": error.body,
                    "served_entity_name": *at.entity});
                ApiError::new(ErrorCode::of_status(error.status), inner.to_string()).with_status(error.status)
            }
            Self::NoCredential { at, reason } | Self::Broken { at, reason } => {
                ApiError::new(ErrorCode::InternalError, inner_text(at, reason)).with_status(502)
            }
            Self::TimedOut { at, reason } => {
                ApiError::new(ErrorCode::DeadlineExceeded, inner_text(at, reason))
            }
        }
    }

    /// One sentence, for an error inside a stream and for the log.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Upstream { error, .. } => error.message.clone(),
            Self::NoCredential { at, reason }
            | Self::Broken { at, reason }
            | Self::TimedOut { at, reason } => {
                format!("served entity {}: {reason}", at.entity)
            }
            Self::Api(error) | Self::Limited { error, .. } => error.message.clone(),
            Self::Refused(refused) => refused.to_string(),
            Self::NoSecret { entity, secret } => format!(
                "the secret {secret} of served entity {entity} does not exist: put it, or update the endpoint"
            ),
            Self::Blocked(blocked) => blocked.sentence(),
        }
    }
}

/// The inner form of a provider's error, with our sentence in place of a body.
fn inner_text(at: &At, reason: &str) -> String {
    let error = format!("served entity {}: {reason}", at.entity);
    json!({"external_model_provider": at.provider, "external_model_error": error}).to_string()
}

impl From<ApiError> for ServeError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// `Retry-After` as whole seconds, the one form that every client reads; dates are dropped.
pub(crate) fn retry_after(value: Option<&HeaderValue>) -> Option<u32> {
    let seconds = value?.to_str().ok()?.trim().parse::<f64>().ok()?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return None;
    }
    // Bounded above, so that the cast is exact.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 86400")]
    let whole = (seconds.ceil() as u32).max(1);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds() {
        let read = |text: &str| retry_after(Some(&text.parse().unwrap()));
        assert_eq!(read("20"), Some(20));
        assert_eq!(read("0.2"), Some(1));
        assert_eq!(read("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(read("-5"), None);
        assert_eq!(retry_after(None), None);
    }

    #[test]
    fn a_provider_error_is_json_in_a_string() {
        let at = At { provider: "p", entity: "e".into() };
        let body = json!({"error": {"message": "no"}});
        let error = Box::new(UpstreamError { status: 418, message: "no".into(), body: body.clone() });
        let api = ServeError::Upstream { at, error, retry_after: None }.to_api();
        let inner: serde_json::Value = serde_json::from_str(&api.message).unwrap();
        assert_eq!((api.status, inner["external_model_error"].clone()), (418, body));
    }
}
