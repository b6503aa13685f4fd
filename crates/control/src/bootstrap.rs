//! The first administrator. There is no default credential: the first start makes one.

use policy::identity::{ADMINS, USERS};
use store::model::NewToken;
use store::{Store, StoreError};
use zeroize::Zeroizing;

use crate::people::People;
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

/// A new token of the administrator: the way back in when the first one is lost, or when nobody who is left
/// can log in. One who was deactivated or taken out of `admins` is put back: whoever calls this holds the
/// data folder and its key, and could write it there anyway. `expires_at` is in milliseconds since the epoch.
pub async fn create_admin_token(
    store: &dyn Store,
    comment: &str,
    expires_at: Option<i64>,
) -> store::Result<Zeroizing<String>> {
    let user = store.ensure_user(ADMIN_USER, &[ADMINS, USERS]).await?;
    reinstate(store, &user).await?;
    let (text, hash) = tokens::generate(tokens::PREFIX).map_err(StoreError::Random)?;
    store
        .create_token(NewToken { hash: &hash, principal_id: &user, created_by: &user, comment, expires_at })
        .await?;
    Ok(text)
}

async fn reinstate(store: &dyn Store, id: &str) -> store::Result<()> {
    let people = People::load(store).await?;
    let Some(record) = people.principal(id) else { return Err(StoreError::Missing) };
    if record.active && people.effective(record).is_admin() {
        return Ok(());
    }
    let mut record = record.clone();
    record.active = true;
    let admins = store.groups().await?.into_iter().filter(|group| group.name == ADMINS);
    record.groups.extend(admins);
    tracing::warn!(
        user = record.name,
        "the administrator was deactivated or no member of admins, and is put back"
    );
    store.update_principal(&record).await
}
