//! The first start makes an administrator and a token. A crash in the middle must not leave an
//! installation that nobody can enter: a mark stands until the token is in its file.

use std::path::PathBuf;

use anyhow::Context;
use store::Store;

use crate::cli::tell_terminal;
use crate::data::{DataFolder, write_private};

const MARK: &str = "first-start";

fn mark(folder: &DataFolder) -> PathBuf {
    folder.path().join(MARK)
}

/// Sets the mark when there is no installation yet. Before the database is made.
pub(crate) fn begin(folder: &DataFolder) -> anyhow::Result<()> {
    if folder.database().exists() {
        Ok(())
    } else {
        write_private(&mark(folder), "the first start is under way")
    }
}

/// Makes the administrator's token when this is the first start, or one that the first left unfinished.
pub(crate) async fn finish(folder: &DataFolder, store: &dyn Store) -> anyhow::Result<()> {
    let unfinished = mark(folder).exists();
    let token = match control::ensure_admin(store).await? {
        None if unfinished => Some(control::create_admin_token(store, "first start", None).await?),
        token => token,
    };
    if let Some(token) = token {
        folder.write_admin_token(&token)?;
        let path = folder.admin_token_path();
        tracing::info!(file = %path.display(), user = control::ADMIN_USER, "first start: the administrator's token is in the file");
        tell_terminal(&format!("\n  administrator token: {}\n  (also in {})\n", *token, path.display()));
    }
    if unfinished {
        std::fs::remove_file(mark(folder))
            .with_context(|| format!("cannot remove {}", mark(folder).display()))?;
    }
    Ok(())
}
