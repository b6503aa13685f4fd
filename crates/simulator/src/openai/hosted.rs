//! OpenAI's formats where others host them: Azure OpenAI, serving endpoints of Databricks.

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{OpenAi, bearer};
use crate::format::{Call, Format, Refusal, Reply};
use crate::frames::FrameWriter;

/// The path of a resource: its version is in it, and the body names the deployment.
const RESPONSES: &str = "/openai/v1/responses";

/// Azure OpenAI: deployments at `/openai/deployments/{deployment}/…?api-version=…`, and `/openai/v1/responses`.
pub(crate) struct Azure;

impl Format for Azure {
    fn claims(&self, path: &str) -> bool {
        (path.contains("/openai/deployments/") && OpenAi.claims(path)) || path.ends_with(RESPONSES)
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if headers.get("api-key").is_some_and(|key| !key.is_empty()) {
            return Ok(());
        }
        bearer(headers).map_err(|_| {
            let text = "Access denied due to invalid subscription key or wrong API endpoint.";
            Refusal::new(StatusCode::UNAUTHORIZED, text)
        })
    }

    fn check_query(&self, path: &str, query: &str) -> Result<(), Refusal> {
        if path.ends_with(RESPONSES) {
            return Ok(());
        }
        let version = query.split('&').find_map(|pair| pair.strip_prefix("api-version="));
        match version {
            Some(version) if !version.is_empty() => Ok(()),
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "Resource not found")),
        }
    }

    /// The deployment, unless the body carries a script.
    fn model<'a>(&self, path: &'a str, body: &'a Value) -> Option<Cow<'a, str>> {
        let in_body = OpenAi.model(path, body);
        in_body.or_else(|| path.split("/openai/deployments/").nth(1)?.split('/').next().map(Cow::Borrowed))
    }

    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        OpenAi.reply(call)
    }

    fn error_body(&self, refusal: &Refusal, request_id: &str) -> Result<Vec<u8>, serde_json::Error> {
        OpenAi.error_body(refusal, request_id)
    }

    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error> {
        OpenAi.error_frame(writer, refusal)
    }

    fn request_id_header(&self) -> &'static str {
        "apim-request-id"
    }
}

/// Serving endpoints of Databricks: the task shows in what the body has.
pub(crate) struct Databricks;

impl Format for Databricks {
    fn claims(&self, path: &str) -> bool {
        path.contains("/serving-endpoints/") && path.ends_with("/invocations")
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        bearer(headers).map_err(|_| {
            Refusal::new(StatusCode::UNAUTHORIZED, "Credential was not sent or was of an unsupported type")
        })
    }

    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        match call.body {
            body if body.get("messages").is_some() => super::chat::reply(call),
            body if body.get("prompt").is_some() => super::completions::reply(call),
            body if body.get("input").is_some() => super::embeddings::reply(call),
            _ => Err(Refusal::bad_request("the body has none of messages, prompt and input")),
        }
    }

    fn error_body(&self, refusal: &Refusal, _request_id: &str) -> Result<Vec<u8>, serde_json::Error> {
        let code = match refusal.status.as_u16() {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "RESOURCE_DOES_NOT_EXIST",
            429 => "REQUEST_LIMIT_EXCEEDED",
            500.. => "INTERNAL_ERROR",
            _ => "BAD_REQUEST",
        };
        serde_json::to_vec(&serde_json::json!({"error_code": code, "message": refusal.message}))
    }

    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error> {
        OpenAi.error_frame(writer, refusal)
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }
}
