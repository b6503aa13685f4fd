//! `/api/2.0/token-management`: everybody's access tokens, for administrators.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use store::Store;
use store::model::{NewToken, TokenRecord};
use wire::error::ApiError;
use wire::tokens::ManagedToken;

use crate::access::{Needs, Route};
use crate::people::People;
use crate::refresh;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::tokens::{self, alive};

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/api/2.0/token-management/tokens",
        needs: Needs::Admin,
        handler: |call| Box::pin(list(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/token-management/tokens/{token_id}",
        needs: Needs::Admin,
        handler: |call| Box::pin(get(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/2.0/token-management/tokens/{token_id}",
        needs: Needs::Admin,
        handler: |call| Box::pin(delete(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/token-management/on-behalf-of/tokens",
        needs: Needs::Admin,
        handler: |call| Box::pin(create(call)),
    },
];

#[derive(Deserialize)]
struct OnBehalfOf {
    #[serde(default)]
    application_id: String,
    comment: Option<String>,
    lifetime_seconds: Option<i64>,
    #[serde(default)]
    scopes: Vec<String>,
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let by_id = call.query("created_by_id").ok();
    let by_name = call.query("created_by_username").ok();
    let people = People::load(call.control.store()).await?;
    let now = journal::clock::expiry_ms();
    let all = call.control.store().tokens().await?;
    let infos = all.iter().filter(|t| alive(t, now)).filter(|t| by_id.is_none_or(|id| t.created_by == id));
    let infos = infos.map(|t| info(t, &people));
    let infos = infos.filter(|i| by_name.is_none_or(|name| i.created_by_username.as_deref() == Some(name)));
    Reply::json(&json!({"token_infos": infos.collect::<Vec<_>>()}))
}

async fn get(call: Call) -> Result<Reply, Failure> {
    let record = find(&call).await?;
    let people = People::load(call.control.store()).await?;
    Reply::json(&json!({"token_info": info(&record, &people)}))
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let record = find(&call).await?;
    if !call.control.store().delete_token(&record.principal_id, &record.id).await? {
        return Err(tokens::missing(&record.id).into());
    }
    refresh(&call.control).await?;
    tracing::info!(token = record.id, owner = record.principal_id, by = %call.caller()?.name, "token deleted");
    Ok(Reply::empty())
}

/// A token of a service principal, which cannot ask for its first one itself.
async fn create(call: Call) -> Result<Reply, Failure> {
    let asked: OnBehalfOf = call.json()?;
    tokens::check_scopes(&asked.scopes)?;
    let expires_at = tokens::expires_at(asked.lifetime_seconds, journal::clock::expiry_ms())?;
    let people = People::load(call.control.store()).await?;
    let found = people.principals.iter().find(|p| p.is_service_principal && p.name == asked.application_id);
    let Some(principal) = found else {
        let shown: String = asked.application_id.chars().take(100).collect();
        let message = format!("application_id: there is no service principal {shown:?}");
        return Err(ApiError::not_found(message).into());
    };
    let caller = call.caller()?;
    let (text, hash) =
        tokens::generate(tokens::PREFIX).map_err(|e| ApiError::internal(format!("no randomness: {e}")))?;
    let comment = tokens::checked_comment(asked.comment)?;
    let new = NewToken {
        hash: &hash,
        principal_id: &principal.id,
        created_by: &caller.id,
        comment: &comment,
        expires_at,
    };
    let record = call.control.store().create_token(new).await?;
    refresh(&call.control).await?;
    tracing::info!(token = record.id, owner = principal.name, by = %caller.name, "token created on behalf");
    Reply::json(&json!({"token_value": *text, "token_info": info(&record, &people)}))
}

async fn find(call: &Call) -> Result<TokenRecord, Failure> {
    let id = call.path("token_id");
    let now = journal::clock::expiry_ms();
    let found = call.control.store().tokens().await?.into_iter().find(|t| t.id == id && alive(t, now));
    found.ok_or_else(|| tokens::missing(id).into())
}

/// A token for the audit record: whose it is and what it is called, never its hash.
pub(crate) async fn audited(store: &dyn Store, id: &str) -> Result<Option<Value>, Failure> {
    let Some(record) = store.tokens().await?.into_iter().find(|t| t.id == id) else { return Ok(None) };
    let people = People::load(store).await?;
    let shown = serde_json::to_value(info(&record, &people));
    Ok(Some(shown.map_err(|e| ApiError::internal(format!("the token: {e}")))?))
}

fn info(record: &TokenRecord, people: &People) -> ManagedToken {
    let creator = people.principal(&record.created_by);
    ManagedToken {
        info: tokens::info(record),
        // Numbers here, although SCIM has them as texts: Go clients read integers.
        created_by_id: record.created_by.parse().ok(),
        created_by_username: creator.map(|p| p.name.clone()),
        owner_id: record.principal_id.parse().ok(),
    }
}
