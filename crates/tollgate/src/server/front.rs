//! What every request passes, whatever its path: an id, one normalisation of the path, a span for the log,
//! and a wall that a panic does not get through.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use hyper::body::Incoming;
use journal::RequestId;
use journal::audit::Peer;
use tower::ServiceExt;
use tracing::Instrument;
use wire::error::{ApiError, ErrorCode};

use super::unread::Leftover;
use crate::config::Sampler;
use crate::telemetry::trace;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone)]
pub(super) struct Front {
    router: Router,
    /// `None` where no spans are sent.
    sampler: Option<Sampler>,
}

impl Front {
    pub(super) fn new(router: Router, sampler: Option<Sampler>) -> Self {
        let router = router.fallback(no_such_api).method_not_allowed_fallback(wrong_method);
        Self { router, sampler }
    }

    pub(super) async fn serve(
        self,
        mut request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response, Infallible> {
        request.extensions_mut().insert(peer);
        let (left, version) = (Leftover::default(), request.version());
        let response = self.answer(request.map(|body| left.watch(body))).await;
        Ok(left.drain_behind(response, version))
    }

    async fn answer(self, mut request: Request<Body>) -> Response {
        let id: std::sync::Arc<str> = uuid::Uuid::now_v7().to_string().into();
        let trace = trace::of_request(request.headers(), self.sampler);
        normalize(&mut request);
        request.extensions_mut().insert(RequestId(id.clone()));
        let line = Line {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            since: Instant::now(),
        };
        // At the highest level, so that it is there whatever the log's level: its id goes on every line.
        let span = tracing::error_span!("request", request_id = &*id, trace_id = %trace.trace_id);
        request.extensions_mut().insert(trace);
        let answered = async {
            let response = AssertUnwindSafe(self.router.oneshot(request)).catch_unwind().await;
            let response = response.unwrap_or_else(|_| Ok(panicked()));
            let Ok(response) = response;
            line.write(response.status());
            response
        };
        let mut response = answered.instrument(span).await;
        // A UUID is a header value.
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
}

/// The access line. Model calls have a line of their own when they are settled.
struct Line {
    method: Method,
    path: String,
    since: Instant,
}

impl Line {
    fn write(&self, status: StatusCode) {
        let duration_ms = self.since.elapsed().as_secs_f64() * 1e3;
        let (method, path, status) = (self.method.as_str(), self.path.as_str(), status.as_u16());
        if path.starts_with("/api/") || status >= 400 {
            tracing::info!(method, path, status, duration_ms, "request");
        } else {
            tracing::debug!(method, path, status, duration_ms, "request");
        }
    }
}

/// `/x/` is `/x`: clients send both.
fn normalize(request: &mut Request<Body>) {
    let uri = request.uri();
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.len() == path.len() || trimmed.is_empty() {
        return;
    }
    let text = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    if let Ok(path_and_query) = PathAndQuery::try_from(text) {
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

fn error(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(error.body())).into_response()
}

fn panicked() -> Response {
    tracing::error!("a handler panicked; this request is lost, all others go on");
    error(&ApiError::internal("the server made a mistake on this request; its log says more"))
}

async fn no_such_api(request: Request<Body>) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    error(&ApiError::new(ErrorCode::EndpointNotFound, format!("No API found for '{method} {path}'")))
}

async fn wrong_method(request: Request<Body>) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    error(&ApiError::new(ErrorCode::MethodNotAllowed, format!("{method} is not allowed on {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(uri: &str) -> String {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri.parse().unwrap();
        normalize(&mut request);
        request.uri().to_string()
    }

    #[test]
    fn a_trailing_slash_is_taken_off() {
        assert_eq!(path("/api/2.0/serving-endpoints/"), "/api/2.0/serving-endpoints");
        assert_eq!(path("/a/?x=/1/"), "/a?x=/1/");
        assert_eq!(path("/"), "/");
        assert_eq!(path("//"), "//");
    }

    #[tokio::test]
    async fn a_panic_costs_one_request() {
        let router = Router::new()
            .route("/boom", axum::routing::get(|| async { if true { panic!("boom") } else { "" } }));
        let request = Request::builder().uri("/boom").body(Body::empty()).unwrap();
        let response = Front::new(router, None).answer(request).await;
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key(REQUEST_ID));
    }
}
