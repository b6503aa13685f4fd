//! What a handler gets: who calls, from where, with what.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::body::HttpBody;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use policy::{Credential, Principal};
use serde::de::DeserializeOwned;
use wire::error::{ApiError, ErrorCode};

use crate::Control;

/// Longest management body. A secret may be 128 KiB, six times that when every byte is escaped.
const MAX_BODY: usize = 1 << 20;
/// How long a client may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A call that was let in.
pub(crate) struct Call {
    pub(crate) control: Control,
    /// `None` on the few routes that need nobody.
    caller: Option<Arc<Principal>>,
    path: HashMap<String, String>,
    query: HashMap<String, String>,
    pub(crate) body: Bytes,
    /// `http(s)://host[:port]` as the caller knows the server.
    pub(crate) base_url: String,
    /// The client id and secret of `Basic` authentication, for the route that logs clients in.
    pub(crate) client: Option<(String, Credential)>,
}

impl Call {
    pub(crate) fn new(
        control: Control,
        caller: Option<Arc<Principal>>,
        path: HashMap<String, String>,
        query: HashMap<String, String>,
        body: Bytes,
        base_url: String,
        client: Option<(String, Credential)>,
    ) -> Self {
        Self { control, caller, path, query, body, base_url, client }
    }

    pub(crate) fn caller(&self) -> Result<&Arc<Principal>, ApiError> {
        self.caller.as_ref().ok_or_else(|| ApiError::new(ErrorCode::Unauthenticated, "no credential"))
    }

    /// A part of the path; the router has seen to it that it is there.
    pub(crate) fn path(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    pub(crate) fn query(&self, name: &str) -> Result<&str, ApiError> {
        let value = self.query.get(name).map(String::as_str).filter(|v| !v.is_empty());
        value.ok_or_else(|| ApiError::invalid(format!("the query parameter {name} is required")))
    }

    pub(crate) fn queries(&self) -> &HashMap<String, String> {
        &self.query
    }

    /// The body as JSON, whatever its content type says; an empty body is an empty object.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let bytes: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        // Serde would read a list as an object's fields in order.
        let other = match bytes.trim_ascii_start().first() {
            Some(b'[') => Some("a list"),
            Some(b'"') => Some("a string"),
            Some(b'n') => Some("null"),
            _ => None,
        };
        if let Some(other) = other {
            let message = format!("the request body must be a JSON object, not {other}");
            return Err(ApiError::bad_request(message));
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let read = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
            let place = e.path().to_string();
            // "." is the whole, "?" is nowhere: the text breaks off.
            let place =
                if matches!(place.as_str(), "." | "?") { "the request body".to_owned() } else { place };
            ApiError::bad_request(format!("{place}: {}", e.inner()))
        })?;
        let end = reader.end();
        end.map(|()| read).map_err(|e| ApiError::bad_request(format!("the request body: {e}")))
    }
}

/// `most` is the longest that it may be, in bytes, where it may be longer than others.
pub(crate) async fn read_body(body: Body, most: Option<usize>) -> Result<Bytes, ApiError> {
    let most = most.unwrap_or(MAX_BODY);
    // Announced too large: refused unread.
    if body.size_hint().lower() > most as u64 {
        return Err(too_large(most));
    }
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(most)),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("the request body broke off: {error}"))),
        Err(_) => {
            let message = format!("the request body did not arrive within {} s", BODY_WITHIN.as_secs());
            Err(ApiError::new(ErrorCode::BadRequest, message).with_status(408))
        }
    }
}

fn too_large(most: usize) -> ApiError {
    let message = format!("the request body is larger than {most} bytes");
    ApiError::new(ErrorCode::RequestEntityTooLarge, message)
}
