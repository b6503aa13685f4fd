//! Routes and what they need. A handler is reached through [`Route`] only, and a route cannot be written
//! without saying what it needs: deny by default.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use policy::identity::{self, Credential, Unknown};
use policy::{Endpoint, Level, Principal, permit};
use store::model::ScopePermission;
use wire::error::{ApiError, ErrorCode};

use crate::audit::{Subject, Trail};
use crate::reply::{Failure, Reply};
use crate::request::{Call, read_body};
use crate::{Control, oauth, scim, secrets, workspace};

/// What a caller must be or have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Nothing, not even a token.
    Nobody,
    /// Any known principal.
    Principal,
    /// Membership in `admins`.
    Admin,
    /// The entitlement to create endpoints.
    Create,
    /// A level on the endpoint that is `{name}` in the path.
    Endpoint(Level),
    /// A level on the endpoint whose id is `{id}` in the path.
    EndpointById(Level),
    /// A permission on the secret scope that the body or the query names.
    Scope(ScopePermission),
    /// Access to the file or folder of the workspace that the request names; the handler checks it, because
    /// the path may stand in the body.
    Folder,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nothing"),
            Self::Principal => f.write_str("a token"),
            Self::Admin => f.write_str("member of admins"),
            Self::Create => f.write_str("the entitlement to create endpoints"),
            Self::Endpoint(level) | Self::EndpointById(level) => {
                write!(f, "{} on the endpoint", level.as_str())
            }
            Self::Scope(permission) => write!(f, "{} on the scope", permission.as_str()),
            Self::Folder => f.write_str("access to the folder"),
        }
    }
}

pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// One route.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub needs: Needs,
    pub(crate) handler: fn(Call) -> Handling,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} needs {:?}", self.method, self.path, self.needs)
    }
}

pub(crate) fn router(routes: impl Iterator<Item = &'static Route>, control: Control) -> Router {
    let mut by_path: BTreeMap<&'static str, MethodRouter<Control>> = BTreeMap::new();
    for route in routes {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
        let handler = on(filter, move |State(control): State<Control>, request: Request<Body>| {
            handle(control, route, request)
        });
        let methods = by_path.remove(route.path).unwrap_or_default().merge(handler);
        by_path.insert(route.path, methods);
    }
    let router = by_path
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods.fallback(wrong_method)));
    router.with_state(control)
}

async fn wrong_method(request: Request<Body>) -> Response {
    let message = format!("{} is not allowed on {}", request.method(), request.uri().path());
    Failure(ApiError::new(ErrorCode::MethodNotAllowed, message)).into_response()
}

async fn handle(control: Control, route: &'static Route, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut trail = Trail::new(route, &parts);
    let call = match admit(&control, route, &mut parts, body, &mut trail).await {
        Ok(call) => call,
        Err(error) => {
            trail.denied(&control, error.status, &error.message);
            return refuse(route, &error);
        }
    };
    let subject = if trail.changes() { Subject::of(route, &call) } else { Subject::Unnamed };
    trail.allowed(&control, subject.state(control.store()).await);
    match (route.handler)(call).await {
        Ok(reply) => {
            let after = subject.state(control.store()).await;
            trail.done(&control, reply.code(), after, reply.body());
            reply.into_response()
        }
        Err(Failure(error)) => {
            let answer = serde_json::to_vec(&error.body()).unwrap_or_default();
            trail.done(&control, error.status, None, &answer);
            refuse(route, &error)
        }
    }
}

/// An error in the form that the clients of the route read.
fn refuse(route: &Route, error: &ApiError) -> Response {
    if route.path.starts_with(scim::BASE) {
        return scim::error(error);
    }
    if route.path.starts_with(oauth::BASE) {
        return oauth::error(error);
    }
    Failure(error.clone()).into_response()
}

async fn admit(
    control: &Control,
    route: &Route,
    parts: &mut Parts,
    body: Body,
    trail: &mut Trail,
) -> Result<Call, ApiError> {
    let mut caller = authenticate(control, route.needs, &parts.headers)?;
    if let Some(newcomer) = caller.as_ref().filter(|c| c.id.is_empty()) {
        // The issuer vouches for them, and they are not stored yet.
        oauth::federation::provision(control, &newcomer.name).await.map_err(|e| Failure::from(e).0)?;
        caller = authenticate(control, route.needs, &parts.headers)?;
    }
    trail.caller(caller.as_deref());
    let path = path_params(parts).await;
    check(control, route.needs, caller.as_deref(), &path)?;
    let query = Query::<HashMap<String, String>>::try_from_uri(&parts.uri).map(|q| q.0).unwrap_or_default();
    let body = read_body(body, workspace::longest_body(route.path)).await?;
    trail.body(&body);
    let base_url = base_url(control, &parts.headers);
    let client = if route.needs == Needs::Nobody { Credential::client(&parts.headers) } else { None };
    let call = Call::new(control.clone(), caller, path, query, body, base_url, client);
    if let Needs::Scope(permission) = route.needs {
        secrets::admit(&call, &route.method, permission).await.map_err(|failure| failure.0)?;
    }
    Ok(call)
}

fn authenticate(
    control: &Control,
    needs: Needs,
    headers: &HeaderMap,
) -> Result<Option<Arc<Principal>>, ApiError> {
    if needs == Needs::Nobody {
        return Ok(None);
    }
    let snapshot = control.inner.live.load();
    let credential = Credential::find(headers, &[]);
    match identity::authenticate(&snapshot, credential.as_ref(), journal::clock::expiry_ms()) {
        Ok(principal) => Ok(Some(principal)),
        Err(unknown @ Unknown::NoCredential) => {
            Err(ApiError::new(ErrorCode::Unauthenticated, unknown.message()))
        }
        Err(unknown @ Unknown::BadToken) => Err(ApiError::denied(unknown.message())),
    }
}

async fn path_params(parts: &mut Parts) -> HashMap<String, String> {
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => params.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        Err(_) => HashMap::new(),
    }
}

fn check(
    control: &Control,
    needs: Needs,
    caller: Option<&Principal>,
    path: &HashMap<String, String>,
) -> Result<(), ApiError> {
    let Some(caller) = caller else { return Ok(()) };
    match needs {
        Needs::Nobody | Needs::Principal | Needs::Scope(_) | Needs::Folder => Ok(()),
        Needs::Admin if caller.is_admin() => Ok(()),
        Needs::Admin => Err(ApiError::denied(format!("{} is not a member of admins", caller.name))),
        Needs::Create if caller.can_create => Ok(()),
        Needs::Create => {
            let (who, entitlement) = (&caller.name, identity::CREATE_ENTITLEMENT);
            let message = format!("{who} may not create endpoints: that takes the entitlement {entitlement}");
            Err(ApiError::denied(message))
        }
        Needs::Endpoint(level) => {
            let name = path.get("name").map_or("", String::as_str);
            let snapshot = control.inner.live.load();
            let endpoint = snapshot.endpoints.get(name).ok_or_else(|| no_such_endpoint(name))?;
            allow(caller, endpoint, level)
        }
        Needs::EndpointById(level) => {
            let id = path.get("id").map_or("", String::as_str);
            let snapshot = control.inner.live.load();
            let endpoint = snapshot.endpoints.values().find(|e| e.id.as_ref() == id);
            allow(caller, endpoint.ok_or_else(|| no_such_id(id))?, level)
        }
    }
}

fn allow(caller: &Principal, endpoint: &Endpoint, level: Level) -> Result<(), ApiError> {
    if permit::level(caller, endpoint) >= Some(level) {
        return Ok(());
    }
    let (who, what) = (&caller.name, &endpoint.name);
    Err(ApiError::denied(format!("{who} lacks {} on endpoint {what:?}", level.as_str())))
}

pub(crate) fn no_such_endpoint(name: &str) -> ApiError {
    let shown: String = name.chars().take(100).collect();
    ApiError::not_found(format!("Endpoint with name {shown:?} does not exist."))
}

/// Permissions are addressed by id; a name in its place is a common mistake.
fn no_such_id(id: &str) -> ApiError {
    let shown: String = id.chars().take(100).collect();
    ApiError::not_found(format!(
        "Serving endpoint with id {shown:?} does not exist: use the endpoint's id, not its name."
    ))
}

fn base_url(control: &Control, headers: &HeaderMap) -> String {
    if let Some(url) = &control.inner.config.public_url {
        return url.clone();
    }
    let scheme = if control.inner.config.tls { "https" } else { "http" };
    let host = headers.get(HOST).and_then(|v| v.to_str().ok()).unwrap_or("localhost");
    format!("{scheme}://{host}")
}
