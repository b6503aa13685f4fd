//! The `generateContent` surface, for Google's SDKs and the Gemini CLI. The path says what is asked of whom.

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{Method, Request};
use providers::Task;
use wire::error::{ApiError, ErrorCode};

use super::{Access, Answers, QueryRoute, Surface, lists, models};
use crate::Gateway;
use crate::dialect::{CountContent, GenerateContent};
use crate::pipeline::{Addressing, Ask, authenticate, serve};
use crate::shape::Shape;

pub(super) static GENERATE: Surface = Surface {
    dialect: |_| &GenerateContent { array: false },
    shape: Shape::GenerateContent,
    key_headers: &["x-goog-api-key"],
    key_parameter: Some("key"),
};

static ARRAY: Surface = Surface {
    dialect: |_| &GenerateContent { array: true },
    shape: Shape::GenerateContent,
    key_headers: &["x-goog-api-key"],
    key_parameter: Some("key"),
};

static COUNT: Surface = Surface {
    dialect: |_| &CountContent,
    shape: Shape::GenerateContent,
    key_headers: &["x-goog-api-key"],
    key_parameter: Some("key"),
};

/// `{call}` is `<endpoint>:generateContent`, `:streamGenerateContent` or `:countTokens`.
const fn call(path: &'static str) -> QueryRoute {
    let answers = Answers::Generate;
    QueryRoute { method: Method::POST, path, task: None, access: Access::Query, answers }
}

pub(super) const ROUTES: &[QueryRoute] = &[
    call("/ai-gateway/gemini/{version}/models/{call}"),
    models("/ai-gateway/gemini/{version}/models", lists::Style::GenerateContent),
    call("/gemini/{version}/models/{call}"),
    models("/gemini/{version}/models", lists::Style::GenerateContent),
    call("/serving-endpoints/gemini/{version}/models/{call}"),
    models("/serving-endpoints/gemini/{version}/models", lists::Style::GenerateContent),
];

pub(super) async fn answer(gateway: Gateway, call: &str, request: Request<Body>) -> Response {
    let (name, method) = call.rsplit_once(':').unwrap_or((call, ""));
    let (surface, streams) = match method {
        "generateContent" => (&GENERATE, false),
        "streamGenerateContent" if asks_for_events(request.uri().query()) => (&GENERATE, true),
        "streamGenerateContent" => (&ARRAY, true),
        "countTokens" => (&COUNT, false),
        _ => return no_such_method(&gateway, call, &request.into_parts().0),
    };
    let addressing = Addressing::Path(name.to_owned());
    serve(gateway, Ask { surface, addressing, task: Some(Task::Chat), streams: Some(streams) }, request).await
}

/// See "system parameters" of Google's APIs: `alt`, or `$alt`, says how an answer is encoded.
fn asks_for_events(query: Option<&str>) -> bool {
    let mut given = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    given.any(|(name, value)| (name == "alt" || name == "$alt") && value == "sse")
}

/// What there is, is told to those only who have a token.
fn no_such_method(gateway: &Gateway, call: &str, parts: &Parts) -> Response {
    let snapshot = gateway.inner.live.load();
    let error = authenticate(&snapshot, &GENERATE, parts).err().unwrap_or_else(|| {
        let shown: String = call.chars().take(100).collect();
        let message = format!(
            "{shown:?} is none of <endpoint>:generateContent, <endpoint>:streamGenerateContent, <endpoint>:countTokens"
        );
        ApiError::new(ErrorCode::EndpointNotFound, message)
    });
    GENERATE.shape.respond(&error.into())
}
