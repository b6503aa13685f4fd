//! Answers of the control plane.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use store::StoreError;
use wire::error::{ApiError, ErrorCode};

const JSON: &str = "application/json";

/// A body and the headers that go with it.
#[derive(Debug)]
pub(crate) struct Reply {
    body: Vec<u8>,
    content_type: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    pub(crate) fn json<T: Serialize>(body: &T) -> Result<Self, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| ApiError::internal(format!("the answer: {e}")))?;
        Ok(Self { body, content_type: JSON, headers: Vec::new() })
    }

    /// `{}`: clients parse the answer of a deletion too.
    pub(crate) fn empty() -> Self {
        Self { body: b"{}".to_vec(), content_type: JSON, headers: Vec::new() }
    }

    pub(crate) fn text(body: String) -> Self {
        Self { body: body.into_bytes(), content_type: "text/plain; charset=utf-8", headers: Vec::new() }
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.push((HeaderName::from_static(name), value));
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        // Answers may hold secrets (`secrets/get`, a new token): nothing between keeps them.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

/// What a handler can end in besides a reply.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

/// Only what a handler did not expect comes here; what it did, it says in its own words.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self(match error {
            StoreError::Full(message) => ApiError::new(ErrorCode::ResourceLimitExceeded, message),
            StoreError::Exists => ApiError::new(ErrorCode::ResourceAlreadyExists, "it exists already"),
            StoreError::Missing => ApiError::not_found("it does not exist"),
            _ => ApiError::internal("the server's own store failed; its log says why"),
        })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0.body())).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
