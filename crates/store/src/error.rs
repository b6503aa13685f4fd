//! What the store can say besides yes.

use crate::sqlite;

pub type Result<T> = std::result::Result<T, StoreError>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("it exists already")]
    Exists,
    #[error("it does not exist")]
    Missing,
    #[error("it would leave no active member of the group admins")]
    LastAdmin,
    #[error("{0}")]
    Full(String),
    #[error("the master key does not open this data: it is another installation's, or the data was changed")]
    WrongKey,
    #[error("the master key is unusable: {0}")]
    BadKey(String),
    /// The service that wraps the data keys gave no usable answer. What was opened before stays open.
    #[error("the key service cannot be used: {0}")]
    KeyService(String),
    #[error("no good copy: {0}")]
    Copy(String),
    #[error(
        "the data folder does not fit this program: {0}; a newer version wrote it, or a migration was changed. \
         start the version that wrote it, or restore a backup"
    )]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("a stored document cannot be read: {0}")]
    Document(#[from] serde_json::Error),
    /// Another program holds the database's file: nothing was changed.
    #[error("the database is busy: {0}")]
    Busy(sqlx::Error),
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
    #[error("no randomness from the system: {0}")]
    Random(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::Exists,
            // What the row belongs to is not there.
            sqlx::Error::Database(inner) if inner.is_foreign_key_violation() => Self::Missing,
            _ if sqlite::is_busy(&error) => Self::Busy(error),
            _ => Self::Database(error),
        }
    }
}
