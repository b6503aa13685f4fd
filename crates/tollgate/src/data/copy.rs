//! Backup and restore of the data folder.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use store::{KeyEncryption, KeySource, MasterKey, SqliteStore};
use zeroize::Zeroizing;

use super::custody::{Custody, FileKeys, MASTER_KEY};
use super::{DATABASE, DataFolder, make_private, write_private};
use crate::config::KeysConfig;

/// Where a backup is put together, and a restored database is looked at, before it gets its name.
const UNFINISHED: &str = "unfinished";

/// Copies the database of a folder, whether or not a server runs on it, into the new folder `to`; with
/// `with_key` the master key too.
pub(crate) async fn backup(folder: &DataFolder, to: &Path, with_key: bool) -> anyhow::Result<()> {
    let files = FileKeys::of(folder.path());
    // The key is not to change between the two copies.
    let _lock = match with_key {
        true => Some(files.try_lock()?.context("the keys are being changed: wait for its end")?),
        false => None,
    };
    make_empty(to)?;
    let unfinished = to.join(UNFINISHED);
    let copied = copy_into(folder, to, &unfinished, with_key.then_some(&files)).await;
    if copied.is_err() {
        // So that the next try finds an empty folder.
        let _ = std::fs::remove_file(&unfinished);
    }
    copied
}

async fn copy_into(
    folder: &DataFolder,
    to: &Path,
    unfinished: &Path,
    files: Option<&FileKeys>,
) -> anyhow::Result<()> {
    // SQLite writes into an empty file, and this one nobody else may read.
    private_file(unfinished).with_context(|| format!("cannot write {}", unfinished.display()))?;
    SqliteStore::copy(&folder.database(), unfinished).await?;
    if let Some(files) = files {
        let text = key_of(files, unfinished).await?;
        write_private(&to.join(MASTER_KEY), text.trim())?;
    }
    finish(unfinished, &to.join(DATABASE))
}

async fn key_of(files: &FileKeys, database: &Path) -> anyhow::Result<Zeroizing<String>> {
    for (text, key) in files.read()? {
        if SqliteStore::fits(database, &key).await? {
            return Ok(text);
        }
    }
    bail!("no key in the data folder opens its database: leave out --with-key, and look for the right one")
}

/// Makes a data folder of a backup. `key` is the text of a master key, for `keys.source = file` alone.
pub(crate) async fn restore(
    from: &Path,
    to: &Path,
    keys: &KeysConfig,
    key: Option<&Path>,
) -> anyhow::Result<()> {
    let database = from.join(DATABASE);
    if !database.is_file() {
        bail!("{} is no backup: it has no {DATABASE}", from.display());
    }
    if from.join("tollgate.db-wal").exists() {
        bail!("{} is a data folder, not a backup: start the server on it, or back it up", from.display());
    }
    let text = key_text(from, keys, key)?;
    let text = text.as_ref().map(|text| text.trim());
    check_key(&database, keys, text).await?;
    make_empty(to)?;
    let unfinished = to.join(UNFINISHED);
    let restored = place(&database, &unfinished, keys, text).await;
    if let Err(error) = restored {
        // So that the next try finds an empty folder.
        let _ = std::fs::remove_dir_all(&unfinished);
        return Err(error);
    }
    if let Some(text) = text {
        write_private(&to.join(MASTER_KEY), text)?;
    }
    finish(&unfinished.join(DATABASE), &to.join(DATABASE))?;
    Ok(std::fs::remove_dir_all(&unfinished)?)
}

/// The key that comes with the backup or from elsewhere; none when the configuration says who has it.
fn key_text(from: &Path, keys: &KeysConfig, key: Option<&Path>) -> anyhow::Result<Option<Zeroizing<String>>> {
    let beside = from.join(MASTER_KEY);
    match (keys, key) {
        (KeysConfig::File, None) if !beside.exists() => {
            bail!("the backup has no master.key: name the one that it was made under with --key FILE")
        }
        (KeysConfig::File, _) => {
            let path = key.unwrap_or(&beside);
            let text = std::fs::read_to_string(path).map(Zeroizing::new);
            Ok(Some(text.with_context(|| format!("cannot read {}", path.display()))?))
        }
        (_, Some(_)) => bail!("--key is for keys.source = \"file\": leave it out"),
        (_, None) => Ok(None),
    }
}

/// Before anything is written.
async fn check_key(database: &Path, keys: &KeysConfig, text: Option<&str>) -> anyhow::Result<()> {
    let all: Vec<Arc<dyn KeyEncryption>> = match text {
        Some(text) => vec![Arc::new(MasterKey::from_hex(text)?)],
        None => Custody::new(Path::new(""), keys)?.keys().await?,
    };
    for key in all {
        let fits = SqliteStore::fits(database, key.as_ref()).await;
        if fits.with_context(|| format!("cannot read {}", database.display()))? {
            return Ok(());
        }
    }
    bail!("the key is not the one of this backup: take the one that was in force when it was made")
}

/// Copies the database into a folder of its own and opens it there, as the server will: what cannot be
/// started is not restored.
async fn place(from: &Path, folder: &Path, keys: &KeysConfig, text: Option<&str>) -> anyhow::Result<()> {
    make_private(folder)?;
    let path = folder.join(DATABASE);
    let (mut source, mut copy) = (File::open(from)?, private_file(&path)?);
    std::io::copy(&mut source, &mut copy).with_context(|| format!("cannot write {}", path.display()))?;
    let store = match text {
        Some(text) => SqliteStore::open(&path, MasterKey::from_hex(text)?).await,
        None => SqliteStore::open_with(&path, Arc::new(Custody::new(folder, keys)?)).await,
    };
    let store = store.with_context(|| format!("cannot open {}", from.display()))?;
    let checked = async {
        store.check_integrity().await?;
        store.open_data_keys().await?;
        // All of it into the one file that is kept.
        store.tidy().await
    };
    let checked = checked.await;
    store.close().await;
    Ok(checked?)
}

/// Makes the folder. Errors when there is something in it.
fn make_empty(folder: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!("{} is not empty: name a new folder, nothing is overwritten", folder.display());
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_private(folder).with_context(|| format!("cannot make {}", folder.display()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", folder.display())),
    }
}

fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// On the disk, and then under its name.
fn finish(unfinished: &Path, path: &Path) -> anyhow::Result<()> {
    let rename = || {
        File::open(unfinished)?.sync_all()?;
        std::fs::rename(unfinished, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    rename().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
