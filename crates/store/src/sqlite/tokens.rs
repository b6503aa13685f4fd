//! Access tokens, by their hashes.

use async_trait::async_trait;

use super::{SqliteStore, new_id, now_ms};
use crate::TokenStore;
use crate::error::{Result, StoreError};
use crate::model::{NewToken, TokenRecord};

type Row = (String, Vec<u8>, String, String, String, i64, Option<i64>);

fn read((id, hash, principal_id, created_by, comment, created_at, expires_at): Row) -> Result<TokenRecord> {
    let hash = hash.try_into().map_err(|_| StoreError::WrongKey)?;
    Ok(TokenRecord { id, hash, principal_id, created_by, comment, created_at, expires_at })
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn create_token(&self, token: NewToken<'_>) -> Result<TokenRecord> {
        let record = TokenRecord {
            id: new_id(),
            hash: *token.hash,
            principal_id: token.principal_id.to_owned(),
            created_by: token.created_by.to_owned(),
            comment: token.comment.to_owned(),
            created_at: now_ms(),
            expires_at: token.expires_at,
        };
        let mut tx = self.write().await?;
        // The lazy end of those that have run out: nobody can tell whether they are still there.
        sqlx::query("DELETE FROM tokens WHERE expires_at <= $1").bind(now_ms()).execute(&mut *tx).await?;
        let sql = "INSERT INTO tokens (id, hash, principal_id, created_by, comment, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(sql)
            .bind(&record.id)
            .bind(record.hash.as_slice())
            .bind(&record.principal_id)
            .bind(&record.created_by)
            .bind(&record.comment)
            .bind(record.created_at)
            .bind(record.expires_at)
            .execute(&mut *tx)
            .await?;
        self.commit(tx).await?;
        Ok(record)
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        let sql = "SELECT id, hash, principal_id, created_by, comment, created_at, expires_at FROM tokens \
                   ORDER BY created_at, id";
        let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        rows.into_iter().map(read).collect()
    }

    async fn comment_token(&self, principal_id: &str, id: &str, comment: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let done = sqlx::query("UPDATE tokens SET comment = $3 WHERE id = $1 AND principal_id = $2")
            .bind(id)
            .bind(principal_id)
            .bind(comment)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit(tx).await?;
        Ok(true)
    }

    async fn delete_token(&self, principal_id: &str, id: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM tokens WHERE id = $1 AND principal_id = $2")
            .bind(id)
            .bind(principal_id)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit(tx).await?;
        Ok(true)
    }
}
