//! The SQLite file: what is in it, who may open it, and several who write to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use secrecy::ExposeSecret;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tollgate_store::model::{NewScope, NewToken};
use tollgate_store::{
    EndpointStore, MasterKey, PrincipalStore, SecretStore, SqliteStore, StoreError, TokenStore,
};

use crate::endpoints::endpoint;
use crate::secrets::scope;
use crate::{KEY, key, open};

fn path(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("tollgate.db")
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.create_endpoint(&endpoint("a")).await.unwrap();
    store.create_scope(scope("S", &["ann"])).await.unwrap();
    store.put_secret("s", "k", b"v\0\xff").await.unwrap();
    let ann = store.ensure_user("ann", &["users"]).await.unwrap();
    let new =
        NewToken { hash: &[7; 32], principal_id: &ann, created_by: &ann, comment: "c", expires_at: Some(9) };
    let token = store.create_token(new).await.unwrap();
    let (generation, workspace) = (store.generation().await.unwrap(), store.workspace_id().await.unwrap());
    store.close().await;
    let store = open(&folder).await;
    assert_eq!(store.endpoint("a").await.unwrap(), Some(endpoint("a")));
    let value = store.open_secret("s", "k").await.unwrap().unwrap();
    assert_eq!(value.expose_secret(), b"v\0\xff");
    assert_eq!(store.acls("s").await.unwrap()[0].principal, "ann");
    assert_eq!(store.tokens().await.unwrap(), [token]);
    assert_eq!(store.principals().await.unwrap()[0].groups[0].name, "users");
    assert_eq!(store.generation().await.unwrap(), generation);
    assert_eq!(store.workspace_id().await.unwrap(), workspace);
}

#[tokio::test]
async fn another_process_sees_a_write_and_its_generation() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder).await, open(&folder).await);
    let before = one.generation().await.unwrap();
    two.create_endpoint(&endpoint("a")).await.unwrap();
    assert_eq!(one.generation().await.unwrap(), before + 1);
    assert_eq!(one.endpoint("a").await.unwrap(), Some(endpoint("a")));
    one.create_scope(scope("s", &[])).await.unwrap();
    two.put_secret("s", "k", b"v").await.unwrap();
    assert_eq!(one.open_secret("s", "k").await.unwrap().unwrap().expose_secret(), b"v");
    assert_eq!(two.generation().await.unwrap(), before + 3);
    assert_eq!(one.workspace_id().await.unwrap(), two.workspace_id().await.unwrap());
}

#[tokio::test]
async fn a_wrong_key_is_noticed_when_the_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.create_scope(scope("s", &[])).await.unwrap();
    store.put_secret("s", "k", b"v").await.unwrap();
    store.close().await;
    let other = MasterKey::from_hex(&MasterKey::generate().unwrap()).unwrap();
    let refused = SqliteStore::open(&path(&folder), other).await.unwrap_err();
    assert!(matches!(refused, StoreError::WrongKey), "{refused}");
    assert!(refused.to_string().contains("master key"));
    // Nothing was changed by the attempt.
    let store = open(&folder).await;
    assert_eq!(store.open_secret("s", "k").await.unwrap().unwrap().expose_secret(), b"v");
}

#[tokio::test]
async fn a_sealed_value_in_another_place_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.create_scope(scope("s", &[])).await.unwrap();
    store.put_secret("s", "low", b"mine").await.unwrap();
    store.put_secret("s", "high", b"theirs").await.unwrap();
    let raw = raw(&folder).await;
    sqlx::query(
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE key = 'high') WHERE key = 'low'",
    )
    .execute(&raw)
    .await
    .unwrap();
    assert!(matches!(store.open_secret("s", "low").await, Err(StoreError::WrongKey)));
    assert_eq!(store.open_secret("s", "high").await.unwrap().unwrap().expose_secret(), b"theirs");
    raw.close().await;
}

async fn raw(folder: &TempDir) -> SqlitePool {
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(path(folder))).await.unwrap()
}

/// All files of the folder, one after the other.
fn bytes_in(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        all.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    all
}

fn contains(all: &[u8], wanted: &[u8]) -> bool {
    all.windows(wanted.len()).any(|window| window == wanted)
}

/// `secret` in each spelling that a careless program might write it in.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![secret.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for engine in [&STANDARD, &URL_SAFE] {
        // Base64 depends on the place in the text; what the neighbours decide is cut off.
        for shift in 0..3 {
            let shifted = [&b"xxx"[..shift], secret].concat();
            let encoded = engine.encode(&shifted);
            let end = encoded.trim_end_matches('=').len() - 1;
            all.push(encoded.as_bytes()[if shift == 0 { 0 } else { 4 }..end].to_vec());
        }
    }
    let utf16: Vec<u8> = secret.iter().flat_map(|byte| [*byte, 0]).collect();
    all.push(utf16);
    all
}

#[tokio::test]
async fn no_secret_is_in_any_file() {
    const CANARY: &[u8] = b"sk-CANARY-4f81c2~never-on-disk";
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.create_scope(scope("s", &["ann"])).await.unwrap();
    store.create_scope(NewScope { name: "internal", hidden: true, managers: &[] }).await.unwrap();
    let check = |when: &str| {
        let all = bytes_in(folder.path());
        assert!(contains(&all, b"visible-key"), "the search finds what is there");
        let key: Vec<u8> =
            (0..32).map(|at| u8::from_str_radix(&KEY[at * 2..at * 2 + 2], 16).unwrap()).collect();
        for spelling in spellings(CANARY).into_iter().chain(spellings(&key)) {
            assert!(!contains(&all, &spelling), "{when}: {:?}", String::from_utf8_lossy(&spelling));
        }
    };
    for (scope, key) in [("s", "visible-key"), ("s", "other"), ("internal", "visible-key")] {
        store.put_secret(scope, key, CANARY).await.unwrap();
    }
    assert!(
        std::fs::metadata(folder.path().join("tollgate.db-wal")).unwrap().len() > 0,
        "the log is searched too"
    );
    check("written");
    store.put_secret("s", "visible-key", &CANARY.repeat(100)).await.unwrap();
    assert!(store.open_secret("s", "other").await.unwrap().is_some());
    check("overwritten and read");
    assert!(store.delete_secret("s", "other").await.unwrap());
    check("deleted");
    store.close().await;
    check("closed");
    let store = open(&folder).await;
    assert_eq!(store.open_secret("internal", "visible-key").await.unwrap().unwrap().expose_secret(), CANARY);
    assert!(!format!("{store:?}").to_lowercase().contains(&KEY[..8]));
    check("opened again");
}

async fn refused_after(statement: &'static str) -> String {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).await.close().await;
    let raw = raw(&folder).await;
    assert_eq!(sqlx::query(statement).execute(&raw).await.unwrap().rows_affected(), 1);
    raw.close().await;
    let refused = SqliteStore::open(&path(&folder), key()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Migration(_)), "{refused}");
    refused.to_string()
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let changed = refused_after("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
    assert!(changed.contains("data folder"), "{changed}");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', 1, x'00', 1)";
    assert!(refused_after(newer).await.contains("newer version"));
    // A migration that broke off.
    refused_after("UPDATE _sqlx_migrations SET success = 0 WHERE version = 1").await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(path(&folder), "this is no database, but it is long enough to look at".repeat(100))
        .unwrap();
    assert!(SqliteStore::open(&path(&folder), key()).await.is_err());
    assert!(SqliteStore::open(&folder.path().join("no/such/folder.db"), key()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_writers_at_once_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [Arc::new(open(&folder).await), Arc::new(open(&folder).await)];
    stores[0].create_scope(scope("s", &[])).await.unwrap();
    let before = stores[0].generation().await.unwrap();
    let mut writers = JoinSet::new();
    for at in 0..50 {
        let store = stores[at % 2].clone();
        writers.spawn(async move {
            match at % 5 {
                0 => store.put_secret("s", "same", format!("{at}").as_bytes()).await.unwrap(),
                1 => store.put_secret("s", &format!("k{at}"), b"v").await.unwrap(),
                2 => drop(store.ensure_user(&format!("u{at}"), &["users"]).await.unwrap()),
                3 => store.create_scope(scope(&format!("s{at}"), &["ann"])).await.unwrap(),
                _ => store.create_endpoint(&endpoint(&format!("e{at}"))).await.unwrap(),
            }
            store.endpoints().await.unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    for store in &stores {
        assert_eq!(store.generation().await.unwrap(), before + 50);
        assert_eq!(store.endpoints().await.unwrap().len(), 10);
        assert_eq!(store.secrets("s").await.unwrap().len(), 11);
        // `admins` is always there.
        assert_eq!(store.groups().await.unwrap().len(), 2);
        let same = store.open_secret("s", "same").await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(same.expose_secret()).parse::<u32>().unwrap().is_multiple_of(5));
    }
}

/// Several nodes start on a new folder in the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_may_be_opened_by_several_at_once() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let mut openers = JoinSet::new();
        for _ in 0..6 {
            let path = path(&folder);
            openers.spawn(async move { SqliteStore::open(&path, key()).await });
        }
        let mut ids = Vec::new();
        while let Some(opened) = openers.join_next().await {
            ids.push(opened.unwrap().unwrap().workspace_id().await.unwrap());
        }
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

/// A writer that is held up waits; readers do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_another_process_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder).await);
    let raw = raw(&folder).await;
    let tx = raw.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let (writing, path) = (store.clone(), path(&folder));
    let mut writer = JoinSet::new();
    writer.spawn(async move { writing.create_scope(scope("s", &[])).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(store.scopes().await.unwrap().is_empty() && writer.try_join_next().is_none());
    tx.rollback().await.unwrap();
    writer.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(store.scopes().await.unwrap().len(), 1);
    assert!(path.exists());
    raw.close().await;
}
