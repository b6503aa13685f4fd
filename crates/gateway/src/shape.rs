//! How each surface says an error: CONTRACT §4.6. On the surfaces of other vendors' formats the keys of
//! Databricks' errors stand beside theirs, so that its SDKs read them too.

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::error::ServeError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Databricks' own: `error_code` and `message`.
    Unified,
    /// OpenAI's, of chat and of responses.
    OpenAi,
    Messages,
    GenerateContent,
    /// That of Bedrock: an exception, named in a header.
    Converse,
}

impl Shape {
    pub(crate) fn respond(self, error: &ServeError) -> Response {
        let status = StatusCode::from_u16(error.to_api().status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = (status, axum::Json(self.body(error))).into_response();
        if self == Self::Converse {
            let name = HeaderValue::from_static(exception(status.as_u16()));
            response.headers_mut().insert(AMZN_ERROR_TYPE, name);
        }
        if let Some(seconds) = error.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    pub(crate) fn body(self, error: &ServeError) -> Value {
        let api = error.to_api();
        let mut body = match self {
            Self::Unified => json!({}),
            // Its clients know one sentence and no other.
            Self::Converse => return json!({"message": error.sentence(), "error_code": api.code.as_str()}),
            Self::OpenAi => json!({ "error": openai(error, api.status) }),
            Self::Messages => messages(error, api.status),
            Self::GenerateContent => {
                let (code, status) = (api.status, rpc_status(api.status));
                json!({"error": {"code": code, "message": error.sentence(), "status": status}})
            }
        };
        body["error_code"] = api.code.as_str().into();
        body["message"] = api.message.into();
        body
    }
}

const AMZN_ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The exceptions of `bedrock-runtime` by their statuses.
fn exception(status: u16) -> &'static str {
    match status {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 | 504 => "ModelTimeoutException",
        424 | 502 => "ModelErrorException",
        429 => "ThrottlingException",
        503 | 529 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    }
}

fn openai(error: &ServeError, status: u16) -> Value {
    let told = error.upstream_body().and_then(|body| body.get("error")).filter(|e| e["message"].is_string());
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let part = |key: &str| told.map(|error| error[key].clone()).filter(|value| !value.is_null());
    json!({
        "message": error.sentence(),
        "type": part("type").unwrap_or_else(|| kind.into()),
        "param": part("param").unwrap_or_default(),
        "code": part("code").unwrap_or_else(|| error.to_api().code.as_str().into()),
    })
}

fn messages(error: &ServeError, status: u16) -> Value {
    // An upstream of the same format says it itself.
    let told =
        error.upstream_body().filter(|body| body["type"] == "error" && body["error"]["type"].is_string());
    if let Some(told) = told {
        return told.clone();
    }
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": error.sentence()}})
}

/// The names of Google's canonical codes (`google.rpc.Code`) for a status.
fn rpc_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 | 529 => "UNAVAILABLE",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::At;
    use providers::UpstreamError;
    use wire::error::ApiError;

    fn upstream(status: u16, body: Value) -> ServeError {
        let at = At { provider: "p", entity: "e".into() };
        let error = Box::new(UpstreamError { status, message: "slow down".into(), body });
        ServeError::Upstream { at, error, retry_after: None }
    }

    #[test]
    fn each_surface_says_an_error_in_its_own_shape() {
        let error = ServeError::Api(ApiError::not_found("no such thing"));
        assert_eq!(
            Shape::Unified.body(&error),
            json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"})
        );
        assert_eq!(
            Shape::OpenAi.body(&error),
            json!({"error": {"message": "no such thing", "type": "not_found_error", "param": null, "code": "RESOURCE_DOES_NOT_EXIST"},
                "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"})
        );
        assert_eq!(
            Shape::Messages.body(&error),
            json!({"type": "error", "error": {"type": "not_found_error", "message": "no such thing"},
                "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"})
        );
        assert_eq!(
            Shape::GenerateContent.body(&error),
            json!({"error": {"code": 404, "message": "no such thing", "status": "NOT_FOUND"},
                "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"})
        );
    }

    #[test]
    fn an_exception_is_named_in_a_header() {
        for (status, name) in
            [(429, "ThrottlingException"), (404, "ResourceNotFoundException"), (418, "ValidationException")]
        {
            let error = upstream(status, json!({"message": "m"}));
            let response = Shape::Converse.respond(&error);
            assert_eq!(
                (response.status().as_u16(), &response.headers()["x-amzn-errortype"]),
                (status, &HeaderValue::from_static(name))
            );
            assert_eq!(Shape::Converse.body(&error)["message"], "slow down");
        }
    }

    #[test]
    fn what_the_provider_says_in_the_same_shape_stays_as_it_is() {
        let said = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}, "request_id": "r"});
        let body = Shape::Messages.body(&upstream(429, said));
        assert_eq!((&body["request_id"], &body["error"]["type"]), (&json!("r"), &json!("rate_limit_error")));
        assert_eq!(body["error_code"], "REQUEST_LIMIT_EXCEEDED");
        let said =
            json!({"error": {"message": "slow down", "type": "tokens", "code": "rate_limit_exceeded"}});
        let body = Shape::OpenAi.body(&upstream(429, said.clone()));
        assert_eq!(
            (&body["error"]["type"], &body["error"]["code"]),
            (&json!("tokens"), &json!("rate_limit_exceeded"))
        );
        assert_eq!(Shape::Messages.body(&upstream(529, said))["error"]["type"], "overloaded_error");
    }
}
