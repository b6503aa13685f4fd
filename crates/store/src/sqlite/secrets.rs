//! Secret scopes, the sealed values in them, and who may do what with a scope.

use async_trait::async_trait;
use secrecy::SecretSlice;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, new_id, now_ms};
use crate::SecretStore;
use crate::error::{Result, StoreError};
use crate::model::{AclEntry, NewScope, Scope, ScopePermission, SecretEntry};
use crate::seal::Place;

/// Databricks' limits.
const MAX_SCOPES: i64 = 1000;
const MAX_SECRETS: i64 = 1000;

/// Scope names are case-insensitive.
pub(super) fn name_key(scope: &str) -> String {
    scope.to_lowercase()
}

/// A value as it lies in the file.
#[derive(sqlx::FromRow)]
struct Sealed {
    scope_id: String,
    wrapped: Vec<u8>,
    version: i64,
    sealed: Vec<u8>,
}

impl SqliteStore {
    async fn sealed(&self, scope: &str, key: &str) -> Result<Option<Sealed>> {
        let sql = "SELECT c.id AS scope_id, c.data_key AS wrapped, s.version, s.sealed \
                   FROM secrets s JOIN scopes c ON c.id = s.scope_id WHERE c.name_key = $1 AND s.key = $2";
        Ok(sqlx::query_as(sql).bind(name_key(scope)).bind(key).fetch_optional(&self.pool).await?)
    }
}

pub(super) async fn scope_key(
    tx: &mut Transaction<'static, Sqlite>,
    scope: &str,
) -> Result<(String, Vec<u8>)> {
    let found = sqlx::query_as("SELECT id, data_key FROM scopes WHERE name_key = $1")
        .bind(name_key(scope))
        .fetch_optional(&mut **tx)
        .await?;
    found.ok_or(StoreError::Missing)
}

#[async_trait]
impl SecretStore for SqliteStore {
    async fn create_scope(&self, scope: NewScope<'_>) -> Result<()> {
        let id = new_id();
        let (mut tx, wrapped) = self.write_with_new_key(&id).await?;
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM scopes WHERE hidden = 0").fetch_one(&mut *tx).await?;
        if count >= MAX_SCOPES && !scope.hidden {
            return Err(StoreError::Full(format!("there are {MAX_SCOPES} scopes, the most there can be")));
        }
        let sql = "INSERT INTO scopes (id, name, name_key, hidden, data_key, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
        sqlx::query(sql)
            .bind(&id)
            .bind(scope.name)
            .bind(name_key(scope.name))
            .bind(scope.hidden)
            .bind(wrapped)
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
        for manager in scope.managers {
            // One who is named twice is no reason to say that the scope exists.
            let sql = "INSERT INTO scope_acls (scope_id, principal, permission) VALUES ($1, $2, 'MANAGE') \
                       ON CONFLICT DO NOTHING";
            sqlx::query(sql).bind(&id).bind(*manager).execute(&mut *tx).await?;
        }
        self.commit(tx).await
    }

    async fn delete_scope(&self, scope: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM scopes WHERE name_key = $1 AND hidden = 0")
            .bind(name_key(scope))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit(tx).await?;
        Ok(true)
    }

    async fn scopes(&self) -> Result<Vec<Scope>> {
        let sql = "SELECT id, name, hidden FROM scopes WHERE hidden = 0 ORDER BY name_key";
        let rows: Vec<(String, String, bool)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(id, name, hidden)| Scope { id, name, hidden }).collect())
    }

    async fn scope(&self, scope: &str) -> Result<Option<Scope>> {
        let sql = "SELECT id, name, hidden FROM scopes WHERE name_key = $1";
        let row: Option<(String, String, bool)> =
            sqlx::query_as(sql).bind(name_key(scope)).fetch_optional(&self.pool).await?;
        Ok(row.map(|(id, name, hidden)| Scope { id, name, hidden }))
    }

    async fn put_secret(&self, scope: &str, key: &str, value: &[u8]) -> Result<()> {
        let (mut tx, scope_id, data_key) = self.write_in_scope(scope).await?;
        let old: Option<(i64,)> =
            sqlx::query_as("SELECT version FROM secrets WHERE scope_id = $1 AND key = $2")
                .bind(&scope_id)
                .bind(key)
                .fetch_optional(&mut *tx)
                .await?;
        if old.is_none() {
            check_room(&mut tx, &scope_id).await?;
        }
        let version = old.map_or(1, |(version,)| version + 1);
        let place = Place { scope_id: &scope_id, key, version };
        let sealed = data_key.seal(value, &place)?;
        let sql = "INSERT INTO secrets (scope_id, key, version, sealed, updated_at) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (scope_id, key) DO UPDATE SET version = $3, sealed = $4, updated_at = $5";
        sqlx::query(sql)
            .bind(&scope_id)
            .bind(key)
            .bind(version)
            .bind(sealed)
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
        self.commit(tx).await
    }

    async fn secrets(&self, scope: &str) -> Result<Vec<SecretEntry>> {
        let sql = "SELECT s.key, s.updated_at FROM secrets s JOIN scopes c ON c.id = s.scope_id \
                   WHERE c.name_key = $1 ORDER BY s.key";
        let rows: Vec<(String, i64)> =
            sqlx::query_as(sql).bind(name_key(scope)).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(key, updated_at)| SecretEntry { key, updated_at }).collect())
    }

    async fn open_secret(&self, scope: &str, key: &str) -> Result<Option<SecretSlice<u8>>> {
        let Some(mut row) = self.sealed(scope, key).await? else { return Ok(None) };
        loop {
            match self.keys.data_key(&row.scope_id, &row.wrapped).await {
                Ok(data_key) => {
                    let place = Place { scope_id: &row.scope_id, key, version: row.version };
                    return data_key.open(&row.sealed, &place).map(Some);
                }
                // Either it is the wrong key, or a rotation has come between.
                Err(StoreError::WrongKey) => {
                    let Some(now) = self.sealed(scope, key).await? else { return Ok(None) };
                    if now.wrapped == row.wrapped {
                        return Err(StoreError::WrongKey);
                    }
                    row = now;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn delete_secret(&self, scope: &str, key: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let sql =
            "DELETE FROM secrets WHERE key = $2 AND scope_id = (SELECT id FROM scopes WHERE name_key = $1)";
        let done = sqlx::query(sql).bind(name_key(scope)).bind(key).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit(tx).await?;
        Ok(true)
    }

    async fn put_acl(&self, scope: &str, principal: &str, permission: ScopePermission) -> Result<()> {
        let mut tx = self.write().await?;
        let (scope_id, _) = scope_key(&mut tx, scope).await?;
        let sql = "INSERT INTO scope_acls (scope_id, principal, permission) VALUES ($1, $2, $3) \
                   ON CONFLICT (scope_id, principal) DO UPDATE SET permission = $3";
        sqlx::query(sql).bind(scope_id).bind(principal).bind(permission.as_str()).execute(&mut *tx).await?;
        self.commit(tx).await
    }

    async fn acls(&self, scope: &str) -> Result<Vec<AclEntry>> {
        let sql = "SELECT a.principal, a.permission FROM scope_acls a JOIN scopes c ON c.id = a.scope_id \
                   WHERE c.name_key = $1 ORDER BY a.principal";
        let rows: Vec<(String, String)> =
            sqlx::query_as(sql).bind(name_key(scope)).fetch_all(&self.pool).await?;
        let entry = |(principal, permission): (String, String)| {
            Some(AclEntry { principal, permission: ScopePermission::parse(&permission)? })
        };
        Ok(rows.into_iter().filter_map(entry).collect())
    }

    async fn delete_acl(&self, scope: &str, principal: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let sql = "DELETE FROM scope_acls WHERE principal = $2 AND scope_id = (SELECT id FROM scopes WHERE name_key = $1)";
        let done = sqlx::query(sql).bind(name_key(scope)).bind(principal).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit(tx).await?;
        Ok(true)
    }
}

async fn check_room(tx: &mut Transaction<'static, Sqlite>, scope_id: &str) -> Result<()> {
    let sql = "SELECT COUNT(*), MAX(c.hidden) FROM scopes c LEFT JOIN secrets s ON s.scope_id = c.id \
               WHERE c.id = $1 AND s.key IS NOT NULL";
    let (count, hidden): (i64, Option<bool>) =
        sqlx::query_as(sql).bind(scope_id).fetch_one(&mut **tx).await?;
    if count >= MAX_SECRETS && hidden != Some(true) {
        return Err(StoreError::Full(format!("the scope holds {MAX_SECRETS} secrets, the most it can")));
    }
    Ok(())
}
