//! The client secrets of service principals. A secret is shown once and kept as a hash.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use store::Store;
use store::model::{NewOauthSecret, OauthSecret, PrincipalRecord};
use wire::error::ApiError;

use crate::access::{Needs, Route};
use crate::people::People;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::{clock, refresh, tokens};

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/api/2.0/accounts/servicePrincipals/{id}/credentials/secrets",
        needs: Needs::Admin,
        handler: |call| Box::pin(create(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/accounts/servicePrincipals/{id}/credentials/secrets",
        needs: Needs::Admin,
        handler: |call| Box::pin(list(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/2.0/accounts/servicePrincipals/{id}/credentials/secrets/{secret_id}",
        needs: Needs::Admin,
        handler: |call| Box::pin(delete(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/tollgate/v1/service-principals/{id}/revoke-tokens",
        needs: Needs::Admin,
        handler: |call| Box::pin(revoke(call)),
    },
];

/// Two years, the longest that Databricks has, and what it takes when nothing is said.
const MAX_LIFETIME: i64 = 730 * 24 * 3600;
/// What secret scanners know Databricks' client secrets by.
const PREFIX: &str = "dose";

#[derive(Default, Deserialize)]
struct Create {
    /// Seconds, as `3600s`.
    lifetime: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
}

async fn create(call: Call) -> Result<Reply, Failure> {
    let asked: Create = call.json()?;
    tokens::check_scopes(&asked.scopes)?;
    let lifetime = asked.lifetime.as_deref().map_or(Ok(MAX_LIFETIME), lifetime)?;
    let principal = service_principal(&call).await?;
    let (text, hash) =
        tokens::generate(PREFIX).map_err(|e| ApiError::internal(format!("no randomness: {e}")))?;
    let expires_at = journal::clock::expiry_ms() + lifetime * 1000;
    let new = NewOauthSecret { principal_id: &principal.id, hash: &hash, expires_at };
    let secret = call.control.store().create_oauth_secret(new).await?;
    refresh(&call.control).await?;
    tracing::info!(application_id = principal.name, id = secret.id, by = %call.caller()?.name, "client secret created");
    let mut shown = view(&secret);
    shown["secret"] = Value::from(text.as_str());
    Reply::json(&shown)
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let principal = service_principal(&call).await?;
    let now = journal::clock::expiry_ms();
    let secrets = call.control.store().oauth_secrets().await?;
    let own = secrets.iter().filter(|s| s.principal_id == principal.id && now < s.expires_at);
    Reply::json(&json!({"secrets": own.map(view).collect::<Vec<_>>()}))
}

/// Ends the access tokens that were got with it, and no others: a token names its secret.
async fn delete(call: Call) -> Result<Reply, Failure> {
    let principal = service_principal(&call).await?;
    let id = call.path("secret_id");
    if !call.control.store().delete_oauth_secret(&principal.id, id).await? {
        let shown: String = id.chars().take(100).collect();
        return Err(ApiError::not_found(format!("secret {shown:?} does not exist")).into());
    }
    refresh(&call.control).await?;
    tracing::info!(application_id = principal.name, id, by = %call.caller()?.name, "client secret deleted");
    Ok(Reply::empty())
}

async fn revoke(call: Call) -> Result<Reply, Failure> {
    let principal = service_principal(&call).await?;
    call.control.store().bump_epoch(&principal.id).await?;
    refresh(&call.control).await?;
    tracing::info!(application_id = principal.name, by = %call.caller()?.name, "access tokens revoked");
    Ok(Reply::empty())
}

async fn service_principal(call: &Call) -> Result<PrincipalRecord, Failure> {
    let id = call.path("id");
    let people = People::load(call.control.store()).await?;
    let found = people.principal(id).filter(|p| p.is_service_principal).cloned();
    let shown: String = id.chars().take(100).collect();
    found.ok_or_else(|| {
        ApiError::not_found(format!("Service principal with id {shown} does not exist")).into()
    })
}

fn lifetime(text: &str) -> Result<i64, ApiError> {
    let seconds = text.trim().strip_suffix('s').and_then(|digits| digits.parse().ok());
    seconds.filter(|seconds| (1..=MAX_LIFETIME).contains(seconds)).ok_or_else(|| {
        ApiError::invalid(format!("lifetime is {text:?}, it must be between 1s and {MAX_LIFETIME}s"))
    })
}

/// A client secret for the audit record.
pub(crate) async fn audited(store: &dyn Store, principal: &str, id: &str) -> Result<Option<Value>, Failure> {
    let all = store.oauth_secrets().await?;
    let found = all.iter().find(|s| s.principal_id == principal && s.id == id);
    Ok(found.map(|secret| {
        let mut shown = view(secret);
        shown["service_principal_id"] = Value::from(principal);
        shown
    }))
}

/// The hash names the secret and does not open anything: a login is hashed before it is compared.
fn view(secret: &OauthSecret) -> Value {
    let created = clock::rfc3339(secret.created_at);
    json!({
        "id": secret.id,
        "secret_hash": secret.hash.iter().map(|b| format!("{b:02x}")).collect::<String>(),
        "status": "ACTIVE",
        "create_time": created,
        "update_time": created,
        "expire_time": clock::rfc3339(secret.expires_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_seconds_with_an_s() {
        assert_eq!(lifetime("3600s"), Ok(3600));
        assert_eq!(lifetime("63072000s"), Ok(MAX_LIFETIME));
        for text in ["", "s", "3600", "0s", "-1s", "63072001s", "1.5s", "1h", "99999999999999999999s"] {
            assert!(lifetime(text).unwrap_err().message.contains("lifetime is"), "{text}");
        }
    }
}
