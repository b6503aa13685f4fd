//! The SQLite store: one file, WAL, foreign keys on. Values are bound, never formatted into the text.

mod endpoints;
mod principals;
mod secrets;
mod tokens;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use crate::error::{Result, StoreError};
use crate::seal::MasterKey;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
    master: MasterKey,
}

impl SqliteStore {
    /// Opens the file, makes it when it is not there, and brings it to this program's version. Errors
    /// when a newer program wrote it, when a migration differs, and when `master` is not its key.
    pub async fn open(path: &Path, master: MasterKey) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("secure_delete", "on")
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        MIGRATIONS.run(&pool).await?;
        let store = Self { pool, master };
        store.check_key().await?;
        Ok(store)
    }

    /// Waits for what is under way and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn check_key(&self) -> Result<()> {
        let mut tx = self.write().await?;
        let mark: Option<(String,)> =
            sqlx::query_as("SELECT value FROM meta WHERE name = 'key_mark'").fetch_optional(&mut *tx).await?;
        match mark {
            Some((mark,)) => self.master.check(&from_hex(&mark)?),
            None => {
                let mark = to_hex(&self.master.mark()?);
                sqlx::query("INSERT INTO meta (name, value) VALUES ('key_mark', $1)")
                    .bind(mark)
                    .execute(&mut *tx)
                    .await?;
                Ok(tx.commit().await?)
            }
        }
    }

    /// A transaction that will write. It takes the write lock at once: one that reads first and writes
    /// later could find the file changed under it.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Commits a change that other processes must notice.
    async fn commit(&self, mut tx: Transaction<'static, Sqlite>) -> Result<()> {
        sqlx::query("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'generation'")
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs
        .map(|pair| u8::from_str_radix(pair.unwrap_or_default(), 16).map_err(|_| StoreError::WrongKey))
        .collect()
}
