//! The error envelope of the Databricks API: `{"error_code": …, "message": …}`.

use serde::{Deserialize, Serialize};

/// What went wrong, in the names the Databricks SDKs map to exception types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    BadRequest,
    InvalidParameterValue,
    InvalidState,
    DirectoryNotEmpty,
    ResourceLimitExceeded,
    ResourceAlreadyExists,
    ResourceConflict,
    Unauthenticated,
    PermissionDenied,
    ResourceDoesNotExist,
    EndpointNotFound,
    MethodNotAllowed,
    RequestEntityTooLarge,
    RequestLimitExceeded,
    Cancelled,
    InternalError,
    NotImplemented,
    TemporarilyUnavailable,
    DeadlineExceeded,
}

impl ErrorCode {
    /// The name on the wire, for example `RESOURCE_DOES_NOT_EXIST`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::InvalidParameterValue => "INVALID_PARAMETER_VALUE",
            Self::InvalidState => "INVALID_STATE",
            Self::DirectoryNotEmpty => "DIRECTORY_NOT_EMPTY",
            Self::ResourceLimitExceeded => "RESOURCE_LIMIT_EXCEEDED",
            Self::ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
            Self::ResourceConflict => "RESOURCE_CONFLICT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
            Self::EndpointNotFound => "ENDPOINT_NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::RequestEntityTooLarge => "REQUEST_ENTITY_TOO_LARGE",
            Self::RequestLimitExceeded => "REQUEST_LIMIT_EXCEEDED",
            Self::Cancelled => "CANCELLED",
            Self::InternalError => "INTERNAL_ERROR",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
        }
    }

    /// The HTTP status that goes with the code where no other is given.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::InvalidParameterValue
            | Self::InvalidState
            | Self::DirectoryNotEmpty
            | Self::ResourceLimitExceeded => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::ResourceDoesNotExist | Self::EndpointNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::ResourceAlreadyExists | Self::ResourceConflict => 409,
            Self::RequestEntityTooLarge => 413,
            Self::RequestLimitExceeded => 429,
            Self::Cancelled => 499,
            Self::InternalError => 500,
            Self::NotImplemented => 501,
            Self::TemporarilyUnavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// The code to send with a provider's status that is passed on.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::ResourceDoesNotExist,
            409 => Self::ResourceConflict,
            413 => Self::RequestEntityTooLarge,
            429 => Self::RequestLimitExceeded,
            499 => Self::Cancelled,
            501 => Self::NotImplemented,
            503 | 529 => Self::TemporarilyUnavailable,
            408 | 504 => Self::DeadlineExceeded,
            400..=498 => Self::BadRequest,
            _ => Self::InternalError,
        }
    }
}

/// An error as it goes to the client: which status, which code, and a sentence to act on.
///
/// The message names the value that was wrong and says what to do; it never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub code: ErrorCode,
    pub message: String,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status: code.status(), code, message: message.into() }
    }

    /// The same error under another HTTP status: the secrets API answers 400, not 409, to a duplicate.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameterValue, message)
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ResourceDoesNotExist, message)
    }

    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::PermissionDenied, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InternalError, message)
    }

    /// The body of the Databricks routes.
    pub fn body(&self) -> ErrorBody<'_> {
        ErrorBody { error_code: self.code.as_str(), message: &self.message }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for ApiError {}

/// `{"error_code": "…", "message": "…"}`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ErrorBody<'a> {
    pub error_code: &'a str,
    pub message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_name_and_as_str_agree() {
        for code in [ErrorCode::BadRequest, ErrorCode::ResourceDoesNotExist, ErrorCode::DeadlineExceeded] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn a_provider_status_never_becomes_a_success_code() {
        for status in 400..600 {
            assert!(ErrorCode::of_status(status).status() >= 400);
        }
    }
}
