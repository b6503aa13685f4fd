//! From an upstream's success to the client's response.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use journal::Outcome;

use crate::Gateway;
use crate::dialect::{ClientFraming, Dialect};
use crate::guardrails::Outgoing;
use crate::record::Open;
use crate::stream::{ClientBody, Watching};
use crate::upstream::SuccessBody;

/// Which entity answered; databricks-sdk reads it into `served_model_name`.
const SERVED_MODEL_NAME: HeaderName = HeaderName::from_static("served-model-name");

pub(crate) fn respond(gateway: &Gateway, outgoing: Outgoing, mut open: Box<Open>) -> Response {
    let (success, guarded) = match outgoing {
        Outgoing::Success { success, guarded } => (*success, guarded),
        Outgoing::Told { content_type, body, entity, outcome } => {
            open.tells(content_type);
            open.sent_whole(&body);
            open.settle(outcome, 200);
            return with_headers(Body::from(body), content_type, &entity);
        }
        // Dropped, it is on record as a call whose client has left.
        Outgoing::Unheard => return Response::default(),
    };
    let entity = &success.endpoint.entities[success.entity];
    let content_type = match success.body {
        SuccessBody::Whole { .. } => "application/json",
        SuccessBody::Stream { .. } => stream_type(success.dialect),
    };
    open.tells(content_type);
    let body = match success.body {
        SuccessBody::Whole { body, usage, written } => {
            open.describe_answer(&body);
            open.used(usage, written);
            whole(body, &mut open)
        }
        SuccessBody::Stream { upstream, ready } => Body::new(ClientBody::new(
            (upstream, ready),
            open,
            success.dialect,
            Watching { guarded, ping_every: gateway.inner.config.ping_every, drains: gateway.drains(entity) },
        )),
    };
    with_headers(body, content_type, &entity.name)
}

pub(crate) fn stream_type(dialect: &dyn Dialect) -> &'static str {
    match dialect.framing() {
        ClientFraming::Events => "text/event-stream; charset=utf-8",
        ClientFraming::Array => "application/json",
        ClientFraming::AwsEventStream => "application/vnd.amazon.eventstream",
    }
}

/// `entity` is empty where none answered.
fn with_headers(body: Body, content_type: &'static str, entity: &str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Entity names are letters, digits, `-` and `_`, so that this never fails.
    if let Some(name) = HeaderValue::from_str(entity).ok().filter(|_| !entity.is_empty()) {
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
