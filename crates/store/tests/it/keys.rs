//! Master keys and data keys: their change while others read and write, and a key service that is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretSlice};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tollgate_store::{
    KeyEncryption, KeySource, MasterKey, OauthStore, Result, SecretStore, SqliteStore, StoreError,
};

use crate::secrets::scope;
use crate::{key, open};

const OTHER: &str = "91d6a3c05be82f7446ac0d17f93be5286d7f3c1e0a945b88e2c67d31f0ab549e";

fn other() -> MasterKey {
    MasterKey::from_hex(OTHER).unwrap()
}

/// Keys that a test changes, and a switch that takes the service away.
#[derive(Default)]
struct Keys {
    all: Mutex<Vec<Arc<MasterKey>>>,
    down: AtomicBool,
}

struct Served {
    keys: Arc<Keys>,
    key: Arc<MasterKey>,
}

struct Source(Arc<Keys>);

#[async_trait]
impl KeySource for Source {
    async fn keys(&self) -> Result<Vec<Arc<dyn KeyEncryption>>> {
        let served = |key: &Arc<MasterKey>| {
            Arc::new(Served { keys: Arc::clone(&self.0), key: Arc::clone(key) }) as Arc<dyn KeyEncryption>
        };
        Ok(self.0.all.lock().iter().map(served).collect())
    }
}

impl Served {
    fn reach(&self) -> Result<()> {
        let down = self.keys.down.load(Ordering::SeqCst);
        if down { Err(StoreError::KeyService("it is down".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl KeyEncryption for Served {
    async fn wrap(&self, key: &[u8], place: &[u8]) -> Result<Vec<u8>> {
        self.reach()?;
        self.key.wrap(key, place).await
    }

    async fn unwrap(&self, wrapped: &[u8], place: &[u8]) -> Result<SecretSlice<u8>> {
        self.reach()?;
        self.key.unwrap(wrapped, place).await
    }
}

fn keys(all: Vec<MasterKey>) -> Arc<Keys> {
    Arc::new(Keys { all: Mutex::new(all.into_iter().map(Arc::new).collect()), down: AtomicBool::new(false) })
}

async fn open_with(folder: &TempDir, keys: &Arc<Keys>) -> Result<SqliteStore> {
    SqliteStore::open_with(&folder.path().join("tollgate.db"), Arc::new(Source(Arc::clone(keys)))).await
}

async fn value(store: &SqliteStore, scope: &str, key: &str) -> Vec<u8> {
    store.open_secret(scope, key).await.unwrap().unwrap().expose_secret().to_vec()
}

async fn renew_all(store: &SqliteStore) {
    for (id, _) in store.sealed_scopes().await.unwrap() {
        assert!(store.renew_data_key(&id).await.unwrap());
    }
}

/// Everything in the file that a key has made.
async fn sealed(folder: &TempDir) -> Vec<Vec<u8>> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("tollgate.db"));
    let raw = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let sql = "SELECT data_key FROM scopes UNION ALL SELECT sealed FROM secrets \
               UNION ALL SELECT CAST(value AS BLOB) FROM meta WHERE name = 'key_mark'";
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(sql).fetch_all(&raw).await.unwrap();
    raw.close().await;
    rows.into_iter().map(|(bytes,)| bytes).collect()
}

#[tokio::test]
async fn a_changed_master_key_opens_everything_and_the_old_one_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.create_scope(scope("S", &["ann"])).await.unwrap();
    store.create_scope(scope("empty", &[])).await.unwrap();
    store.put_secret("s", "k", b"v").await.unwrap();
    store.ensure_signing_key().await.unwrap();
    let signing = store.signing_key().await.unwrap().unwrap().expose_secret().to_vec();
    let before = sealed(&folder).await;
    store.change_master_key(&other()).await.unwrap();
    assert!(store.is_master(&other()).await.unwrap() && !store.is_master(&key()).await.unwrap());
    store.close().await;

    let path = folder.path().join("tollgate.db");
    assert!(matches!(SqliteStore::open(&path, key()).await, Err(StoreError::WrongKey)));
    let store = SqliteStore::open(&path, other()).await.unwrap();
    renew_all(&store).await;
    assert_eq!(value(&store, "s", "k").await, b"v");
    assert_eq!(store.signing_key().await.unwrap().unwrap().expose_secret(), signing);
    let after = sealed(&folder).await;
    assert_eq!(before.len(), 6);
    assert!(after.len() == 6 && after.iter().all(|bytes| !before.contains(bytes)), "all of it is new");
    store.tidy().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_running_store_follows_a_change_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let ring = keys(vec![key()]);
    let running = open_with(&folder, &ring).await.unwrap();
    running.create_scope(scope("s", &[])).await.unwrap();
    running.put_secret("s", "k", b"v").await.unwrap();
    let rotating = open(&folder).await;

    // Both keys are there during the change.
    ring.all.lock().push(Arc::new(other()));
    rotating.change_master_key(&other()).await.unwrap();
    assert_eq!(value(&running, "s", "k").await, b"v");
    ring.all.lock().remove(0);
    running.create_scope(scope("t", &[])).await.unwrap();
    running.put_secret("t", "k", b"w").await.unwrap();
    rotating.close().await;

    let rotating = SqliteStore::open(&folder.path().join("tollgate.db"), other()).await.unwrap();
    renew_all(&rotating).await;
    for (scope, expected) in [("s", b"v"), ("t", b"w")] {
        assert_eq!(value(&running, scope, "k").await, expected);
        assert_eq!(value(&rotating, scope, "k").await, expected);
        running.put_secret(scope, "l", b"x").await.unwrap();
        assert_eq!(value(&rotating, scope, "l").await, b"x");
    }
}

/// A store that does not know the new key must not seal with the old one, which is about to be gone.
#[tokio::test]
async fn nothing_is_wrapped_by_a_key_that_is_no_longer_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let (stale, rotating) = (open(&folder).await, open(&folder).await);
    stale.create_scope(scope("s", &[])).await.unwrap();
    stale.put_secret("s", "k", b"v").await.unwrap();
    rotating.change_master_key(&other()).await.unwrap();
    assert!(matches!(stale.create_scope(scope("t", &[])).await, Err(StoreError::WrongKey)));
    assert!(matches!(stale.put_secret("s", "k", b"w").await, Err(StoreError::WrongKey)));
    assert!(matches!(stale.open_secret("s", "k").await, Err(StoreError::WrongKey)));
}

#[tokio::test]
async fn a_key_service_that_is_down_stops_starts_and_nothing_that_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let ring = keys(vec![key()]);
    let store = open_with(&folder, &ring).await.unwrap();
    for name in ["s", "t"] {
        store.create_scope(scope(name, &[])).await.unwrap();
        store.put_secret(name, "k", b"v").await.unwrap();
    }
    store.close().await;
    let store = open_with(&folder, &ring).await.unwrap();
    store.open_data_keys().await.unwrap();
    ring.down.store(true, Ordering::SeqCst);
    for name in ["s", "t"] {
        assert_eq!(value(&store, name, "k").await, b"v");
        store.put_secret(name, "k", b"w").await.unwrap();
        assert_eq!(value(&store, name, "k").await, b"w");
    }
    let refused = store.create_scope(scope("u", &[])).await.unwrap_err();
    assert!(matches!(refused, StoreError::KeyService(_)), "{refused}");
    let refused = open_with(&folder, &ring).await.unwrap_err();
    assert!(matches!(refused, StoreError::KeyService(_)), "{refused}");
    ring.down.store(false, Ordering::SeqCst);
    store.create_scope(scope("u", &[])).await.unwrap();
}

/// Readers and writers go on, in this process and in another, while keys change again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_keys_change() {
    let folder = tempfile::tempdir().unwrap();
    let ring = keys(vec![key(), other()]);
    let stores = [
        Arc::new(open_with(&folder, &ring).await.unwrap()),
        Arc::new(open_with(&folder, &ring).await.unwrap()),
    ];
    for name in ["s", "t"] {
        stores[0].create_scope(scope(name, &[])).await.unwrap();
        stores[0].put_secret(name, "k", b"v").await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut calls = JoinSet::new();
    for at in 0..4 {
        let (store, stop) = (Arc::clone(&stores[at % 2]), Arc::clone(&stop));
        calls.spawn(async move {
            let (name, own, mut turns) = (["s", "t"][at / 2], format!("own{at}"), 0);
            while !stop.load(Ordering::SeqCst) {
                store.put_secret(name, &own, format!("{turns}").as_bytes()).await.unwrap();
                assert_eq!(value(&store, name, &own).await, format!("{turns}").as_bytes());
                assert_eq!(value(&store, name, "k").await, b"v");
                store.create_scope(scope(&format!("{own}-{turns}"), &[])).await.unwrap();
                assert!(store.delete_scope(&format!("{own}-{turns}")).await.unwrap());
                turns += 1;
            }
            turns
        });
    }
    let rotating = open_with(&folder, &ring).await.unwrap();
    for turn in 0..6 {
        let next = if turn % 2 == 0 { other() } else { key() };
        rotating.change_master_key(&next).await.unwrap();
        // A scope that was deleted meanwhile is none.
        for (id, _) in rotating.sealed_scopes().await.unwrap() {
            rotating.renew_data_key(&id).await.unwrap();
        }
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(turns) = calls.join_next().await {
        assert!(turns.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_copy_is_made_while_others_write_and_opens_with_the_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.create_scope(scope("s", &[])).await.unwrap();
    store.put_secret("s", "k", b"v").await.unwrap();
    // A quote in the name is no end of it.
    let copy = folder.path().join("it's a copy.db");
    SqliteStore::copy(&folder.path().join("tollgate.db"), &copy).await.unwrap();
    store.put_secret("s", "k", b"later").await.unwrap();
    assert!(matches!(SqliteStore::open(&copy, other()).await, Err(StoreError::WrongKey)));
    let copied = SqliteStore::open(&copy, key()).await.unwrap();
    assert_eq!(value(&copied, "s", "k").await, b"v");
    let again = SqliteStore::copy(&folder.path().join("tollgate.db"), &copy).await.unwrap_err();
    assert!(matches!(again, StoreError::Copy(_)), "nothing is overwritten: {again}");
    assert!(SqliteStore::copy(&folder.path().join("none.db"), &folder.path().join("x.db")).await.is_err());
}
