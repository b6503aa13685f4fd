//! The revisions of endpoints.

use async_trait::async_trait;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, endpoints};
use crate::RevisionStore;
use crate::document::RevisionDocument;
use crate::error::{Result, StoreError};
use crate::model::{EndpointRecord, RevisionRecord};

type Row = (i64, i64, String, i64, String);

fn read((number, config_version, author, created_at, document): Row) -> Result<RevisionRecord> {
    let document = RevisionDocument::from_json(&document)?;
    Ok(RevisionRecord { number, config_version, author, created_at, document })
}

#[async_trait]
impl RevisionStore for SqliteStore {
    async fn revise_endpoint(&self, endpoint: &EndpointRecord, author: &str) -> Result<()> {
        let mut tx = self.write().await?;
        endpoints::write(&mut tx, endpoint).await?;
        add(&mut tx, endpoint, author).await?;
        self.commit(tx).await
    }

    async fn revisions(&self, endpoint_id: &str) -> Result<Vec<RevisionRecord>> {
        let sql = "SELECT number, config_version, author, created_at, document FROM endpoint_revisions \
                   WHERE endpoint_id = $1 ORDER BY number";
        let rows: Vec<Row> = sqlx::query_as(sql).bind(endpoint_id).fetch_all(&self.pool).await?;
        rows.into_iter().map(read).collect()
    }
}

/// Adds the revision that `endpoint` now is, unless it is what the latest one says.
pub(super) async fn add(
    tx: &mut Transaction<'static, Sqlite>,
    endpoint: &EndpointRecord,
    author: &str,
) -> Result<()> {
    let document = RevisionDocument::of(&endpoint.document);
    let sql = "SELECT number, config_version, author, created_at, document FROM endpoint_revisions \
               WHERE endpoint_id = $1 ORDER BY number DESC LIMIT 1";
    let latest: Option<Row> = sqlx::query_as(sql).bind(&endpoint.id).fetch_optional(&mut **tx).await?;
    let latest = latest.map(read).transpose()?;
    let same = |r: &RevisionRecord| r.document == document && r.config_version == endpoint.config_version;
    if latest.as_ref().is_some_and(same) {
        return Ok(());
    }
    let number = latest.map_or(1, |r| r.number + 1);
    let sql = "INSERT INTO endpoint_revisions (endpoint_id, number, config_version, author, created_at, document) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let done = sqlx::query(sql)
        .bind(&endpoint.id)
        .bind(number)
        .bind(endpoint.config_version)
        .bind(author)
        .bind(endpoint.updated_at)
        .bind(document.to_json()?)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Missing) }
}
