//! The OpenAI formats: one set of credentials and errors, one file per task.

mod chat;
mod completions;
mod embeddings;
mod hosted;
mod kept;
mod responses;

pub(crate) use embeddings::vector;
pub(crate) use hosted::{Azure, Databricks};
pub(crate) use kept::KeptResponses;

use http::{HeaderMap, StatusCode, header};
use serde::Serialize;

use crate::echo::Tokens;
use crate::format::{Call, Format, Refusal, Reply};
use crate::frames::{FrameWriter, Kind};

/// A fixed moment, so that every byte of an answer can be computed by a test.
const CREATED: u64 = 1_700_000_000;

/// OpenAI chat completions, completions, embeddings and responses.
pub(crate) struct OpenAi;

#[derive(Clone, Copy)]
enum Task {
    Chat,
    Completions,
    Embeddings,
    Responses,
}

fn task(path: &str) -> Option<Task> {
    // The longer suffix first: chat completions are completions too.
    let tasks = [
        ("/chat/completions", Task::Chat),
        ("/completions", Task::Completions),
        ("/embeddings", Task::Embeddings),
        ("/responses", Task::Responses),
    ];
    tasks.into_iter().find(|(suffix, _)| path.ends_with(suffix)).map(|(_, task)| task)
}

/// A bearer token that is not empty.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty());
    let missing = "you didn't provide an api key: send it in the authorization header as a bearer token";
    token.map(|_| ()).ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, missing))
}

impl Format for OpenAi {
    fn claims(&self, path: &str) -> bool {
        task(path).is_some()
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        bearer(headers)
    }

    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        if call.model.is_empty() {
            return Err(Refusal::bad_param("model", "you must provide a model parameter"));
        }
        match task(call.path) {
            Some(Task::Chat) => chat::reply(call),
            Some(Task::Completions) => completions::reply(call),
            Some(Task::Embeddings) => embeddings::reply(call),
            Some(Task::Responses) => responses::reply(call),
            None => Err(Refusal::new(StatusCode::NOT_FOUND, "no such route")),
        }
    }

    fn error_body(&self, refusal: &Refusal, _request_id: &str) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&ErrorBody::from(refusal))
    }

    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error> {
        writer.sse(Kind::Tail, None, &ErrorBody::from(refusal))
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorDetail<'a>,
}

#[derive(Serialize)]
struct ErrorDetail<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl<'a> From<&'a Refusal> for ErrorBody<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        let (kind, code) = match refusal.status.as_u16() {
            401 => ("invalid_request_error", Some("invalid_api_key")),
            403 => ("invalid_request_error", Some("unsupported_country_region_territory")),
            404 => ("invalid_request_error", Some("not_found")),
            429 => ("requests", Some("rate_limit_exceeded")),
            500.. => ("server_error", None),
            _ => ("invalid_request_error", None),
        };
        Self { error: ErrorDetail { message: &refusal.message, kind, param: refusal.param, code } }
    }
}

/// The usage of chat completions and completions.
#[derive(Clone, Copy, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
    audio_tokens: usize,
}

#[derive(Clone, Copy, Serialize)]
struct CompletionDetails {
    reasoning_tokens: usize,
    audio_tokens: usize,
}

impl Usage {
    fn of(tokens: Tokens) -> Self {
        Self {
            prompt_tokens: tokens.input,
            completion_tokens: tokens.output,
            total_tokens: tokens.total(),
            prompt_tokens_details: PromptDetails { cached_tokens: tokens.cached, audio_tokens: 0 },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: tokens.reasoning,
                audio_tokens: 0,
            },
        }
    }
}

/// Whether a stream is to end with its usage.
fn streams_usage(call: &Call<'_>) -> bool {
    let asked = call.body.pointer("/stream_options/include_usage").and_then(serde_json::Value::as_bool);
    asked == Some(true) && call.with_usage()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_prefix_is_claimed() {
        for path in ["/v1/chat/completions", "/chat/completions", "/openai/deployments/x/embeddings"] {
            assert!(OpenAi.claims(path), "{path}");
        }
        assert!(matches!(task("/v1/completions"), Some(Task::Completions)));
        assert!(!OpenAi.claims("/v1/messages"));
    }

    #[test]
    fn a_bearer_token_is_required() {
        let mut headers = HeaderMap::new();
        assert!(OpenAi.authorize(&headers).is_err());
        for (value, accepted) in
            [("Basic abc", false), ("Bearer ", false), ("Bearer k", true), ("bearer k", true)]
        {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(OpenAi.authorize(&headers).is_ok(), accepted, "{value}");
        }
    }
}
