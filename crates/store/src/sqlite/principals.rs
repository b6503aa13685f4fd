//! Users and service principals.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{FromRow, Sqlite, Transaction};

use super::{SqliteStore, new_number, now_ms};
use crate::PrincipalStore;
use crate::error::{Result, StoreError};
use crate::model::{GranteeKind, GroupRecord, GroupRef, PrincipalRecord, Profile};

#[derive(FromRow)]
struct Row {
    id: String,
    kind: String,
    name: String,
    display_name: String,
    active: bool,
    external_id: String,
    given_name: String,
    family_name: String,
    emails: String,
    entitlements: String,
    roles: String,
    epoch: i64,
    created_at: i64,
}

impl Row {
    fn read(self, groups: Vec<GroupRef>) -> Result<PrincipalRecord> {
        Ok(PrincipalRecord {
            is_service_principal: self.kind == GranteeKind::ServicePrincipal.as_str(),
            id: self.id,
            name: self.name,
            display_name: self.display_name,
            active: self.active,
            groups,
            profile: Profile {
                external_id: self.external_id,
                given_name: self.given_name,
                family_name: self.family_name,
                emails: serde_json::from_str(&self.emails)?,
            },
            entitlements: serde_json::from_str(&self.entitlements)?,
            roles: serde_json::from_str(&self.roles)?,
            epoch: self.epoch,
            created_at: self.created_at,
        })
    }
}

#[async_trait]
impl PrincipalStore for SqliteStore {
    async fn principals(&self) -> Result<Vec<PrincipalRecord>> {
        let sql = "SELECT id, kind, name, display_name, active, external_id, given_name, family_name, emails, \
                   entitlements, roles, epoch, created_at FROM principals ORDER BY name, kind";
        let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let sql = "SELECT m.principal_id, g.id, g.name FROM memberships m JOIN groups g ON g.id = m.group_id ORDER BY g.name";
        let members: Vec<(String, String, String)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let mut groups: HashMap<String, Vec<GroupRef>> = HashMap::new();
        for (principal, id, name) in members {
            groups.entry(principal).or_default().push(GroupRef { id, name });
        }
        rows.into_iter()
            .map(|row| {
                let groups = groups.remove(&row.id).unwrap_or_default();
                row.read(groups)
            })
            .collect()
    }

    async fn ensure_user(&self, name: &str, groups: &[&str]) -> Result<String> {
        let mut tx = self.write().await?;
        let sql = "SELECT id FROM principals WHERE kind = 'user' AND name = $1";
        let found: Option<(String,)> = sqlx::query_as(sql).bind(name).fetch_optional(&mut *tx).await?;
        if let Some((id,)) = found {
            return Ok(id);
        }
        let id = new_number()?;
        let sql = "INSERT INTO principals (id, kind, name, display_name, created_at, epoch) \
                   VALUES ($1, 'user', $2, $2, $3, $3)";
        sqlx::query(sql).bind(&id).bind(name).bind(now_ms()).execute(&mut *tx).await?;
        super::workspace::make_home(&mut tx, &id, name).await?;
        for group in groups {
            join(&mut tx, group, &id).await?;
        }
        self.commit(tx).await?;
        Ok(id)
    }

    async fn create_principal(&self, principal: &PrincipalRecord) -> Result<String> {
        let mut tx = self.write().await?;
        let id = new_number()?;
        let kind = if principal.is_service_principal { "service_principal" } else { "user" };
        let sql = "INSERT INTO principals (id, kind, name, display_name, active, created_at, epoch) \
                   VALUES ($1, $2, $3, '', $4, $5, $5)";
        // The time is the first epoch: one who is made anew under an old name revives no old token.
        sqlx::query(sql)
            .bind(&id)
            .bind(kind)
            .bind(&principal.name)
            .bind(principal.active)
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
        describe(&mut tx, &id, principal).await?;
        super::workspace::make_home(&mut tx, &id, &principal.name).await?;
        self.commit(tx).await?;
        Ok(id)
    }

    async fn update_principal(&self, principal: &PrincipalRecord) -> Result<()> {
        let mut tx = self.write().await?;
        let before = count_admins(&mut tx).await?;
        describe(&mut tx, &principal.id, principal).await?;
        check_admins(&mut tx, before).await?;
        self.commit(tx).await
    }

    async fn delete_principal(&self, id: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let before = count_admins(&mut tx).await?;
        let found: Option<(String, String)> =
            sqlx::query_as("DELETE FROM principals WHERE id = $1 RETURNING kind, name")
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
        let Some((kind, name)) = found else { return Ok(false) };
        forget(&mut tx, &kind, &name).await?;
        super::workspace::put_home_aside(&mut tx, id, &name).await?;
        check_admins(&mut tx, before).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    async fn bump_epoch(&self, id: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        if !bump_epoch(&mut tx, id).await? {
            return Ok(false);
        }
        self.commit(tx).await?;
        Ok(true)
    }

    async fn groups(&self) -> Result<Vec<GroupRef>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT id, name FROM groups ORDER BY name").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(id, name)| GroupRef { id, name }).collect())
    }

    async fn group_records(&self) -> Result<Vec<GroupRecord>> {
        super::groups::all(&self.pool).await
    }

    async fn create_group(&self, group: &GroupRecord) -> Result<String> {
        let mut tx = self.write().await?;
        let id = new_number()?;
        sqlx::query("INSERT INTO groups (id, name) VALUES ($1, $2)")
            .bind(&id)
            .bind(&group.name)
            .execute(&mut *tx)
            .await?;
        super::groups::describe(&mut tx, &id, group).await?;
        self.commit(tx).await?;
        Ok(id)
    }

    async fn update_group(&self, group: &GroupRecord) -> Result<()> {
        let mut tx = self.write().await?;
        let before = count_admins(&mut tx).await?;
        super::groups::rename(&mut tx, &group.id, &group.name).await?;
        super::groups::describe(&mut tx, &group.id, group).await?;
        check_admins(&mut tx, before).await?;
        self.commit(tx).await
    }

    async fn delete_group(&self, id: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let before = count_admins(&mut tx).await?;
        let found: Option<(String,)> = sqlx::query_as("DELETE FROM groups WHERE id = $1 RETURNING name")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let Some((name,)) = found else { return Ok(false) };
        forget(&mut tx, GranteeKind::Group.as_str(), &name).await?;
        check_admins(&mut tx, before).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    async fn workspace_id(&self) -> Result<i64> {
        let mut tx = self.write().await?;
        let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'workspace_id'";
        let found: Option<(i64,)> = sqlx::query_as(sql).fetch_optional(&mut *tx).await?;
        if let Some((id,)) = found {
            return Ok(id);
        }
        let id = new_number()?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ('workspace_id', $1)")
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        id.parse().map_err(|_| StoreError::Random(format!("{id} is no number")))
    }
}

type Tx = Transaction<'static, Sqlite>;

/// Writes everything but the kind and the name, which stay for life. One who is deactivated enters a new
/// epoch: OAuth tokens from before do not come back with a reactivation.
async fn describe(tx: &mut Tx, id: &str, principal: &PrincipalRecord) -> Result<()> {
    let sql = "UPDATE principals SET display_name = $2, \
               epoch = CASE WHEN active = 1 AND $3 = 0 THEN MAX(epoch + 1, $4) ELSE epoch END, active = $3, \
               external_id = $5, given_name = $6, family_name = $7, emails = $8, entitlements = $9, roles = $10 \
               WHERE id = $1";
    let profile = &principal.profile;
    let done = sqlx::query(sql)
        .bind(id)
        .bind(&principal.display_name)
        .bind(principal.active)
        .bind(now_ms())
        .bind(&profile.external_id)
        .bind(&profile.given_name)
        .bind(&profile.family_name)
        .bind(serde_json::to_string(&profile.emails)?)
        .bind(serde_json::to_string(&principal.entitlements)?)
        .bind(serde_json::to_string(&principal.roles)?)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Missing);
    }
    sqlx::query("DELETE FROM memberships WHERE principal_id = $1").bind(id).execute(&mut **tx).await?;
    for group in &principal.groups {
        let sql = "INSERT INTO memberships (group_id, principal_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(&group.id).bind(id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Takes away every permission that names them: whoever gets the name next starts with nothing.
async fn forget(tx: &mut Tx, kind: &str, name: &str) -> Result<()> {
    for sql in [
        "DELETE FROM endpoint_grants WHERE grantee_kind = $1 AND grantee = $2",
        "DELETE FROM workspace_grants WHERE grantee_kind = $1 AND grantee = $2",
    ] {
        sqlx::query(sql).bind(kind).bind(name).execute(&mut **tx).await?;
    }
    sqlx::query("DELETE FROM scope_acls WHERE principal = $1").bind(name).execute(&mut **tx).await?;
    Ok(())
}

/// False when there is no such principal.
async fn bump_epoch(tx: &mut Tx, id: &str) -> Result<bool> {
    let sql = "UPDATE principals SET epoch = MAX(epoch + 1, $2) WHERE id = $1";
    let done = sqlx::query(sql).bind(id).bind(now_ms()).execute(&mut **tx).await?;
    Ok(done.rows_affected() > 0)
}

/// Active members of `admins`, those of groups in it included.
async fn count_admins(tx: &mut Tx) -> Result<i64> {
    let sql = "WITH RECURSIVE inner_groups (id) AS (SELECT id FROM groups WHERE name = 'admins' UNION \
               SELECT g.member_id FROM group_members g JOIN inner_groups i ON g.group_id = i.id) \
               SELECT COUNT(*) FROM principals p WHERE p.active = 1 AND EXISTS (SELECT 1 FROM memberships m \
               JOIN inner_groups i ON m.group_id = i.id WHERE m.principal_id = p.id)";
    let (count,): (i64,) = sqlx::query_as(sql).fetch_one(&mut **tx).await?;
    Ok(count)
}

/// Errors when a change that is not committed yet takes the last administrator away.
async fn check_admins(tx: &mut Tx, before: i64) -> Result<()> {
    if before > 0 && count_admins(tx).await? == 0 { Err(StoreError::LastAdmin) } else { Ok(()) }
}

async fn join(tx: &mut Tx, group: &str, principal_id: &str) -> Result<()> {
    sqlx::query("INSERT INTO groups (id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(new_number()?)
        .bind(group)
        .execute(&mut **tx)
        .await?;
    let sql = "INSERT INTO memberships (group_id, principal_id) SELECT id, $2 FROM groups WHERE name = $1 \
               ON CONFLICT DO NOTHING";
    sqlx::query(sql).bind(group).bind(principal_id).execute(&mut **tx).await?;
    Ok(())
}
