//! Who keeps the master key, as the store asks for it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use async_trait::async_trait;
use store::{KeyEncryption, KeySource, MasterKey, StoreError};
use zeroize::Zeroizing;

use super::vault::VaultTransit;
use super::{DATABASE, write_private};
use crate::config::{ConfigProblem, KeysConfig, MasterKeyTexts};

pub(super) const MASTER_KEY: &str = "master.key";
/// There while the master key is changed: the key that it is changed to.
const NEXT_KEY: &str = "master.key.next";

#[derive(Clone)]
pub(crate) enum Custody {
    File(FileKeys),
    Env(EnvKeys),
    Vault(Arc<VaultTransit>),
}

/// Two files in the data folder, of which the second is there during a change only.
#[derive(Clone)]
pub(crate) struct FileKeys {
    folder: PathBuf,
}

#[derive(Clone)]
pub(crate) struct EnvKeys {
    current: Arc<MasterKey>,
    pub(super) next: Option<Arc<MasterKey>>,
}

impl Custody {
    pub(crate) fn new(folder: &Path, config: &KeysConfig) -> anyhow::Result<Self> {
        match config {
            KeysConfig::File => Ok(Self::File(FileKeys::of(folder))),
            KeysConfig::Env => EnvKeys::new(&MasterKeyTexts::of_process()).map(Self::Env),
            KeysConfig::VaultTransit(vault) => Ok(Self::Vault(Arc::new(VaultTransit::new(vault.clone())?))),
        }
    }
}

#[async_trait]
impl KeySource for Custody {
    async fn keys(&self) -> store::Result<Vec<Arc<dyn KeyEncryption>>> {
        Ok(match self {
            Self::File(files) => {
                let found = files.read()?.into_iter();
                found.map(|(_, key)| Arc::new(key) as Arc<dyn KeyEncryption>).collect()
            }
            Self::Env(keys) => {
                let next = keys.next.iter().map(|key| Arc::clone(key) as Arc<dyn KeyEncryption>);
                std::iter::once(Arc::clone(&keys.current) as Arc<dyn KeyEncryption>).chain(next).collect()
            }
            Self::Vault(vault) => vec![Arc::clone(vault) as Arc<dyn KeyEncryption>],
        })
    }
}

impl EnvKeys {
    pub(super) fn new(texts: &MasterKeyTexts) -> anyhow::Result<Self> {
        let read = |name: &str, text: &str| {
            // A wrong value is the configuration's fault; it is not shown.
            MasterKey::from_hex(text).map(Arc::new).map_err(|error| ConfigProblem(format!("{name}: {error}")))
        };
        let Some(current) = &texts.current else {
            let problem = "keys.source = \"env\" needs the variable TOLLGATE_MASTER_KEY: `tollgate key generate` makes a value for it";
            return Err(ConfigProblem(problem.to_owned()).into());
        };
        let next = texts.next.as_ref().map(|text| read("TOLLGATE_MASTER_KEY_NEXT", text)).transpose()?;
        Ok(Self { current: read("TOLLGATE_MASTER_KEY", current)?, next })
    }
}

impl FileKeys {
    pub(super) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(MASTER_KEY)
    }

    fn next_path(&self) -> PathBuf {
        self.folder.join(NEXT_KEY)
    }

    /// Texts and keys, that of `master.key` first. The other file is read first: one that is renamed in
    /// between is then found twice, and never not at all.
    pub(super) fn read(&self) -> store::Result<Vec<(Zeroizing<String>, MasterKey)>> {
        let next = read_key(&self.next_path())?;
        let found: Vec<_> = read_key(&self.path())?.into_iter().chain(next).collect();
        if found.is_empty() {
            let path = self.path();
            let reason = format!(
                "{} is gone, and without it the stored secrets cannot be opened: restore it",
                path.display()
            );
            return Err(StoreError::BadKey(reason));
        }
        Ok(found)
    }

    /// A first start makes the key. A lost one is not made anew: what it sealed would be lost with it,
    /// silently.
    pub(super) fn ensure(&self) -> anyhow::Result<()> {
        if self.path().exists() || self.next_path().exists() {
            return Ok(());
        }
        // Of several that start at once the first makes the key.
        let folder = self.open_folder()?;
        folder.lock().with_context(|| format!("cannot lock {}", self.folder.display()))?;
        if self.path().exists() {
            return Ok(());
        }
        if self.folder.join(DATABASE).exists() {
            let path = self.path();
            bail!(
                "{} is gone, and without it the stored secrets cannot be opened: restore it",
                path.display()
            );
        }
        write_private(&self.path(), &MasterKey::generate()?)
    }

    /// Writes the key of a change to its file.
    pub(super) fn write_next(&self) -> anyhow::Result<MasterKey> {
        let text = MasterKey::generate()?;
        write_private(&self.next_path(), &text)?;
        Ok(MasterKey::from_hex(&text)?)
    }

    /// The key of a change becomes the key.
    pub(super) fn promote_next(&self) -> anyhow::Result<()> {
        std::fs::rename(self.next_path(), self.path())
            .and_then(|()| self.open_folder_io()?.sync_all())
            .with_context(|| format!("cannot rename {}", self.next_path().display()))
    }

    /// Ends a change that was interrupted, by what the database says. Who calls has the lock.
    pub(super) async fn settle(&self, store: &store::SqliteStore) -> anyhow::Result<()> {
        let Some((_, next)) = read_key(&self.next_path())? else { return Ok(()) };
        if store.is_master(&next).await? {
            return self.promote_next();
        }
        let path = self.next_path();
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    pub(super) fn is_changing(&self) -> bool {
        self.next_path().exists()
    }

    /// Held by whoever changes the key; given back when it is dropped. `None` when another has it.
    pub(super) fn try_lock(&self) -> anyhow::Result<Option<File>> {
        let folder = self.open_folder()?;
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", self.folder.display()))
            }
        }
    }

    fn open_folder(&self) -> anyhow::Result<File> {
        self.open_folder_io().with_context(|| format!("cannot open {}", self.folder.display()))
    }

    fn open_folder_io(&self) -> std::io::Result<File> {
        File::open(&self.folder)
    }
}

fn read_key(path: &Path) -> store::Result<Option<(Zeroizing<String>, MasterKey)>> {
    let unusable =
        |reason: &dyn std::fmt::Display| StoreError::BadKey(format!("{}: {reason}", path.display()));
    match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => {
            let key = MasterKey::from_hex(&text).map_err(|error| unusable(&error))?;
            Ok(Some((text, key)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&error)),
    }
}
