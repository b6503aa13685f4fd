//! Client secrets of service principals, by their hashes, and the server's own keys.

use async_trait::async_trait;
use secrecy::SecretSlice;
use zeroize::Zeroizing;

use super::{SqliteStore, new_id, now_ms};
use crate::error::{Result, StoreError};
use crate::model::{NewOauthSecret, NewScope, OauthSecret};
use crate::seal::Place;
use crate::{OauthStore, SecretStore};

/// Databricks' limit: two for a change, and some to spare.
const MAX_SECRETS: i64 = 5;
/// The server's own scope; no request can name it.
const SCOPE: &str = "#internal";
const KEY: &str = "oauth-signing-key";
const ID_KEY: &str = "id-key";

type Row = (String, String, Vec<u8>, i64, i64);

fn read((id, principal_id, hash, created_at, expires_at): Row) -> Result<OauthSecret> {
    let hash = hash.try_into().map_err(|_| StoreError::WrongKey)?;
    Ok(OauthSecret { id, principal_id, hash, created_at, expires_at })
}

#[async_trait]
impl OauthStore for SqliteStore {
    async fn create_oauth_secret(&self, secret: NewOauthSecret<'_>) -> Result<OauthSecret> {
        let record = OauthSecret {
            id: new_id(),
            principal_id: secret.principal_id.to_owned(),
            hash: *secret.hash,
            created_at: now_ms(),
            expires_at: secret.expires_at,
        };
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM oauth_secrets WHERE expires_at <= $1")
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM oauth_secrets WHERE principal_id = $1")
            .bind(secret.principal_id)
            .fetch_one(&mut *tx)
            .await?;
        if count >= MAX_SECRETS {
            let message =
                format!("the service principal has {MAX_SECRETS} secrets, the most it can: delete one");
            return Err(StoreError::Full(message));
        }
        let sql = "INSERT INTO oauth_secrets (id, principal_id, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
        sqlx::query(sql)
            .bind(&record.id)
            .bind(&record.principal_id)
            .bind(record.hash.as_slice())
            .bind(record.created_at)
            .bind(record.expires_at)
            .execute(&mut *tx)
            .await?;
        self.commit(tx).await?;
        Ok(record)
    }

    async fn oauth_secrets(&self) -> Result<Vec<OauthSecret>> {
        let sql = "SELECT id, principal_id, hash, created_at, expires_at FROM oauth_secrets ORDER BY created_at, id";
        let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        rows.into_iter().map(read).collect()
    }

    async fn delete_oauth_secret(&self, principal_id: &str, id: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM oauth_secrets WHERE id = $1 AND principal_id = $2")
            .bind(id)
            .bind(principal_id)
            .execute(&mut *tx)
            .await?;
        let found = done.rows_affected() > 0;
        if found {
            self.commit(tx).await?;
        }
        Ok(found)
    }

    async fn signing_key(&self) -> Result<Option<SecretSlice<u8>>> {
        self.open_secret(SCOPE, KEY).await
    }

    async fn ensure_signing_key(&self) -> Result<()> {
        self.ensure_key(KEY).await
    }

    async fn replace_signing_key(&self) -> Result<()> {
        self.ensure_scope().await?;
        self.put_secret(SCOPE, KEY, &*random_key()?).await
    }

    async fn id_key(&self) -> Result<SecretSlice<u8>> {
        if let Some(key) = self.open_secret(SCOPE, ID_KEY).await? {
            return Ok(key);
        }
        self.ensure_key(ID_KEY).await?;
        self.open_secret(SCOPE, ID_KEY).await?.ok_or(StoreError::Missing)
    }
}

impl SqliteStore {
    /// Makes a key of the server's own when there is none.
    async fn ensure_key(&self, key: &str) -> Result<()> {
        self.ensure_scope().await?;
        let value = random_key()?;
        let (mut tx, scope_id, data_key) = self.write_in_scope(SCOPE).await?;
        let place = Place { scope_id: &scope_id, key, version: 1 };
        let sealed = data_key.seal(&*value, &place)?;
        // Of several nodes that want one at once the first makes it, and the others take that.
        let sql = "INSERT INTO secrets (scope_id, key, version, sealed, updated_at) VALUES ($1, $2, 1, $3, $4) \
                   ON CONFLICT DO NOTHING";
        let done =
            sqlx::query(sql).bind(&scope_id).bind(key).bind(sealed).bind(now_ms()).execute(&mut *tx).await?;
        if done.rows_affected() == 0 { Ok(()) } else { self.commit(tx).await }
    }

    async fn ensure_scope(&self) -> Result<()> {
        match self.create_scope(NewScope { name: SCOPE, hidden: true, managers: &[] }).await {
            Ok(()) | Err(StoreError::Exists) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn random_key() -> Result<Zeroizing<[u8; 32]>> {
    let mut value = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *value).map_err(|e| StoreError::Random(e.to_string()))?;
    Ok(value)
}
