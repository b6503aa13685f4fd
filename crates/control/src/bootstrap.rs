//! The first administrator. There is no default credential: the first start makes one.

use store::model::NewToken;
use store::{Store, StoreError};
use zeroize::Zeroizing;

use crate::tokens;

/// The user that the first start creates.
pub const ADMIN_USER: &str = "admin";

/// Makes the administrator when there is no principal yet, and returns its token, this once.
pub async fn ensure_admin(store: &dyn Store) -> store::Result<Option<Zeroizing<String>>> {
    if !store.principals().await?.is_empty() {
        return Ok(None);
    }
    create_admin_token(store, "first start", None).await.map(Some)
}

/// A new token of the administrator: the way back in when the first one is lost. `expires_at` is in
/// milliseconds since the epoch.
pub async fn create_admin_token(
    store: &dyn Store,
    comment: &str,
    expires_at: Option<i64>,
) -> store::Result<Zeroizing<String>> {
    let user = store.ensure_user(ADMIN_USER, &[policy::identity::ADMINS, "users"]).await?;
    let (text, hash) = tokens::generate(tokens::PREFIX).map_err(StoreError::Random)?;
    store
        .create_token(NewToken { hash: &hash, principal_id: &user, created_by: &user, comment, expires_at })
        .await?;
    Ok(text)
}
