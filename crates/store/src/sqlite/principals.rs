//! Users, service principals, groups.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, new_id, now_ms};
use crate::PrincipalStore;
use crate::error::{Result, StoreError};
use crate::model::{GroupRef, PrincipalRecord};

type Row = (String, String, String, String, bool);

#[async_trait]
impl PrincipalStore for SqliteStore {
    async fn principals(&self) -> Result<Vec<PrincipalRecord>> {
        let sql = "SELECT id, kind, name, display_name, active FROM principals ORDER BY name";
        let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let sql = "SELECT m.principal_id, g.id, g.name FROM memberships m JOIN groups g ON g.id = m.group_id ORDER BY g.name";
        let members: Vec<(String, String, String)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let mut groups: HashMap<String, Vec<GroupRef>> = HashMap::new();
        for (principal, id, name) in members {
            groups.entry(principal).or_default().push(GroupRef { id, name });
        }
        let read = |(id, kind, name, display_name, active): Row| PrincipalRecord {
            groups: groups.remove(&id).unwrap_or_default(),
            is_service_principal: kind == "service_principal",
            id,
            name,
            display_name,
            active,
        };
        Ok(rows.into_iter().map(read).collect())
    }

    async fn ensure_user(&self, name: &str, groups: &[&str]) -> Result<String> {
        let mut tx = self.write().await?;
        let sql = "SELECT id FROM principals WHERE kind = 'user' AND name = $1";
        let found: Option<(String,)> = sqlx::query_as(sql).bind(name).fetch_optional(&mut *tx).await?;
        if let Some((id,)) = found {
            return Ok(id);
        }
        let id = new_id();
        let sql = "INSERT INTO principals (id, kind, name, display_name, created_at) VALUES ($1, 'user', $2, $2, $3)";
        sqlx::query(sql).bind(&id).bind(name).bind(now_ms()).execute(&mut *tx).await?;
        for group in groups {
            join(&mut tx, group, &id).await?;
        }
        self.commit(tx).await?;
        Ok(id)
    }

    async fn groups(&self) -> Result<Vec<GroupRef>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT id, name FROM groups ORDER BY name").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(id, name)| GroupRef { id, name }).collect())
    }

    async fn workspace_id(&self) -> Result<i64> {
        let mut tx = self.write().await?;
        let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'workspace_id'";
        let found: Option<(i64,)> = sqlx::query_as(sql).fetch_optional(&mut *tx).await?;
        if let Some((id,)) = found {
            return Ok(id);
        }
        // Clients parse it as an integer; 53 bits survive those that use floating point.
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|e| StoreError::Random(e.to_string()))?;
        let id = (i64::from_be_bytes(bytes) & ((1 << 52) - 1)) | (1 << 51);
        sqlx::query("INSERT INTO meta (name, value) VALUES ('workspace_id', $1)")
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(id)
    }
}

async fn join(tx: &mut Transaction<'static, Sqlite>, group: &str, principal_id: &str) -> Result<()> {
    sqlx::query("INSERT INTO groups (id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(new_id())
        .bind(group)
        .execute(&mut **tx)
        .await?;
    sqlx::query("INSERT INTO memberships (group_id, principal_id) SELECT id, $2 FROM groups WHERE name = $1")
        .bind(group)
        .bind(principal_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
