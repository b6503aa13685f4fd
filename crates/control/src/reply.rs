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
    status: StatusCode,
    body: Vec<u8>,
    content_type: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    pub(crate) fn json<T: Serialize>(body: &T) -> Result<Self, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| ApiError::internal(format!("the answer: {e}")))?;
        Ok(Self { status: StatusCode::OK, body, content_type: JSON, headers: Vec::new() })
    }

    /// `{}`: clients parse the answer of a deletion too.
    pub(crate) fn empty() -> Self {
        Self { status: StatusCode::OK, body: b"{}".to_vec(), content_type: JSON, headers: Vec::new() }
    }

    /// 204, and nothing.
    pub(crate) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: Vec::new(), content_type: JSON, headers: Vec::new() }
    }

    pub(crate) fn text(body: String) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status: StatusCode::OK, body: body.into_bytes(), content_type, headers: Vec::new() }
    }

    pub(crate) fn csv(body: String) -> Self {
        let content_type = "text/csv; charset=utf-8";
        Self { status: StatusCode::OK, body: body.into_bytes(), content_type, headers: Vec::new() }
    }

    pub(crate) fn bytes(body: Vec<u8>) -> Self {
        let content_type = "application/octet-stream";
        Self { status: StatusCode::OK, body, content_type, headers: Vec::new() }
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn code(&self) -> u16 {
        self.status.as_u16()
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
        let empty = self.status == StatusCode::NO_CONTENT;
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.remove(CONTENT_TYPE);
        if !empty {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
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
            StoreError::Busy(_) => ApiError::new(
                ErrorCode::TemporarilyUnavailable,
                "the server's own store is held by somebody else: try again",
            ),
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
