//! Endpoints as they were, until those who keep a history of them have them.

use async_trait::async_trait;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, endpoints};
use crate::PastStore;
use crate::error::Result;
use crate::model::PastEndpoint;

/// How many are given at once: what is in memory.
const AT_ONCE: i64 = 1000;

#[async_trait]
impl PastStore for SqliteStore {
    async fn past_endpoints(&self) -> Result<Vec<PastEndpoint>> {
        let sql = "SELECT number, deleted_at, id, name, creator, created_at, updated_at, config_version, document \
                   FROM past_endpoints ORDER BY number LIMIT $1";
        let rows: Vec<Row> = sqlx::query_as(sql).bind(AT_ONCE).fetch_all(&self.pool).await?;
        rows.into_iter().map(read).collect()
    }

    async fn forget_past_endpoints(&self, up_to: i64) -> Result<()> {
        // No change that other processes must notice.
        sqlx::query("DELETE FROM past_endpoints WHERE number <= $1").bind(up_to).execute(&self.pool).await?;
        Ok(())
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    number: i64,
    deleted_at: Option<i64>,
    id: String,
    name: String,
    creator: String,
    created_at: i64,
    updated_at: i64,
    config_version: i64,
    document: String,
}

fn read(row: Row) -> Result<PastEndpoint> {
    let Row { number, deleted_at, id, name, creator, created_at, updated_at, config_version, document } = row;
    let endpoint = endpoints::read((id, name, creator, created_at, updated_at, config_version, document))?;
    Ok(PastEndpoint { number, endpoint, deleted_at })
}

/// Before the endpoint with this id gets a config of another version.
pub(super) async fn replaced(
    tx: &mut Transaction<'static, Sqlite>,
    id: &str,
    config_version: i64,
) -> Result<()> {
    let sql = "INSERT INTO past_endpoints (id, name, creator, created_at, updated_at, config_version, document) \
               SELECT id, name, creator, created_at, updated_at, config_version, document \
               FROM endpoints WHERE id = $1 AND config_version <> $2";
    sqlx::query(sql).bind(id).bind(config_version).execute(&mut **tx).await?;
    Ok(())
}

/// Before the endpoint of this name is deleted. `at` is in milliseconds since the epoch.
pub(super) async fn deleted(tx: &mut Transaction<'static, Sqlite>, name: &str, at: i64) -> Result<()> {
    let sql = "INSERT INTO past_endpoints (id, name, creator, created_at, updated_at, config_version, document, deleted_at) \
               SELECT id, name, creator, created_at, updated_at, config_version, document, $2 FROM endpoints WHERE name = $1";
    sqlx::query(sql).bind(name).bind(at).execute(&mut **tx).await?;
    Ok(())
}
