//! What happens to a request, top to bottom:
//!
//! authenticate → resolve endpoint → permit → route → (encode → send → classify)* → answer → settle
//!
//! What is in brackets runs once per attempt, the rest once per request. No attempt follows the first
//! byte that went to the client.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Request};
use journal::{Outcome, RequestId};
use policy::identity::{self, Credential, Unknown};
use policy::{Endpoint, Level, Principal, Snapshot, permit, routing};
use providers::Task;
use wire::error::{ApiError, ErrorCode};
use wire::raw::RawObject;

use crate::call::Call;
use crate::error::ServeError;
use crate::record::{Open, Waiting};
use crate::{Gateway, answer, body, clock, upstream};

/// How a request names its endpoint and its task.
#[derive(Clone, Debug)]
pub(crate) enum Addressing {
    /// The endpoint is in the path; its own task decides.
    Path(String),
    /// The endpoint is the body's `model`; the path is of one task.
    Model(Task),
}

pub(crate) async fn serve(gateway: Gateway, addressing: Addressing, request: Request<Body>) -> Response {
    match run(&gateway, &addressing, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn run(
    gateway: &Gateway,
    addressing: &Addressing,
    request: Request<Body>,
) -> Result<Response, ServeError> {
    let started = Instant::now();
    let (parts, request_body) = request.into_parts();
    let request_id = request_id(&parts.extensions);
    let snapshot = Arc::clone(&gateway.inner.live.load());
    let principal = authenticate(&snapshot, &parts.headers)?;
    let config = &gateway.inner.config;
    let bytes = body::read(&parts.headers, request_body, config.max_body_bytes, config.body_timeout).await?;
    let object = RawObject::parse(&bytes)
        .map_err(|e| ApiError::bad_request(format!("the request body is no JSON object: {e}")))?;
    let endpoint = resolve(&snapshot, addressing, &object)?;
    permit_query(&principal, &endpoint)?;
    check_task(addressing, &endpoint)?;
    let call = Call::read(request_id, endpoint, principal, object)?;
    let mut open = Open::admit(Arc::clone(&gateway.inner.sink), &call, started);
    let mut waiting = Waiting::new(&mut open, &call.body);
    let answered = attempt_all(gateway, &call, waiting.open()).await;
    waiting.over();
    match answered {
        Ok(success) => Ok(answer::respond(success, open)),
        Err(error) => {
            let outcome = if error.upstream_status().is_some() || error.allows_fallback() {
                Outcome::Failed
            } else {
                Outcome::Refused
            };
            open.settle(outcome, error.status());
            Err(error)
        }
    }
}

fn request_id(extensions: &http::Extensions) -> RequestId {
    let given = extensions.get::<RequestId>().cloned();
    given.unwrap_or_else(|| RequestId(uuid::Uuid::now_v7().to_string().into()))
}

fn authenticate(snapshot: &Snapshot, headers: &HeaderMap) -> Result<Arc<Principal>, ApiError> {
    let credential = Credential::find(headers, &[]);
    match identity::authenticate(snapshot, credential.as_ref(), clock::now_ms()) {
        Ok(principal) => Ok(principal),
        Err(Unknown::NoCredential) => Err(ApiError::new(
            ErrorCode::Unauthenticated,
            "no credential: send a token as `Authorization: Bearer <token>`",
        )),
        Err(Unknown::BadToken) => {
            Err(ApiError::denied("invalid access token: it is unknown, revoked or expired"))
        }
    }
}

fn resolve(
    snapshot: &Snapshot,
    addressing: &Addressing,
    body: &RawObject<'_>,
) -> Result<Arc<Endpoint>, ApiError> {
    let name = match addressing {
        Addressing::Path(name) => name.clone(),
        Addressing::Model(_) => model(body)?,
    };
    snapshot.endpoints.get(&name).cloned().ok_or_else(|| no_such_endpoint(&name))
}

/// After the permission: what an endpoint serves is for those to know who may query it.
fn check_task(addressing: &Addressing, endpoint: &Endpoint) -> Result<(), ApiError> {
    match addressing {
        Addressing::Model(asked) if *asked != endpoint.task => {
            let (name, has, asked) = (&endpoint.name, endpoint.task.as_str(), asked.as_str());
            Err(ApiError::bad_request(format!("endpoint {name:?} serves {has}, this path is for {asked}")))
        }
        Addressing::Model(_) | Addressing::Path(_) => Ok(()),
    }
}

fn model(body: &RawObject<'_>) -> Result<String, ApiError> {
    let model: Option<String> =
        body.get("model").map_err(|e| ApiError::bad_request(format!("model: {e}")))?;
    model.ok_or_else(|| ApiError::bad_request("model is required: the name of the serving endpoint"))
}

fn no_such_endpoint(name: &str) -> ApiError {
    let shown: String = name.chars().take(100).collect();
    ApiError::not_found(format!(
        "The given endpoint does not exist, please retry after checking the specified model and version deployment exists: {shown:?}."
    ))
}

fn permit_query(principal: &Principal, endpoint: &Endpoint) -> Result<(), ApiError> {
    if permit::level(principal, endpoint) >= Some(Level::Query) {
        return Ok(());
    }
    let (who, what) = (&principal.name, &endpoint.name);
    Err(ApiError::denied(format!("{who} lacks {} on endpoint {what:?}", Level::Query.as_str())))
}

/// Tries the planned entities in order until one answers or the fault is not theirs.
async fn attempt_all(
    gateway: &Gateway,
    call: &Call<'_>,
    open: &mut Open,
) -> Result<upstream::Success, ServeError> {
    let mut last = None;
    for at in routing::plan(&call.endpoint, fastrand::u32(0..100)) {
        let entity = &call.endpoint.entities[at];
        open.trying(&entity.name);
        let tried = upstream::attempt(gateway, call, at).await;
        let status = match &tried {
            Ok(success) => Some(success.status),
            Err(error) => error.upstream_status(),
        };
        open.tried(status);
        match tried {
            Ok(success) => return Ok(success),
            Err(error) if error.allows_fallback() => {
                tracing::warn!(endpoint = %call.endpoint.name, entity = %entity.name, request_id = %call.request_id.0,
                    error = error.sentence(), "attempt failed");
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| ApiError::internal("the endpoint has no served entity").into()))
}
