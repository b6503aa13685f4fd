//! What every store must do, and what only a file can get wrong.

#![expect(clippy::unwrap_used, reason = "the harness is test code that is not inside a #[test]")]

mod endpoints;
mod file;
mod identity;
mod keys;
mod principals;
mod secrets;
mod tokens;
mod usage;
mod workspace;

use tempfile::TempDir;
use tollgate_store::{MasterKey, SqliteStore, Store};

/// The master key of all tests: 64 digits without a pattern that could be in a file by chance.
const KEY: &str = "5f1c0e9ab47d36820c81fa5be6d2973340ad1be85c7290f6e3148bb6a07f5dc2";

fn key() -> MasterKey {
    MasterKey::from_hex(KEY).unwrap()
}

async fn open(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("tollgate.db"), key()).await.unwrap()
}

/// Runs one case of the suite on each backend there is. A case sees the trait alone.
async fn on_each(case: impl AsyncFn(&dyn Store)) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    case(&store).await;
    store.close().await;
}

/// Expects the generation to have grown by one since `last`, and moves `last` there.
async fn grew(store: &dyn Store, last: &mut i64) {
    let now = store.generation().await.unwrap();
    assert_eq!(now, *last + 1, "the generation counts each write");
    *last = now;
}

async fn stayed(store: &dyn Store, last: i64) {
    assert_eq!(store.generation().await.unwrap(), last, "nothing was written");
}
