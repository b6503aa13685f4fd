//! The token endpoint of Microsoft Entra ID: client credentials for a token, the form checked.

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::format::{Call, Format, Refusal, Reply};
use crate::frames::{FrameWriter, Kind};

const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// The secret that is refused, so that a test can be refused.
const REFUSED: &str = "wrong-secret";

/// `POST /{tenant}/oauth2/v2.0/token`.
pub(crate) struct Entra;

impl Format for Entra {
    fn claims(&self, path: &str) -> bool {
        path.ends_with("/oauth2/v2.0/token")
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        match kind {
            Some(kind) if kind.starts_with("application/x-www-form-urlencoded") => Ok(()),
            _ => Err(Refusal::bad_request("AADSTS900144: the body must be a form")),
        }
    }

    /// The form as an object of strings.
    fn parse(&self, body: &[u8]) -> Result<Value, Refusal> {
        let fields = form_urlencoded::parse(body);
        Ok(Value::Object(
            fields.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect(),
        ))
    }

    /// Scripts go by the client.
    fn model<'a>(&self, _path: &'a str, body: &'a Value) -> Option<Cow<'a, str>> {
        body.get("client_id")?.as_str().map(Cow::Borrowed)
    }

    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let field = |name: &str| call.body.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("grant_type") != "client_credentials" {
            return Err(Refusal::bad_request("AADSTS70003: the grant type is not supported"));
        }
        if field("client_id").is_empty() || field("scope") != SCOPE {
            return Err(Refusal::bad_request("AADSTS70011: client_id or scope is missing or not valid"));
        }
        match field("client_secret") {
            "" => Err(Refusal::new(StatusCode::UNAUTHORIZED, "AADSTS7000218: client_secret is missing")),
            REFUSED => {
                Err(Refusal::new(StatusCode::UNAUTHORIZED, "AADSTS7000215: Invalid client secret provided."))
            }
            _ => Reply::json(&json!({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599,
                "access_token": "entra-simulated"})),
        }
    }

    fn error_body(&self, refusal: &Refusal, request_id: &str) -> Result<Vec<u8>, serde_json::Error> {
        let error =
            if refusal.status == StatusCode::UNAUTHORIZED { "invalid_client" } else { "invalid_request" };
        serde_json::to_vec(
            &json!({"error": error, "error_description": refusal.message, "trace_id": request_id}),
        )
    }

    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error> {
        writer.sse(Kind::Tail, Some("error"), &refusal.message)
    }

    fn request_id_header(&self) -> &'static str {
        "x-ms-request-id"
    }
}
