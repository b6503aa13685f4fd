//! From an upstream's success to the client's response.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use journal::Outcome;

use crate::dialect::ClientFraming;
use crate::inference;
use crate::record::Open;
use crate::stream::ClientBody;
use crate::upstream::{Success, SuccessBody};

/// Which entity answered; databricks-sdk reads it into `served_model_name`.
const SERVED_MODEL_NAME: HeaderName = HeaderName::from_static("served-model-name");

/// `ping_every` is how long a stream may be silent before the client is told that it is alive.
pub(crate) fn respond(success: Success, mut open: Open, ping_every: Duration) -> Response {
    let entity = &success.endpoint.entities[success.entity];
    let (content_type, body) = match success.body {
        SuccessBody::Whole { body, usage } => {
            if open.is_described() {
                open.answered(inference::response(&body));
            }
            if let Some(usage) = usage {
                open.count(*usage);
            }
            ("application/json", whole(body, &mut open))
        }
        SuccessBody::Stream { upstream, ready } => (
            match success.dialect.framing() {
                ClientFraming::Events => "text/event-stream; charset=utf-8",
                ClientFraming::Array => "application/json",
                ClientFraming::AwsEventStream => "application/vnd.amazon.eventstream",
            },
            Body::new(ClientBody::new(*upstream, ready, open, success.dialect, ping_every)),
        ),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Entity names are letters, digits, `-` and `_`, so that this never fails.
    if let Ok(name) = HeaderValue::from_str(&entity.name) {
        headers.insert(SERVED_MODEL_NAME, name);
    }
    response
}

/// The settlement is recorded before the bytes are handed over.
fn whole(body: Bytes, open: &mut Open) -> Body {
    open.sent_whole(&body);
    open.settle(Outcome::Completed, 200);
    Body::from(body)
}
