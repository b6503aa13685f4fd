//! `/api/2.0/token`: a principal's own access tokens.

use http::Method;
use policy::identity::{TokenHash, hash_token};
use serde_json::json;
use store::model::{NewToken, TokenRecord};
use wire::error::ApiError;
use wire::tokens::{CreateToken, DeleteToken, TokenInfo, TokenList};
use zeroize::Zeroizing;

use crate::access::{Needs, Route};
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::{clock, refresh};

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
        method: Method::POST,
        path: "/api/2.0/token/delete",
        needs: Needs::Principal,
        handler: |call| Box::pin(delete(call)),
    },
];

/// Longest life that can be asked for, in seconds: a hundred years.
const MAX_LIFETIME: i64 = 100 * 366 * 24 * 3600;

/// A new token and its hash; the token itself is never kept. `dapi` is the prefix that secret scanners
/// know.
pub(crate) fn generate() -> Result<(Zeroizing<String>, TokenHash), String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| e.to_string())?;
    let mut text = Zeroizing::new(String::with_capacity(68));
    text.push_str("dapi");
    bytes.iter().for_each(|b| text.push_str(&format!("{b:02x}")));
    let hash = hash_token(&text);
    Ok((text, hash))
}

async fn create(call: Call) -> Result<Reply, Failure> {
    let asked: CreateToken = call.json()?;
    let expires_at = match asked.lifetime_seconds {
        None | Some(-1) => None,
        Some(seconds) if (1..=MAX_LIFETIME).contains(&seconds) => Some(clock::now_ms() + seconds * 1000),
        Some(seconds) => {
            let message = format!(
                "lifetime_seconds is {seconds}; it must be positive, or absent for a token that does not expire"
            );
            return Err(ApiError::invalid(message).into());
        }
    };
    let (text, hash) = generate().map_err(|e| ApiError::internal(format!("no randomness: {e}")))?;
    let comment = asked.comment.unwrap_or_default();
    let caller = call.caller()?;
    let new = NewToken { hash: &hash, principal_id: &caller.id, created_by: &caller.id, comment: &comment, expires_at };
    let record = call.control.store().create_token(new).await?;
    refresh(&call.control).await?;
    Reply::json(&json!({"token_value": *text, "token_info": info(&record)}))
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let caller = call.caller()?;
    let tokens = call.control.store().tokens().await?;
    let own = tokens.iter().filter(|t| t.principal_id == caller.id.as_ref());
    Reply::json(&TokenList { token_infos: own.map(info).collect() })
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let DeleteToken { token_id } = call.json()?;
    let caller = call.caller()?;
    if !call.control.store().delete_token(&caller.id, &token_id).await? {
        return Err(ApiError::not_found(format!("token {token_id:?} does not exist")).into());
    }
    refresh(&call.control).await?;
    Ok(Reply::empty())
}

fn info(record: &TokenRecord) -> TokenInfo {
    TokenInfo {
        token_id: record.id.clone(),
        creation_time: record.created_at,
        expiry_time: record.expires_at.unwrap_or(-1),
        comment: record.comment.clone(),
    }
}
