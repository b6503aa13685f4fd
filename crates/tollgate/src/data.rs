//! The data folder: database, master key, the administrator's first token.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use store::{MasterKey, SqliteStore};
use zeroize::Zeroizing;

const DATABASE: &str = "tollgate.db";
const MASTER_KEY: &str = "master.key";
const ADMIN_TOKEN: &str = "admin.token";

#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// The folder at `path`, made when it is not there.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the data folder {}", path.display()))?;
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

    pub(crate) async fn open_store(&self) -> anyhow::Result<SqliteStore> {
        let master = self.master_key()?;
        let path = self.path.join(DATABASE);
        let store = SqliteStore::open(&path, master).await;
        let store = store.with_context(|| format!("cannot open {}", path.display()))?;
        // SQLite makes its files with the process's umask.
        for name in [DATABASE, "tollgate.db-wal", "tollgate.db-shm"] {
            let _ = std::fs::set_permissions(self.path.join(name), Permissions::from_mode(0o600));
        }
        Ok(store)
    }

    /// Reads the master key; a first start makes it. A lost one is not made anew: what it sealed would be
    /// lost with it, silently.
    fn master_key(&self) -> anyhow::Result<MasterKey> {
        let path = self.path.join(MASTER_KEY);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                MasterKey::from_hex(&text).with_context(|| format!("{}", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.path.join(DATABASE).exists() {
                    bail!(
                        "{} is gone, and without it the stored secrets cannot be opened: restore it",
                        path.display()
                    );
                }
                let text = MasterKey::generate()?;
                write_private(&path, &text)?;
                Ok(MasterKey::from_hex(&text)?)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps the first token where only the owner can read it.
    pub(crate) fn write_admin_token(&self, token: &str) -> anyhow::Result<()> {
        write_private(&self.admin_token_path(), token)
    }
}

/// Whole or not at all: half a key would be refused at every later start.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// `after` from now, in milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
pub(crate) fn millis_from_now(after: Duration) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + after;
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
