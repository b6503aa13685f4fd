//! The keys of the file: which master key is in force, its change, and the change of the data keys.
//!
//! A key may be kept by a service that is slow or down, so it is never asked while the write lock is held:
//! what was asked for is compared once the lock is there, and asked again when it is not true any more.

use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::secrets::{name_key, scope_key};
use super::{BUSY, SqliteStore, from_hex, to_hex};
use crate::error::{Result, StoreError};
use crate::seal::{DataKey, KeyEncryption, Place, check_mark, mark};
use secrecy::ExposeSecret;

const MARK: &str = "SELECT value FROM meta WHERE name = 'key_mark'";
const WRAPPED: &str = "SELECT id, data_key FROM scopes ORDER BY id";

impl SqliteStore {
    /// Errors when none of the keys is the one of this file. A new file gets its mark here.
    pub(super) async fn check_key(&self) -> Result<()> {
        if let Some(mark) = read_mark(&self.pool).await? {
            return self.keys.of_mark(&mark).await.map(drop);
        }
        let mark = self.keys.first_mark().await?;
        let mut tx = self.write().await?;
        // Of several processes that open a new file the first says which key it is.
        sqlx::query("INSERT INTO meta (name, value) VALUES ('key_mark', $1) ON CONFLICT DO NOTHING")
            .bind(to_hex(&mark))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.keys.of_mark(&self.mark().await?).await.map(drop)
    }

    async fn mark(&self) -> Result<Vec<u8>> {
        read_mark(&self.pool).await?.ok_or(StoreError::WrongKey)
    }

    /// Whether `key` is the master key in force.
    pub async fn is_master(&self, key: &dyn KeyEncryption) -> Result<bool> {
        match check_mark(key, &self.mark().await?).await {
            Ok(()) => Ok(true),
            Err(StoreError::WrongKey) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the data key of every scope and keeps it in memory: after that no key service is needed for
    /// what is there. A data key that does not open is passed over; who asks for its secrets is told.
    pub async fn open_data_keys(&self) -> Result<()> {
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(WRAPPED).fetch_all(&self.pool).await?;
        for (scope_id, wrapped) in rows {
            match self.keys.data_key(&scope_id, &wrapped).await {
                Ok(_) | Err(StoreError::WrongKey) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A transaction that will write a value of `scope`, with its id and the data key it has in there.
    pub(super) async fn write_in_scope(
        &self,
        scope: &str,
    ) -> Result<(Transaction<'static, Sqlite>, String, Arc<DataKey>)> {
        let sql = "SELECT id, data_key FROM scopes WHERE name_key = $1";
        let row = sqlx::query_as(sql).bind(name_key(scope)).fetch_optional(&self.pool).await?;
        let mut row: (String, Vec<u8>) = row.ok_or(StoreError::Missing)?;
        loop {
            let opened = self.keys.data_key(&row.0, &row.1).await;
            let mut tx = self.write().await?;
            let now = scope_key(&mut tx, scope).await?;
            if now == row {
                return Ok((tx, row.0, opened?));
            }
            row = now;
        }
    }

    /// A transaction that will write a new data key of the scope, wrapped by the master key in force in it.
    pub(super) async fn write_with_new_key(
        &self,
        scope_id: &str,
    ) -> Result<(Transaction<'static, Sqlite>, Vec<u8>)> {
        loop {
            let mark = self.mark().await?;
            let made = self.keys.new_data_key(&mark, scope_id).await;
            let mut tx = self.write().await?;
            if read_mark(&mut *tx).await?.as_ref() == Some(&mark) {
                return Ok((tx, made?.1));
            }
        }
    }

    /// Makes `next` the master key: wraps every data key with it and marks the file as its own, in one
    /// transaction. Another process that has the file open needs `next` in its source from then on.
    pub async fn change_master_key(&self, next: &dyn KeyEncryption) -> Result<()> {
        let mark = mark(next).await?;
        loop {
            let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(WRAPPED).fetch_all(&self.pool).await?;
            let mut wrapped = Vec::with_capacity(rows.len());
            for (scope_id, old) in &rows {
                wrapped.push(self.keys.data_key(scope_id, old).await?.wrap(next, scope_id).await?);
            }
            let mut tx = self.write().await?;
            let now: Vec<(String, Vec<u8>)> = sqlx::query_as(WRAPPED).fetch_all(&mut *tx).await?;
            if now != rows {
                continue;
            }
            for ((scope_id, _), wrapped) in rows.iter().zip(wrapped) {
                set_data_key(&mut tx, scope_id, wrapped).await?;
            }
            sqlx::query("UPDATE meta SET value = $1 WHERE name = 'key_mark'")
                .bind(to_hex(&mark))
                .execute(&mut *tx)
                .await?;
            return self.commit(tx).await;
        }
    }

    /// Id and name of every scope, the server's own included.
    pub async fn sealed_scopes(&self) -> Result<Vec<(String, String)>> {
        Ok(sqlx::query_as("SELECT id, name FROM scopes ORDER BY id").fetch_all(&self.pool).await?)
    }

    /// Gives a scope a new data key and seals each of its values with it, in one transaction. False when
    /// the scope is gone.
    pub async fn renew_data_key(&self, scope_id: &str) -> Result<bool> {
        loop {
            let mark = self.mark().await?;
            let Some(old) = data_key_of(&self.pool, scope_id).await? else { return Ok(false) };
            let old_key = self.keys.data_key(scope_id, &old).await?;
            let (new_key, new) = self.keys.new_data_key(&mark, scope_id).await?;
            let mut tx = self.write().await?;
            let unchanged = read_mark(&mut *tx).await?.as_ref() == Some(&mark)
                && data_key_of(&mut *tx, scope_id).await?.as_ref() == Some(&old);
            if unchanged {
                reseal(&mut tx, scope_id, &old_key, &new_key).await?;
                set_data_key(&mut tx, scope_id, new).await?;
                self.commit(tx).await?;
                return Ok(true);
            }
        }
    }

    /// Empties the write-ahead log, in which what was overwritten still lies. When others read it just now
    /// it is emptied later.
    pub async fn tidy(&self) -> Result<()> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.pool).await?;
        Ok(())
    }

    /// Errors when the file is damaged.
    pub async fn check_integrity(&self) -> Result<()> {
        let (said,): (String,) = sqlx::query_as("PRAGMA quick_check(1)").fetch_one(&self.pool).await?;
        if said == "ok" { Ok(()) } else { Err(StoreError::Copy(format!("the file is damaged: {said}"))) }
    }

    /// Whether `key` is the master key of the file at `path`, which is only read.
    pub async fn fits(path: &Path, key: &dyn KeyEncryption) -> Result<bool> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let mark = read_mark(&pool).await;
        pool.close().await;
        match check_mark(key, &mark?.ok_or(StoreError::WrongKey)?).await {
            Ok(()) => Ok(true),
            Err(StoreError::WrongKey) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a consistent copy of the file at `from` to the new or empty file `to`, whoever else has it
    /// open. No key is needed: values stay sealed.
    pub async fn copy(from: &Path, to: &Path) -> Result<()> {
        let target = to.to_str().ok_or_else(|| StoreError::Copy(format!("{} is no utf-8", to.display())))?;
        let options = SqliteConnectOptions::new().filename(from).busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let copied = sqlx::query("VACUUM INTO $1").bind(target).execute(&pool).await;
        pool.close().await;
        copied.map(drop).map_err(|error| StoreError::Copy(error.to_string()))
    }
}

async fn read_mark<'e>(from: impl sqlx::Executor<'e, Database = Sqlite>) -> Result<Option<Vec<u8>>> {
    let row: Option<(String,)> = sqlx::query_as(MARK).fetch_optional(from).await?;
    row.map(|(mark,)| from_hex(&mark)).transpose()
}

async fn data_key_of<'e>(
    from: impl sqlx::Executor<'e, Database = Sqlite>,
    scope_id: &str,
) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT data_key FROM scopes WHERE id = $1";
    let row: Option<(Vec<u8>,)> = sqlx::query_as(sql).bind(scope_id).fetch_optional(from).await?;
    Ok(row.map(|(wrapped,)| wrapped))
}

async fn set_data_key(tx: &mut SqliteConnection, scope_id: &str, wrapped: Vec<u8>) -> Result<()> {
    let sql = "UPDATE scopes SET data_key = $2 WHERE id = $1";
    sqlx::query(sql).bind(scope_id).bind(wrapped).execute(tx).await?;
    Ok(())
}

/// One value at a time: a scope may hold 128 MiB of them.
async fn reseal(tx: &mut SqliteConnection, scope_id: &str, old: &DataKey, new: &DataKey) -> Result<()> {
    let sql = "SELECT key FROM secrets WHERE scope_id = $1";
    let keys: Vec<(String,)> = sqlx::query_as(sql).bind(scope_id).fetch_all(&mut *tx).await?;
    for (key,) in keys {
        let sql = "SELECT version, sealed FROM secrets WHERE scope_id = $1 AND key = $2";
        let (version, sealed): (i64, Vec<u8>) =
            sqlx::query_as(sql).bind(scope_id).bind(&key).fetch_one(&mut *tx).await?;
        let place = Place { scope_id, key: &key, version };
        let sealed = new.seal(old.open(&sealed, &place)?.expose_secret(), &place)?;
        let sql = "UPDATE secrets SET sealed = $3 WHERE scope_id = $1 AND key = $2";
        sqlx::query(sql).bind(scope_id).bind(&key).bind(sealed).execute(&mut *tx).await?;
    }
    Ok(())
}
