//! Access tokens: what is in them, and the key.

use policy::oauth::{Claims, Client, SigningKey};
use wire::error::ApiError;

use crate::refresh;
use crate::reply::{Failure, Reply};
use crate::request::Call;

/// Seconds that a token is good for, as on Databricks.
pub(super) const LIFETIME: i64 = 3600;

/// The issuer is the installation and not its address: nodes, and clients that know it by different names,
/// share their tokens. No client reads it.
pub(super) fn key(secret: &[u8], workspace_id: i64) -> SigningKey {
    SigningKey::new(secret, &format!("urn:tollgate:{workspace_id}"))
}

/// `POST /api/tollgate/v1/oauth/replace-signing-key`: a new key, at once; every access token that the old
/// one signed ends.
pub(super) async fn replace(call: Call) -> Result<Reply, Failure> {
    call.control.store().replace_signing_key().await?;
    refresh(&call.control).await?;
    tracing::info!(by = %call.caller()?.name, "the key that signs access tokens was replaced");
    Ok(Reply::empty())
}

/// A token for `client`, who logged in with the secret of the id `secret`, made at `now` (milliseconds since
/// the epoch).
pub(super) fn issue(key: &SigningKey, client: &Client, secret: &str, now: i64) -> Result<String, ApiError> {
    let iat = now / 1000;
    let claims = Claims {
        iss: key.issuer().to_owned(),
        sub: client.principal.name.to_string(),
        iat,
        exp: iat + LIFETIME,
        jti: uuid::Uuid::new_v4().simple().to_string(),
        epoch: client.epoch,
        secret: secret.to_owned(),
    };
    key.sign(&claims).map_err(|e| ApiError::internal(format!("the token cannot be signed: {e}")))
}
