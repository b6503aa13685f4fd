//! The values in a scope. Only `get`, for those who may READ, gives one back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use store::model::ScopePermission;
use wire::error::ApiError;
use wire::secrets::{SecretKey, SecretList, SecretMetadata};
use zeroize::Zeroizing;

use super::check_name;
use crate::access::{Needs, Route};
use crate::refresh;
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/api/2.0/secrets/put",
        needs: Needs::Scope(ScopePermission::Write),
        handler: |call| Box::pin(put(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/secrets/list",
        needs: Needs::Scope(ScopePermission::Read),
        handler: |call| Box::pin(list(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/secrets/get",
        needs: Needs::Scope(ScopePermission::Read),
        handler: |call| Box::pin(get(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/secrets/delete",
        needs: Needs::Scope(ScopePermission::Write),
        handler: |call| Box::pin(delete(call)),
    },
];

/// Databricks' limit, in bytes.
const MAX_VALUE: usize = 128 * 1024;

/// Not `Debug`, not `Serialize`: it holds a secret.
#[derive(Deserialize)]
struct PutSecret {
    #[serde(default)]
    scope: String,
    #[serde(default)]
    key: String,
    string_value: Option<Zeroizing<String>>,
    bytes_value: Option<Zeroizing<String>>,
}

async fn put(call: Call) -> Result<Reply, Failure> {
    let asked: PutSecret = call.json()?;
    check_name("key", &asked.key)?;
    let value = value(asked.string_value, asked.bytes_value)?;
    if value.len() > MAX_VALUE {
        let message = format!(
            "the value of {:?} has {} bytes, at most {MAX_VALUE} are allowed",
            asked.key,
            value.len()
        );
        return Err(ApiError::invalid(message).into());
    }
    call.control.store().put_secret(&asked.scope, &asked.key, &value).await?;
    refresh(&call.control).await?;
    Ok(Reply::empty())
}

fn value(
    text: Option<Zeroizing<String>>,
    bytes: Option<Zeroizing<String>>,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    match (text, bytes) {
        (Some(text), None) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
        (None, Some(bytes)) => {
            let decoded = STANDARD.decode(bytes.as_bytes());
            decoded.map(Zeroizing::new).map_err(|_| ApiError::invalid("bytes_value is no base64"))
        }
        _ => Err(ApiError::invalid("set exactly one of string_value and bytes_value")),
    }
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let scope = call.query("scope")?;
    let entries = call.control.store().secrets(scope).await?;
    let secrets =
        entries.into_iter().map(|e| SecretMetadata { key: e.key, last_updated_timestamp: e.updated_at });
    Reply::json(&SecretList { secrets: secrets.collect() })
}

async fn get(call: Call) -> Result<Reply, Failure> {
    let (scope, key) = (call.query("scope")?, call.query("key")?);
    let Some(value) = call.control.store().open_secret(scope, key).await? else {
        return Err(no_such_secret(scope, key).into());
    };
    let encoded = Zeroizing::new(STANDARD.encode(value.expose_secret()));
    Reply::json(&json!({"key": key, "value": *encoded}))
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let SecretKey { scope, key } = call.json()?;
    if !call.control.store().delete_secret(&scope, &key).await? {
        return Err(no_such_secret(&scope, &key).into());
    }
    refresh(&call.control).await?;
    Ok(Reply::empty())
}

fn no_such_secret(scope: &str, key: &str) -> ApiError {
    ApiError::not_found(format!("Secret with scope {scope:?} and key {key:?} does not exist"))
}
