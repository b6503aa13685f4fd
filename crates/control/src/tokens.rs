//! `/api/2.0/token`: a principal's own access tokens.

use http::Method;
use policy::identity::{TokenHash, hash_token};
use serde_json::json;
use store::model::{NewToken, TokenRecord};
use wire::error::ApiError;
use wire::tokens::{CreateToken, DeleteToken, TokenInfo, TokenList, UpdateToken};
use zeroize::Zeroizing;

use crate::access::{Needs, Route};
use crate::refresh;
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/api/2.0/token/create",
        needs: Needs::Principal,
        handler: |call| Box::pin(create(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/token/list",
        needs: Needs::Principal,
        handler: |call| Box::pin(list(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/2.0/token/{token_id}",
        needs: Needs::Principal,
        handler: |call| Box::pin(update(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/token/delete",
        needs: Needs::Principal,
        handler: |call| Box::pin(delete(call)),
    },
];

/// Longest life that can be asked for, in seconds: a hundred years.
const MAX_LIFETIME: i64 = 100 * 366 * 24 * 3600;

/// Longest comment, in characters.
const MAX_COMMENT: usize = 1000;

/// What secret scanners know Databricks' tokens by.
pub(crate) const PREFIX: &str = "dapi";

/// The one scope there is: a token does what its principal may do.
const SCOPE: &str = "all-apis";

/// A new token and its hash; the token itself is never kept.
pub(crate) fn generate(prefix: &str) -> Result<(Zeroizing<String>, TokenHash), String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| e.to_string())?;
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 64));
    text.push_str(prefix);
    bytes.iter().for_each(|b| text.push_str(&format!("{b:02x}")));
    let hash = hash_token(&text);
    Ok((text, hash))
}

/// When a token that is asked for at `now` ends.
pub(crate) fn expires_at(lifetime_seconds: Option<i64>, now: i64) -> Result<Option<i64>, ApiError> {
    match lifetime_seconds {
        None | Some(-1) => Ok(None),
        Some(seconds) if (1..=MAX_LIFETIME).contains(&seconds) => Ok(Some(now + seconds * 1000)),
        Some(seconds) => Err(ApiError::invalid(format!(
            "lifetime_seconds is {seconds}; it must be positive, or absent for a token that does not expire"
        ))),
    }
}

/// A token that could do more than was asked for would be worse than none.
pub(crate) fn check_scopes(scopes: &[String]) -> Result<(), ApiError> {
    match scopes.iter().find(|scope| *scope != SCOPE) {
        None => Ok(()),
        Some(scope) => {
            let shown: String = scope.chars().take(100).collect();
            Err(ApiError::invalid(format!(
                "scopes: {shown:?} is not supported, only {SCOPE}, or none at all"
            )))
        }
    }
}

pub(crate) fn checked_comment(comment: Option<String>) -> Result<String, ApiError> {
    let comment = comment.unwrap_or_default();
    match comment.chars().count() {
        0..=MAX_COMMENT => Ok(comment),
        length => {
            let message = format!("comment has {length} characters, at most {MAX_COMMENT} are allowed");
            Err(ApiError::invalid(message))
        }
    }
}

/// Those that have run out are not shown; the store drops them with its next new token.
pub(crate) fn alive(record: &TokenRecord, now: i64) -> bool {
    record.expires_at.is_none_or(|at| now < at)
}

pub(crate) fn missing(id: &str) -> ApiError {
    let shown: String = id.chars().take(100).collect();
    ApiError::not_found(format!("token {shown:?} does not exist"))
}

async fn create(call: Call) -> Result<Reply, Failure> {
    let asked: CreateToken = call.json()?;
    check_scopes(&asked.scopes)?;
    let expires_at = expires_at(asked.lifetime_seconds, journal::clock::expiry_ms())?;
    let (text, hash) = generate(PREFIX).map_err(|e| ApiError::internal(format!("no randomness: {e}")))?;
    let comment = checked_comment(asked.comment)?;
    let caller = call.caller()?;
    let new = NewToken {
        hash: &hash,
        principal_id: &caller.id,
        created_by: &caller.id,
        comment: &comment,
        expires_at,
    };
    let record = call.control.store().create_token(new).await?;
    refresh(&call.control).await?;
    Reply::json(&json!({"token_value": *text, "token_info": info(&record)}))
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let caller = call.caller()?;
    let now = journal::clock::expiry_ms();
    let tokens = call.control.store().tokens().await?;
    let own = tokens.iter().filter(|t| t.principal_id == caller.id.as_ref() && alive(t, now));
    Reply::json(&TokenList { token_infos: own.map(info).collect() })
}

/// Changes the fields that the mask names, or those that are there without one.
async fn update(call: Call) -> Result<Reply, Failure> {
    let UpdateToken { token, update_mask } = call.json()?;
    let fields: Vec<&str> = update_mask.split(',').map(str::trim).filter(|f| !f.is_empty()).collect();
    if let Some(unknown) = fields.iter().find(|f| !["*", "comment", "scopes"].contains(f)) {
        let message = format!("update_mask: {unknown:?} cannot be changed, only comment and scopes");
        return Err(ApiError::invalid(message).into());
    }
    let named = |field: &str| fields.is_empty() || fields.contains(&"*") || fields.contains(&field);
    if named("scopes") {
        check_scopes(&token.scopes)?;
    }
    let (id, caller) = (call.path("token_id"), call.caller()?);
    let store = call.control.store();
    let own = store.tokens().await?.into_iter().find(|t| t.id == id && t.principal_id == caller.id.as_ref());
    let own = own.filter(|t| alive(t, journal::clock::expiry_ms())).ok_or_else(|| missing(id))?;
    if let Some(comment) = token.comment.filter(|_| named("comment")) {
        let comment = checked_comment(Some(comment))?;
        if !store.comment_token(&caller.id, &own.id, &comment).await? {
            return Err(missing(id).into());
        }
    }
    Ok(Reply::empty())
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let DeleteToken { token_id } = call.json()?;
    let caller = call.caller()?;
    if !call.control.store().delete_token(&caller.id, &token_id).await? {
        return Err(missing(&token_id).into());
    }
    refresh(&call.control).await?;
    Ok(Reply::empty())
}

pub(crate) fn info(record: &TokenRecord) -> TokenInfo {
    TokenInfo {
        token_id: record.id.clone(),
        creation_time: record.created_at,
        expiry_time: record.expires_at.unwrap_or(-1),
        comment: record.comment.clone(),
    }
}
