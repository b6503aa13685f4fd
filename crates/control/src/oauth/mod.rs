//! OAuth for machines: service principals log in with a client secret and get an access token.

mod discovery;
pub(crate) mod federation;
pub(crate) mod secrets;
mod signing;
mod token;

use std::collections::HashMap;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use policy::Principal;
use policy::oauth::{Client, ClientSecret, Oauth};
use secrecy::ExposeSecret;
use serde_json::json;
use store::StoreError;
use wire::error::{ApiError, ErrorCode};

use crate::Control;
use crate::access::{Needs, Route};
use crate::people::People;

/// Errors below this path have OAuth's form.
pub(crate) const BASE: &str = "/oidc/";

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/oidc/.well-known/oauth-authorization-server",
        needs: Needs::Nobody,
        handler: |call| Box::pin(discovery::metadata(call)),
    },
    Route {
        method: Method::GET,
        path: "/oidc/.well-known/openid-configuration",
        needs: Needs::Nobody,
        handler: |call| Box::pin(discovery::metadata(call)),
    },
    Route {
        method: Method::GET,
        path: "/oidc/jwks.json",
        needs: Needs::Nobody,
        handler: |call| Box::pin(discovery::keys(call)),
    },
    Route {
        method: Method::GET,
        path: "/oidc/v1/authorize",
        needs: Needs::Nobody,
        handler: |call| Box::pin(discovery::authorize(call)),
    },
    Route {
        method: Method::POST,
        path: "/oidc/v1/token",
        needs: Needs::Nobody,
        handler: |call| Box::pin(token::token(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/tollgate/v1/oauth/replace-signing-key",
        needs: Needs::Admin,
        handler: |call| Box::pin(signing::replace(call)),
    },
];

/// What the snapshot gets to know: the key, and who may log in.
pub(crate) async fn publish(
    control: &Control,
    people: &People,
    active: &HashMap<&str, Arc<Principal>>,
) -> Result<Oauth, StoreError> {
    let store = control.store();
    let mut secrets: HashMap<String, Vec<ClientSecret>> = HashMap::new();
    for secret in store.oauth_secrets().await? {
        let kept = ClientSecret { id: secret.id, hash: secret.hash, expires_at: secret.expires_at };
        secrets.entry(secret.principal_id).or_default().push(kept);
    }
    let clients = people.principals.iter().filter(|p| p.is_service_principal).filter_map(|record| {
        let principal = Arc::clone(active.get(record.id.as_str())?);
        let secrets = secrets.remove(&record.id).unwrap_or_default();
        Some((Arc::clone(&principal.name), Client { principal, epoch: record.epoch, secrets }))
    });
    let clients = clients.collect();
    let key = store.signing_key().await?;
    let key = key.map(|secret| signing::key(secret.expose_secret(), control.inner.workspace_id));
    let federation = control.inner.issuer.as_ref().map(|desk| desk.publish(people, active));
    Ok(Oauth { key, clients, federation })
}

/// An error in OAuth's form. Without the JSON content type SDKs cannot read it.
pub(crate) fn error(error: &ApiError) -> Response {
    let name = match error.code {
        ErrorCode::InternalError => "server_error",
        ErrorCode::TemporarilyUnavailable => "temporarily_unavailable",
        _ => "invalid_request",
    };
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(json!({"error": name, "error_description": error.message}))).into_response()
}
