//! What happens to a request, top to bottom:
//!
//! authenticate → resolve endpoint → admit → permit → read call → limit → guard → (encode → send → classify)* → guard → answer → settle
//!
//! What is in brackets runs once per attempt, the rest once per request. No attempt follows the first
//! byte that went to the client.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use http::request::Parts;
use journal::trace::TraceContext;
use journal::{Durable, RequestId};
use policy::identity::{self, Credential, Unknown};
use policy::{Endpoint, IdKey, Level, Principal, Snapshot, permit};
use providers::Task;
use wire::error::{ApiError, ErrorCode};
use wire::raw::RawObject;

use crate::arriving::Arriving;
use crate::attended::{Attended, Presence, unheard};
use crate::body::Unread;
use crate::call::{Asked, Call};
use crate::capture::Capture;
use crate::error::ServeError;
use crate::guardrails::{Guards, Outgoing};
use crate::record::{Known, Open, Waiting};
use crate::surface::Surface;
use crate::{Gateway, answer, attempts, inference, limits};

/// What a path asks for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) surface: &'static Surface,
    pub(crate) addressing: Addressing,
    /// The task that the path is of; `None` where the endpoint's own decides.
    pub(crate) task: Option<Task>,
    /// Whether the answer is a stream, where it is the path that says so.
    pub(crate) streams: Option<bool>,
}

/// How a request names its endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Addressing {
    Path(String),
    /// In the body's `model`.
    Model,
}

pub(crate) async fn serve(gateway: Gateway, ask: Ask, request: Request<Body>) -> Response {
    let shape = ask.surface.shape;
    match run(gateway, ask, request).await {
        Ok(response) => response,
        Err(error) => shape.respond(&error),
    }
}

async fn run(gateway: Gateway, ask: Ask, request: Request<Body>) -> Result<Response, ServeError> {
    let started = Instant::now();
    let (parts, request_body) = request.into_parts();
    let request_id = request_id(&parts.extensions);
    let snapshot = Arc::clone(&gateway.inner.live.load());
    let principal = authenticate(&snapshot, ask.surface, &parts)?;
    let mut arriving = Arriving {
        gateway: &gateway,
        ask: &ask,
        snapshot: &snapshot,
        parts: &parts,
        request_id: &request_id,
        principal: &principal,
        started,
        has_arrived: false,
    };
    let came = arriving.body(request_body).await;
    if let Err(unread @ Unread::BrokenOff(_)) = &came {
        return Err(unread.error().into());
    }
    // Where the path names the endpoint, a body that cannot be read is a call on it as well.
    let parsed = came.as_ref().map_err(Unread::error).and_then(parse);
    let (body, unreadable) = parsed.map_or_else(|e| (RawObject::default(), Some(e)), |body| (body, None));
    let endpoint = match resolve(&snapshot, &ask.addressing, &body) {
        Ok(endpoint) => endpoint,
        Err(error) => return Err(unreadable.unwrap_or(error).into()),
    };
    let open = arriving.admit(&endpoint, &body, |limit| Capture::of(&came, limit))?;
    drop(arriving);
    let counts = (ask.surface.dialect)(endpoint.task).counts();
    // Counting is not worth being read on.
    let presence = if counts { None } else { Presence::of(&endpoint) };
    let admitted =
        Admitted { gateway, ask, snapshot, parts, request_id, endpoint, principal, presence, open };
    let body = unreadable.map_or(Ok(body), Err);
    Ok(match (&admitted.presence, &came) {
        (Some(presence), Ok(bytes)) if body.is_ok() => {
            let (presence, drains) = (presence.clone(), admitted.gateway.inner.drains.clone());
            Attended::new(admitted.reading(bytes.clone()), presence, drains).await
        }
        _ => Box::pin(admitted.serve(body)).await,
    })
}

fn parse(bytes: &Bytes) -> Result<RawObject<'_>, ApiError> {
    RawObject::parse(bytes)
        .map_err(|e| ApiError::bad_request(format!("the request body is no JSON object: {e}")))
}

/// A call on record, with all that it needs to go on without whoever waits for it.
struct Admitted {
    gateway: Gateway,
    ask: Ask,
    snapshot: Arc<Snapshot>,
    parts: Parts,
    request_id: RequestId,
    endpoint: Arc<Endpoint>,
    principal: Arc<Principal>,
    presence: Option<Presence>,
    open: Box<Open>,
}

impl Admitted {
    async fn serve(self, body: Result<RawObject<'_>, ApiError>) -> Response {
        let Self { gateway, ask, snapshot, parts, request_id, endpoint, principal, presence, open } = self;
        let call = body.and_then(|body| {
            let (id_key, characters) = (snapshot.id_key.clone(), open.characters());
            let given = Given { body, id_key, characters, presence };
            read(&ask, request_id, (endpoint, principal), &parts, given)
        });
        let guards = Guards { gateway: &gateway, snapshot: &snapshot, path: parts.uri.path() };
        recorded(&guards, ask.surface, call, open).await
    }

    /// With the body that it holds as well.
    async fn reading(self, bytes: Bytes) -> Response {
        self.serve(parse(&bytes)).await
    }
}

/// From here on the request is on record, `capture` with it where bodies are kept, up to what it is given.
pub(crate) fn admit(
    gateway: &Gateway,
    known: &Known<'_>,
    capture: impl FnOnce(usize) -> Capture,
    started: Instant,
) -> Result<Box<Open>, ApiError> {
    let capture = || capture(gateway.inner.config.max_payload_bytes);
    Open::admit(Arc::clone(&gateway.inner.sink), known, capture, started).map_err(|full| {
        let message = format!(
            "USAGE_STORE_FULL: {full}, and calls without a record are refused; tell an administrator"
        );
        ApiError::new(ErrorCode::TemporarilyUnavailable, message)
    })
}

/// What a call is made of beside who makes it.
struct Given<'a> {
    body: RawObject<'a>,
    id_key: Option<IdKey>,
    /// Of what is asked, where they are counted.
    characters: Option<u64>,
    presence: Option<Presence>,
}

/// The call, where its caller may make it.
fn read<'a>(
    ask: &Ask,
    request_id: RequestId,
    (endpoint, principal): (Arc<Endpoint>, Arc<Principal>),
    parts: &'a Parts,
    given: Given<'a>,
) -> Result<Call<'a>, ApiError> {
    permit_query(&principal, &endpoint)?;
    check_task(ask.task, &endpoint)?;
    let dialect = (ask.surface.dialect)(endpoint.task);
    let (headers, query) = (&parts.headers, parts.uri.query());
    let trace = parts.extensions.get::<TraceContext>().cloned();
    let Given { body, id_key, characters, presence } = given;
    let asked =
        Asked { dialect, streams: ask.streams, headers, query, body, trace, id_key, characters, presence };
    Call::read(request_id, endpoint, principal, asked)
}

/// A call on record, from here to the response that settles it.
pub(crate) async fn recorded(
    guards: &Guards<'_>,
    surface: &Surface,
    call: Result<Call<'_>, ApiError>,
    mut open: Box<Open>,
) -> Response {
    let gateway = guards.gateway;
    wait(open.durable()).await;
    let answered = match call {
        Ok(call) => Box::pin(answered(guards, call, &mut open)).await,
        Err(error) => Err(error.into()),
    };
    let stands = open.stands();
    let mut response = match answered {
        Ok(outgoing) => answer::respond(gateway, outgoing, open),
        Err(error) => {
            open.refuse(&error, surface.shape);
            surface.shape.respond(&error)
        }
    };
    stands.add_to(response.headers_mut());
    wait(gateway.inner.sink.durable()).await;
    response
}

/// For what is waited for where records must be on the disk.
async fn wait(durable: Option<Durable>) {
    if let Some(durable) = durable {
        durable.await;
    }
}

/// What a call meets until there is an answer for the client.
async fn answered(guards: &Guards<'_>, mut call: Call<'_>, open: &mut Open) -> Result<Outgoing, ServeError> {
    let gateway = guards.gateway;
    // No word of the conventions fits a response that is only read again.
    if gateway.inner.config.describe && call.kept.is_none() {
        open.describe(Box::new(inference::request(&call)));
    }
    limits::take(gateway, &call, open).await?;
    if let Some(blocked) = guards.input(&mut call, open).await? {
        return Ok(blocked);
    }
    let mut waiting = Waiting::new(open, &call);
    let answered = Box::pin(attempts::run(gateway, &call, waiting.open())).await;
    if call.is_left() {
        unheard(&call, answered, waiting.open()).await;
        waiting.over();
        return Ok(Outgoing::Unheard);
    }
    waiting.over();
    guards.output(&call, answered?, open).await
}

pub(crate) fn request_id(extensions: &http::Extensions) -> RequestId {
    let given = extensions.get::<RequestId>().cloned();
    given.unwrap_or_else(|| RequestId(uuid::Uuid::now_v7().to_string().into()))
}

pub(crate) fn authenticate(
    snapshot: &Snapshot,
    surface: &Surface,
    parts: &Parts,
) -> Result<Arc<Principal>, ApiError> {
    let credential = Credential::find(&parts.headers, surface.key_headers).or_else(|| {
        let wanted = surface.key_parameter.filter(|_| !parts.headers.contains_key(AUTHORIZATION))?;
        let mut query = form_urlencoded::parse(parts.uri.query()?.as_bytes());
        let (_, key) = query.find(|(name, key)| name == wanted && !key.is_empty())?;
        Some(Credential::new(&key))
    });
    match identity::authenticate(snapshot, credential.as_ref(), journal::clock::expiry_ms()) {
        Ok(principal) => Ok(principal),
        Err(unknown @ Unknown::NoCredential) => {
            Err(ApiError::new(ErrorCode::Unauthenticated, unknown.message()))
        }
        Err(unknown @ Unknown::BadToken) => Err(ApiError::denied(unknown.message())),
    }
}

fn resolve(
    snapshot: &Snapshot,
    addressing: &Addressing,
    body: &RawObject<'_>,
) -> Result<Arc<Endpoint>, ApiError> {
    let name = match addressing {
        Addressing::Path(name) => name.clone(),
        Addressing::Model => model(body)?,
    };
    snapshot.endpoints.get(&name).cloned().ok_or_else(|| no_such_endpoint(&name))
}

/// After the permission: what an endpoint serves is for those to know who may query it.
fn check_task(asked: Option<Task>, endpoint: &Endpoint) -> Result<(), ApiError> {
    match asked {
        Some(asked) if asked != endpoint.task => {
            let (name, has, asked) = (&endpoint.name, endpoint.task.as_str(), asked.as_str());
            Err(ApiError::bad_request(format!("endpoint {name:?} serves {has}, this path is for {asked}")))
        }
        _ => Ok(()),
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

pub(crate) fn permit_query(principal: &Principal, endpoint: &Endpoint) -> Result<(), ApiError> {
    if permit::level(principal, endpoint) >= Some(Level::Query) {
        return Ok(());
    }
    let (who, what) = (&principal.name, &endpoint.name);
    Err(ApiError::denied(format!("{who} lacks {} on endpoint {what:?}", Level::Query.as_str())))
}
