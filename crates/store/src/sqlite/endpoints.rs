//! Endpoints and the grants on them.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, now_ms, past, revisions};
use crate::EndpointStore;
use crate::document::EndpointDocument;
use crate::error::{Result, StoreError};
use crate::model::{EndpointRecord, GrantRecord, GranteeKind};

pub(super) type Row = (String, String, String, i64, i64, i64, String);

pub(super) fn read(
    (id, name, creator, created_at, updated_at, config_version, document): Row,
) -> Result<EndpointRecord> {
    let document = EndpointDocument::from_json(&document)?;
    Ok(EndpointRecord {
        id,
        name,
        creator,
        created_at,
        updated_at,
        config_version,
        document,
        grants: Vec::new(),
    })
}

fn grant(kind: &str, grantee: String, level: String) -> GrantRecord {
    GrantRecord { kind: GranteeKind::parse(kind), grantee, level }
}

#[async_trait]
impl EndpointStore for SqliteStore {
    async fn generation(&self) -> Result<i64> {
        let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'generation'";
        let (generation,): (i64,) = sqlx::query_as(sql).fetch_one(&self.pool).await?;
        Ok(generation)
    }

    async fn endpoints(&self) -> Result<Vec<EndpointRecord>> {
        let sql = "SELECT id, name, creator, created_at, updated_at, config_version, document FROM endpoints ORDER BY name";
        let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let sql = "SELECT endpoint_id, grantee_kind, grantee, level FROM endpoint_grants ORDER BY rowid";
        let grants: Vec<(String, String, String, String)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let mut by_endpoint: HashMap<String, Vec<GrantRecord>> = HashMap::new();
        for (endpoint, kind, grantee, level) in grants {
            by_endpoint.entry(endpoint).or_default().push(grant(&kind, grantee, level));
        }
        let mut endpoints = rows.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        for endpoint in &mut endpoints {
            endpoint.grants = by_endpoint.remove(&endpoint.id).unwrap_or_default();
        }
        Ok(endpoints)
    }

    async fn endpoint(&self, name: &str) -> Result<Option<EndpointRecord>> {
        let sql = "SELECT id, name, creator, created_at, updated_at, config_version, document FROM endpoints WHERE name = $1";
        let row: Option<Row> = sqlx::query_as(sql).bind(name).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let mut endpoint = read(row)?;
        let sql =
            "SELECT grantee_kind, grantee, level FROM endpoint_grants WHERE endpoint_id = $1 ORDER BY rowid";
        let grants: Vec<(String, String, String)> =
            sqlx::query_as(sql).bind(&endpoint.id).fetch_all(&self.pool).await?;
        endpoint.grants =
            grants.into_iter().map(|(kind, grantee, level)| grant(&kind, grantee, level)).collect();
        Ok(Some(endpoint))
    }

    async fn create_endpoint(&self, endpoint: &EndpointRecord) -> Result<()> {
        let mut tx = self.write().await?;
        let sql = "INSERT INTO endpoints (id, name, creator, created_at, updated_at, config_version, document) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(sql)
            .bind(&endpoint.id)
            .bind(&endpoint.name)
            .bind(&endpoint.creator)
            .bind(endpoint.created_at)
            .bind(endpoint.updated_at)
            .bind(endpoint.config_version)
            .bind(endpoint.document.to_json()?)
            .execute(&mut *tx)
            .await?;
        write_grants(&mut tx, endpoint).await?;
        revisions::add(&mut tx, endpoint, &endpoint.creator).await?;
        self.commit(tx).await
    }

    async fn update_endpoint(&self, endpoint: &EndpointRecord) -> Result<()> {
        let mut tx = self.write().await?;
        write(&mut tx, endpoint).await?;
        self.commit(tx).await
    }

    async fn delete_endpoint(&self, name: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        past::deleted(&mut tx, name, now_ms()).await?;
        let done = sqlx::query("DELETE FROM endpoints WHERE name = $1").bind(name).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit(tx).await?;
        Ok(true)
    }
}

/// Replaces the record of an endpoint.
pub(super) async fn write(tx: &mut Transaction<'static, Sqlite>, endpoint: &EndpointRecord) -> Result<()> {
    past::replaced(tx, &endpoint.id, endpoint.config_version).await?;
    let sql = "UPDATE endpoints SET updated_at = $2, config_version = $3, document = $4 WHERE id = $1";
    let done = sqlx::query(sql)
        .bind(&endpoint.id)
        .bind(endpoint.updated_at)
        .bind(endpoint.config_version)
        .bind(endpoint.document.to_json()?)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Missing);
    }
    sqlx::query("DELETE FROM endpoint_grants WHERE endpoint_id = $1")
        .bind(&endpoint.id)
        .execute(&mut **tx)
        .await?;
    write_grants(tx, endpoint).await
}

async fn write_grants(tx: &mut Transaction<'static, Sqlite>, endpoint: &EndpointRecord) -> Result<()> {
    for grant in &endpoint.grants {
        let sql = "INSERT INTO endpoint_grants (endpoint_id, grantee_kind, grantee, level) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (endpoint_id, grantee_kind, grantee) DO UPDATE SET level = $4";
        sqlx::query(sql)
            .bind(&endpoint.id)
            .bind(grant.kind.as_str())
            .bind(&grant.grantee)
            .bind(&grant.level)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
