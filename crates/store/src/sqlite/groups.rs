//! Groups, and groups in groups.

use std::collections::HashMap;

use sqlx::{FromRow, Sqlite, SqlitePool, Transaction};

use crate::error::{Result, StoreError};
use crate::model::GroupRecord;

#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    external_id: String,
    entitlements: String,
    roles: String,
}

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<GroupRecord>> {
    let sql = "SELECT id, name, external_id, entitlements, roles FROM groups ORDER BY name";
    let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(pool).await?;
    let sql = "SELECT group_id, principal_id FROM memberships ORDER BY principal_id";
    let mut principals = by_group(sqlx::query_as(sql).fetch_all(pool).await?);
    let sql = "SELECT group_id, member_id FROM group_members ORDER BY member_id";
    let mut groups = by_group(sqlx::query_as(sql).fetch_all(pool).await?);
    rows.into_iter()
        .map(|row| {
            Ok(GroupRecord {
                principals: principals.remove(&row.id).unwrap_or_default(),
                groups: groups.remove(&row.id).unwrap_or_default(),
                id: row.id,
                name: row.name,
                external_id: row.external_id,
                entitlements: serde_json::from_str(&row.entitlements)?,
                roles: serde_json::from_str(&row.roles)?,
            })
        })
        .collect()
}

fn by_group(pairs: Vec<(String, String)>) -> HashMap<String, Vec<String>> {
    let mut out: HashMap<String, Vec<String>> = HashMap::new();
    for (group, member) in pairs {
        out.entry(group).or_default().push(member);
    }
    out
}

/// Writes everything but the name.
pub(super) async fn describe(
    tx: &mut Transaction<'static, Sqlite>,
    id: &str,
    group: &GroupRecord,
) -> Result<()> {
    let sql = "UPDATE groups SET external_id = $2, entitlements = $3, roles = $4 WHERE id = $1";
    let done = sqlx::query(sql)
        .bind(id)
        .bind(&group.external_id)
        .bind(serde_json::to_string(&group.entitlements)?)
        .bind(serde_json::to_string(&group.roles)?)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Missing);
    }
    sqlx::query("DELETE FROM memberships WHERE group_id = $1").bind(id).execute(&mut **tx).await?;
    for member in &group.principals {
        let sql = "INSERT INTO memberships (group_id, principal_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(id).bind(member).execute(&mut **tx).await?;
    }
    sqlx::query("DELETE FROM group_members WHERE group_id = $1").bind(id).execute(&mut **tx).await?;
    for member in &group.groups {
        let sql = "INSERT INTO group_members (group_id, member_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(id).bind(member).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Permissions name groups by their names: they move along with a new one.
pub(super) async fn rename(tx: &mut Transaction<'static, Sqlite>, id: &str, name: &str) -> Result<()> {
    let found: Option<(String,)> =
        sqlx::query_as("SELECT name FROM groups WHERE id = $1").bind(id).fetch_optional(&mut **tx).await?;
    let Some((old,)) = found else { return Err(StoreError::Missing) };
    if old == name {
        return Ok(());
    }
    for sql in [
        "UPDATE groups SET name = $2 WHERE name = $1",
        "UPDATE OR REPLACE endpoint_grants SET grantee = $2 WHERE grantee_kind = 'group' AND grantee = $1",
        "UPDATE OR REPLACE workspace_grants SET grantee = $2 WHERE grantee_kind = 'group' AND grantee = $1",
        "UPDATE OR REPLACE scope_acls SET principal = $2 WHERE principal = $1",
    ] {
        sqlx::query(sql).bind(&old).bind(name).execute(&mut **tx).await?;
    }
    Ok(())
}
