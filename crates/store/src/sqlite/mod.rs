//! The SQLite store: one file, WAL, foreign keys on. Values are bound, never formatted into the text.

mod endpoints;
mod groups;
mod keys;
mod oauth;
mod past;
mod principals;
mod revisions;
mod secrets;
mod tokens;
mod usage;
mod workspace;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use crate::error::{Result, StoreError};
use crate::seal::{Fixed, KeySource, Keyring, MasterKey};

/// How long a lock of another connection or process is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// A wait for a connection that is worth a warning. One of four that takes some seconds is no trouble where two
/// cores serve a thousand streams; after 30 s it is an error.
const SLOW: Duration = Duration::from_secs(10);

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
    keys: Keyring,
}

impl SqliteStore {
    /// Opens the file with a key that does not change; see [`SqliteStore::open_with`].
    pub async fn open(path: &Path, master: MasterKey) -> Result<Self> {
        Self::open_with(path, Arc::new(Fixed(Arc::new(master)))).await
    }

    /// Opens the file, makes it when it is not there, and brings it to this program's version. Errors
    /// when a newer program wrote it, when a migration differs, and when no key of `source` is its key.
    pub async fn open_with(path: &Path, source: Arc<dyn KeySource>) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("secure_delete", "on")
            .busy_timeout(BUSY);
        let store = Self { pool: connect(options).await?, keys: Keyring::new(source) };
        store.migrate().await?;
        store.check_key().await?;
        Ok(store)
    }

    /// Waits for what is under way and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// In one transaction that has the write lock from the start: of several that open a new file at once
    /// one makes the tables, and the others find them.
    async fn migrate(&self) -> Result<()> {
        let mut tx = self.write().await?;
        // `run` does the same, and cannot be awaited in a task that is sent to another thread.
        MIGRATIONS.run_direct(None, &mut *tx, false).await?;
        Ok(tx.commit().await?)
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

/// While another process makes a new file a WAL one, SQLite says that it is locked without waiting.
async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool> {
    let deadline = Instant::now() + BUSY;
    loop {
        let pool = SqlitePoolOptions::new().max_connections(4).acquire_slow_threshold(SLOW);
        match pool.connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            connected => return Ok(connected?),
        }
    }
}

pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    const SQLITE_BUSY: u32 = 5;
    let code = error.as_database_error().and_then(|e| e.code()?.parse::<u32>().ok());
    // The low byte is the primary code, what is above it tells the kind.
    code.is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// An id that clients can read as an integer: 53 bits survive those that use floating point.
fn new_number() -> Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| StoreError::Random(e.to_string()))?;
    let number = (i64::from_be_bytes(bytes) & ((1 << 51) - 1)) | (1 << 51);
    Ok(number.to_string())
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
