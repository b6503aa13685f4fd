//! The data folder: database, master key, the administrator's first token.

mod copy;
mod custody;
mod rotate;
mod vault;

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use store::{KeySource, SqliteStore};

use crate::config::KeysConfig;

pub(crate) use copy::{backup, restore};
pub(crate) use custody::Custody;
pub(crate) use rotate::rotate;

const DATABASE: &str = "tollgate.db";
const ADMIN_TOKEN: &str = "admin.token";

#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// The folder at `path`, made when it is not there.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        make_private(path).with_context(|| format!("cannot make the data folder {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// The folder of an installation that has been started before.
    pub(crate) fn existing(path: &Path) -> anyhow::Result<Self> {
        if !path.join(DATABASE).is_file() {
            let path = path.display();
            bail!("{path} holds no data: start the server once, or set server.data to its folder");
        }
        Ok(Self { path: path.to_owned() })
    }

    pub(crate) fn admin_token_path(&self) -> PathBuf {
        self.path.join(ADMIN_TOKEN)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    pub(crate) async fn open_store(&self, keys: &KeysConfig) -> anyhow::Result<SqliteStore> {
        let custody = Custody::new(&self.path, keys)?;
        if let Custody::File(files) = &custody {
            files.ensure()?;
        }
        let store = self.open_unsettled(Arc::new(custody.clone())).await?;
        if let Custody::File(files) = &custody
            && files.is_changing()
            // Whoever has the lock is changing the key now, and settles it.
            && let Some(_lock) = files.try_lock()?
        {
            files.settle(&store).await?;
        }
        Ok(store)
    }

    /// A change of the master key that was interrupted stays as it is: both keys open.
    async fn open_unsettled(&self, keys: Arc<dyn KeySource>) -> anyhow::Result<SqliteStore> {
        let path = self.database();
        let store = SqliteStore::open_with(&path, keys).await;
        let store = store.with_context(|| format!("cannot open {}", path.display()))?;
        // SQLite makes its files with the process's umask.
        for name in [DATABASE, "tollgate.db-wal", "tollgate.db-shm"] {
            let _ = std::fs::set_permissions(self.path.join(name), Permissions::from_mode(0o600));
        }
        Ok(store)
    }

    /// Keeps the first token where only the owner can read it.
    pub(crate) fn write_admin_token(&self, token: &str) -> anyhow::Result<()> {
        write_private(&self.admin_token_path(), token)
    }
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whole or not at all: half a key would be refused at every later start.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let unfinished = path.with_added_extension("new");
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        // The name too is to outlive a power cut.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// `after` from now, in milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
pub(crate) fn millis_from_now(after: Duration) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + after;
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
