//! Files and folders of the workspace. Nothing here counts as a change of the generation: the data plane
//! does not know them.

use async_trait::async_trait;
use secrecy::SecretSlice;
use sqlx::{FromRow, Sqlite, SqliteConnection, Transaction};

use super::{SqliteStore, new_number, now_ms};
use crate::error::{Result, StoreError};
use crate::model::{Deletion, GrantRecord, GranteeKind, NewObject, NewScope, ObjectKind, ObjectRecord};
use crate::seal::Place;
use crate::{SecretStore, WorkspaceStore};

/// The hidden scope whose secrets the contents are. Its name is no legal scope name.
const SCOPE: &str = "#workspace";

/// Of one home, of `/Shared`, or of another folder below the root.
const MAX_OBJECTS: i64 = 10_000;
const MAX_BYTES: i64 = 64 << 20;
/// Of all files: a change of their data key seals them in one transaction.
const MAX_TOTAL_BYTES: i64 = 256 << 20;

#[derive(FromRow)]
struct Row {
    id: String,
    path: String,
    kind: String,
    language: String,
    size: i64,
    created_at: i64,
    modified_at: i64,
}

impl From<Row> for ObjectRecord {
    fn from(row: Row) -> Self {
        Self {
            kind: ObjectKind::parse(&row.kind),
            id: row.id,
            path: row.path,
            language: row.language,
            size: row.size,
            created_at: row.created_at,
            modified_at: row.modified_at,
        }
    }
}

impl SqliteStore {
    async fn ensure_workspace_scope(&self) -> Result<()> {
        if self.scope(SCOPE).await?.is_some() {
            return Ok(());
        }
        match self.create_scope(NewScope { name: SCOPE, hidden: true, managers: &[] }).await {
            Ok(()) | Err(StoreError::Exists) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl WorkspaceStore for SqliteStore {
    async fn workspace_object(&self, path: &str) -> Result<Option<ObjectRecord>> {
        object(&mut *self.pool.acquire().await?, path).await
    }

    async fn workspace_children(&self, path: &str) -> Result<Vec<ObjectRecord>> {
        let sql = "SELECT id, path, kind, language, size, created_at, modified_at FROM workspace_objects \
                   WHERE parent = $1 ORDER BY path";
        let rows: Vec<Row> = sqlx::query_as(sql).bind(path).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(ObjectRecord::from).collect())
    }

    async fn make_directories(&self, path: &str) -> Result<()> {
        let mut tx = self.write().await?;
        // The path itself, and each that ends before one of its slashes.
        let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            match object(&mut tx, &path[..end]).await?.map(|found| found.kind) {
                Some(ObjectKind::Directory) => {}
                Some(_) => return Err(StoreError::Exists),
                None => {
                    check_room(&mut tx, path, 1, 0).await?;
                    let directory = NewObject::directory(&path[..end]);
                    put(&mut tx, &new_number()?, &directory, now_ms()).await?;
                }
            }
        }
        Ok(tx.commit().await?)
    }

    async fn write_object(&self, new: NewObject<'_>) -> Result<()> {
        self.ensure_workspace_scope().await?;
        let (mut tx, scope_id, data_key) = self.write_in_scope(SCOPE).await?;
        let around = object(&mut tx, parent(new.path)).await?;
        if around.is_none_or(|found| found.kind != ObjectKind::Directory) {
            return Err(StoreError::Missing);
        }
        let old = object(&mut tx, new.path).await?;
        if old.as_ref().is_some_and(|old| !new.overwrite || old.kind == ObjectKind::Directory) {
            return Err(StoreError::Exists);
        }
        let (old_count, old_size) = old.as_ref().map_or((0, 0), |old| (1, old.size));
        check_room(&mut tx, new.path, 1 - old_count, new.size() - old_size).await?;
        let id = old.map_or_else(new_number, |old| Ok(old.id))?;
        put(&mut tx, &id, &new, now_ms()).await?;
        let version = next_version(&mut tx, &scope_id, &id).await?;
        let sealed = data_key.seal(new.content, &Place { scope_id: &scope_id, key: &id, version })?;
        let sql = "INSERT INTO secrets (scope_id, key, version, sealed, updated_at) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (scope_id, key) DO UPDATE SET version = $3, sealed = $4, updated_at = $5";
        sqlx::query(sql)
            .bind(&scope_id)
            .bind(&id)
            .bind(version)
            .bind(sealed)
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn workspace_content(&self, id: &str) -> Result<Option<SecretSlice<u8>>> {
        self.open_secret(SCOPE, id).await
    }

    async fn delete_object(&self, path: &str, recursive: bool) -> Result<Deletion> {
        let mut tx = self.write().await?;
        if object(&mut tx, path).await?.is_none() {
            return Ok(Deletion::Missing);
        }
        let (inside, _) = extent(&mut tx, path).await?;
        if inside > 0 && !recursive {
            return Ok(Deletion::NotEmpty);
        }
        for sql in [
            "DELETE FROM secrets WHERE scope_id = (SELECT id FROM scopes WHERE name_key = $2) AND key IN \
             (SELECT id FROM workspace_objects WHERE path = $1 OR path > $1 || '/' AND path < $1 || '0')",
            "DELETE FROM workspace_objects WHERE path = $1 OR path > $1 || '/' AND path < $1 || '0'",
        ] {
            sqlx::query(sql).bind(path).bind(SCOPE).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(Deletion::Done)
    }

    async fn workspace_object_of(&self, id: &str) -> Result<Option<ObjectRecord>> {
        let sql = "SELECT id, path, kind, language, size, created_at, modified_at FROM workspace_objects \
                   WHERE id = $1";
        let row: Option<Row> = sqlx::query_as(sql).bind(id).fetch_optional(&self.pool).await?;
        Ok(row.map(ObjectRecord::from))
    }

    async fn folder_grants(&self, path: &str) -> Result<Vec<(String, GrantRecord)>> {
        let sql = "SELECT o.id, g.grantee_kind, g.grantee, g.level FROM workspace_grants g \
                   JOIN workspace_objects o ON o.id = g.object_id \
                   WHERE o.path = $1 OR substr($1, 1, length(o.path) + 1) = o.path || '/' \
                   ORDER BY length(o.path), g.rowid";
        let rows: Vec<(String, String, String, String)> =
            sqlx::query_as(sql).bind(path).fetch_all(&self.pool).await?;
        let grant = |(id, kind, grantee, level): (String, String, String, String)| {
            (id, GrantRecord { kind: GranteeKind::parse(&kind), grantee, level })
        };
        Ok(rows.into_iter().map(grant).collect())
    }

    async fn put_folder_grants(&self, id: &str, grants: &[GrantRecord]) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM workspace_grants WHERE object_id = $1").bind(id).execute(&mut *tx).await?;
        for grant in grants {
            let sql = "INSERT INTO workspace_grants (object_id, grantee_kind, grantee, level) VALUES ($1, $2, $3, $4) \
                       ON CONFLICT DO UPDATE SET level = $4";
            sqlx::query(sql)
                .bind(id)
                .bind(grant.kind.as_str())
                .bind(&grant.grantee)
                .bind(&grant.level)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

/// The home of somebody new. Names with a slash have none: it would lie in somebody else's.
pub(super) async fn make_home(tx: &mut Transaction<'static, Sqlite>, id: &str, name: &str) -> Result<()> {
    if name.contains('/') {
        return Ok(());
    }
    let sql = "INSERT INTO workspace_objects (id, path, parent, kind, language, size, created_at, modified_at) \
               VALUES ($1, '/Users/' || $2, '/Users', 'DIRECTORY', '', 0, $3, $3) ON CONFLICT DO NOTHING";
    sqlx::query(sql).bind(id).bind(name).bind(now_ms()).execute(&mut **tx).await?;
    Ok(())
}

/// Moves the home of somebody who is deleted out of the folder of homes, to where administrators alone get:
/// no name that somebody is given later, not even one made to fit, brings it back.
pub(super) async fn put_home_aside(
    tx: &mut Transaction<'static, Sqlite>,
    id: &str,
    name: &str,
) -> Result<()> {
    if name.contains('/') {
        return Ok(());
    }
    for sql in [
        "DELETE FROM workspace_grants WHERE object_id IN (SELECT id FROM workspace_objects \
         WHERE path = '/Users/' || $2 OR path > '/Users/' || $2 || '/' AND path < '/Users/' || $2 || '0')",
        "INSERT INTO workspace_objects (id, path, parent, kind, language, size, created_at, modified_at) \
         SELECT CAST((random() & 0x7ffffffffffff) | 0x8000000000000 AS TEXT), '/Deleted', '/', 'DIRECTORY', '', 0, created_at, created_at \
         FROM workspace_objects WHERE path = '/Users/' || $2 ON CONFLICT DO NOTHING",
        "UPDATE workspace_objects SET parent = '/Deleted' WHERE path = '/Users/' || $2",
        "UPDATE workspace_objects SET parent = '/Deleted/' || $2 || '-' || $1 || \
         substr(parent, length('/Users/' || $2) + 1) \
         WHERE path > '/Users/' || $2 || '/' AND path < '/Users/' || $2 || '0'",
        "UPDATE workspace_objects SET path = '/Deleted/' || $2 || '-' || $1 || \
         substr(path, length('/Users/' || $2) + 1) \
         WHERE path = '/Users/' || $2 OR path > '/Users/' || $2 || '/' AND path < '/Users/' || $2 || '0'",
    ] {
        sqlx::query(sql).bind(id).bind(name).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn object(from: &mut SqliteConnection, path: &str) -> Result<Option<ObjectRecord>> {
    let sql = "SELECT id, path, kind, language, size, created_at, modified_at FROM workspace_objects \
               WHERE path = $1";
    let row: Option<Row> = sqlx::query_as(sql).bind(path).fetch_optional(from).await?;
    Ok(row.map(ObjectRecord::from))
}

/// Makes the object, or writes it over the one with its path.
async fn put(tx: &mut SqliteConnection, id: &str, new: &NewObject<'_>, now: i64) -> Result<()> {
    let sql = "INSERT INTO workspace_objects (id, path, parent, kind, language, size, created_at, modified_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $7) \
               ON CONFLICT DO UPDATE SET kind = $4, language = $5, size = $6, modified_at = $7";
    sqlx::query(sql)
        .bind(id)
        .bind(new.path)
        .bind(parent(new.path))
        .bind(new.kind.as_str())
        .bind(new.language)
        .bind(new.size())
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

async fn next_version(tx: &mut SqliteConnection, scope_id: &str, id: &str) -> Result<i64> {
    let sql = "SELECT version FROM secrets WHERE scope_id = $1 AND key = $2";
    let found: Option<(i64,)> = sqlx::query_as(sql).bind(scope_id).bind(id).fetch_optional(tx).await?;
    Ok(found.map_or(1, |(version,)| version + 1))
}

/// How many objects lie below `path`, and how many bytes they hold.
async fn extent(tx: &mut SqliteConnection, path: &str) -> Result<(i64, i64)> {
    // '0' follows '/'.
    let sql = "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM workspace_objects \
               WHERE path > $1 || '/' AND path < $1 || '0'";
    Ok(sqlx::query_as(sql).bind(path).fetch_one(tx).await?)
}

/// Errors when there is no room for `objects` and `bytes` more where `path` lies.
async fn check_room(tx: &mut SqliteConnection, path: &str, objects: i64, bytes: i64) -> Result<()> {
    let folder = tree(path);
    let (count, size) = extent(tx, folder).await?;
    if objects > 0 && count + objects > MAX_OBJECTS {
        let message = format!("{folder} holds {MAX_OBJECTS} files and folders, the most it can");
        return Err(StoreError::Full(message));
    }
    if bytes <= 0 {
        return Ok(());
    }
    if size + bytes > MAX_BYTES {
        return Err(StoreError::Full(format!("the files in {folder} may have {MAX_BYTES} bytes together")));
    }
    let (total,): (i64,) =
        sqlx::query_as("SELECT COALESCE(SUM(size), 0) FROM workspace_objects").fetch_one(tx).await?;
    if total + bytes > MAX_TOTAL_BYTES {
        let message = format!("all files of the workspace may have {MAX_TOTAL_BYTES} bytes together");
        return Err(StoreError::Full(message));
    }
    Ok(())
}

/// The folder whose contents are counted together: `/Users/ann` of `/Users/ann/x/y`, `/Shared` of
/// `/Shared/x/y`.
fn tree(path: &str) -> &str {
    let depth = if path.starts_with("/Users/") { 2 } else { 1 };
    path.match_indices('/').nth(depth).map_or(path, |(end, _)| &path[..end])
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => parent,
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_together_is_a_home_or_a_folder_below_the_root() {
        for (path, folder) in [
            ("/Users/ann/x/y", "/Users/ann"),
            ("/Users/ann", "/Users/ann"),
            ("/Shared/x/y", "/Shared"),
            ("/Shared", "/Shared"),
            ("/x", "/x"),
        ] {
            assert_eq!(tree(path), folder);
        }
        assert_eq!((parent("/x"), parent("/x/y")), ("/", "/x"));
    }

    async fn write(store: &SqliteStore, path: &str, bytes: usize) -> Result<()> {
        let content = vec![7; bytes];
        let kind = ObjectKind::File;
        store.write_object(NewObject { path, kind, language: "", content: &content, overwrite: true }).await
    }

    #[tokio::test]
    async fn a_folder_and_the_whole_take_no_more_than_their_share() {
        let folder = tempfile::tempdir().unwrap();
        let key = crate::MasterKey::from_hex(&crate::MasterKey::generate().unwrap()).unwrap();
        let store = SqliteStore::open(&folder.path().join("tollgate.db"), key).await.unwrap();
        let claim = async |path: &str, bytes: i64| {
            let sql = "UPDATE workspace_objects SET size = $2 WHERE path = $1";
            sqlx::query(sql).bind(path).bind(bytes).execute(&store.pool).await.unwrap();
        };
        write(&store, "/Shared/big", 1).await.unwrap();
        claim("/Shared/big", MAX_BYTES - 1).await;
        assert!(
            matches!(write(&store, "/Shared/f", 2).await, Err(StoreError::Full(m)) if m.contains("/Shared"))
        );
        write(&store, "/Shared/f", 1).await.unwrap();
        // What takes the place of something counts for the difference alone, and elsewhere there is room.
        write(&store, "/Shared/f", 1).await.unwrap();
        store.make_directories("/other").await.unwrap();
        write(&store, "/other/f", 2).await.unwrap();
        claim("/other/f", MAX_TOTAL_BYTES - MAX_BYTES).await;
        store.make_directories("/third").await.unwrap();
        assert!(
            matches!(write(&store, "/third/f", 1).await, Err(StoreError::Full(m)) if m.contains("all files"))
        );
    }
}
