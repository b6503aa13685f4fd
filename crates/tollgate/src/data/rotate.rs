//! The change of all keys, while servers run. Whatever the moment it stops in, every secret opens: the two
//! files together always hold the key that the database is marked with, and each transaction leaves a whole
//! state behind.

use std::sync::Arc;

use anyhow::{Context, bail};
use store::{KeySource, SqliteStore};

use super::DataFolder;
use super::custody::{Custody, EnvKeys, FileKeys};
use crate::config::ConfigProblem;

/// What has just been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    NextWritten,
    MasterChanged,
    NextPromoted,
    ScopeRenewed,
}

/// Told of every step; an error stops the change there, as a crash would.
pub(crate) type Watch<'w> = &'w (dyn Fn(Step) -> anyhow::Result<()> + Sync);

/// Changes the master key (one that Vault keeps is Vault's to change) and gives every scope a new data key.
/// Returns the number of scopes.
pub(crate) async fn rotate(folder: &DataFolder, custody: Custody, watch: Watch<'_>) -> anyhow::Result<usize> {
    let files = FileKeys::of(folder.path());
    let Some(_lock) = files.try_lock()? else {
        bail!("another change or backup of the keys is under way: wait for its end");
    };
    let store = folder.open_unsettled(Arc::new(custody.clone()) as Arc<dyn KeySource>).await?;
    let changed = change(&store, &custody, watch).await;
    let _ = store.tidy().await;
    store.close().await;
    changed
}

async fn change(store: &SqliteStore, custody: &Custody, watch: Watch<'_>) -> anyhow::Result<usize> {
    match custody {
        Custody::File(files) => change_file(store, files, watch).await?,
        Custody::Env(keys) => change_env(store, keys).await?,
        // Wraps anew, with the newest version that the key has in Vault.
        Custody::Vault(vault) => store.change_master_key(vault.as_ref()).await?,
    }
    let mut renewed = 0;
    for (id, name) in store.sealed_scopes().await? {
        let done = store.renew_data_key(&id).await;
        renewed += usize::from(done.with_context(|| format!("scope {name} keeps its old data key"))?);
        watch(Step::ScopeRenewed)?;
    }
    Ok(renewed)
}

async fn change_file(store: &SqliteStore, files: &FileKeys, watch: Watch<'_>) -> anyhow::Result<()> {
    files.settle(store).await?;
    let next = files.write_next()?;
    watch(Step::NextWritten)?;
    store.change_master_key(&next).await?;
    watch(Step::MasterChanged)?;
    files.promote_next()?;
    watch(Step::NextPromoted)
}

async fn change_env(store: &SqliteStore, keys: &EnvKeys) -> anyhow::Result<()> {
    let Some(next) = &keys.next else {
        let problem = "with keys.source = \"env\" the new master key comes in TOLLGATE_MASTER_KEY_NEXT: make one with \
                       `tollgate key generate` and restart the server with both variables, then rotate with both";
        return Err(ConfigProblem(problem.to_owned()).into());
    };
    // Done by an earlier try.
    if store.is_master(next.as_ref()).await? {
        return Ok(());
    }
    Ok(store.change_master_key(next.as_ref()).await?)
}

#[cfg(test)]
mod tests;
