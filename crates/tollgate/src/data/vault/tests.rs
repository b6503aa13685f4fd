//! Against a small Transit engine on loopback.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use http::HeaderMap;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use store::SecretStore;
use store::model::NewScope;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::config::KeysConfig;
use crate::data::{Custody, DataFolder, rotate};

const TOKEN: &str = "s.good-token";

#[derive(Default)]
struct Transit {
    version: u32,
    made: HashMap<String, String>,
    /// Answers to give instead.
    instead: Option<(u16, String)>,
}

type Shared = Arc<Mutex<Transit>>;

struct Fake {
    transit: Shared,
    config: VaultConfig,
    folder: tempfile::TempDir,
    serving: JoinSet<()>,
}

async fn answer(
    State(transit): State<Shared>,
    Path((operation, key)): Path<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let refuse = |status, text: &str| (status, json!({"errors": [text]}).to_string());
    let mut transit = transit.lock();
    if let Some((status, body)) = &transit.instead {
        return (StatusCode::from_u16(*status).unwrap(), body.clone());
    }
    if headers.get("x-vault-token").is_none_or(|token| token != TOKEN) {
        return refuse(StatusCode::FORBIDDEN, "permission denied");
    }
    let body: Value = serde_json::from_str(&body).unwrap();
    let data = match operation.as_str() {
        "encrypt" => {
            let ciphertext = format!("vault:v{}:{key}-{}", transit.version, transit.made.len());
            transit.made.insert(ciphertext.clone(), body["plaintext"].as_str().unwrap().to_owned());
            json!({"ciphertext": ciphertext})
        }
        _ => match transit.made.get(body["ciphertext"].as_str().unwrap()) {
            Some(plaintext) => json!({"plaintext": plaintext}),
            None => return refuse(StatusCode::BAD_REQUEST, "cipher: message authentication failed"),
        },
    };
    (StatusCode::OK, json!({"data": data}).to_string())
}

impl Fake {
    async fn start() -> Self {
        let transit = Shared::new(Mutex::new(Transit { version: 1, ..Transit::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let router = Router::new()
            .route("/v1/team/transit/{operation}/{key}", post(answer))
            .with_state(Arc::clone(&transit));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        let config = VaultConfig {
            address: format!("http://{authority}"),
            authority,
            key_name: "tollgate".to_owned(),
            mount: "team/transit".to_owned(),
            token_file,
        };
        Self { transit, config, folder, serving }
    }

    fn client(&self) -> VaultTransit {
        VaultTransit::new(self.config.clone()).unwrap()
    }

    fn answers(&self, status: u16, body: &str) {
        self.transit.lock().instead = Some((status, body.to_owned()));
    }

    fn works(&self) {
        self.transit.lock().instead = None;
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn told(result: store::Result<impl Sized>) -> String {
    match result {
        Err(StoreError::KeyService(reason)) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was to fail"),
    }
}

#[tokio::test]
async fn a_key_comes_back_for_its_place_alone() {
    let fake = Fake::start().await;
    let vault = fake.client();
    let wrapped = vault.wrap(b"0123456789", b"here").await.unwrap();
    assert!(wrapped.starts_with(b"vault:v1:"));
    assert_eq!(vault.unwrap(&wrapped, b"here").await.unwrap().expose_secret(), b"0123456789");
    for place in [&b"there"[..], b"", b"here0", b"her"] {
        assert!(matches!(vault.unwrap(&wrapped, place).await, Err(StoreError::WrongKey)));
    }
    // What Vault did not make, or somebody else did: a key in memory, another key in Vault.
    for foreign in [&b"\x01bytes"[..], b"vault:v1:other", b""] {
        assert!(matches!(vault.unwrap(foreign, b"here").await, Err(StoreError::WrongKey)));
    }
    fake.transit.lock().version = 2;
    assert!(vault.wrap(b"new", b"here").await.unwrap().starts_with(b"vault:v2:"));
    assert_eq!(vault.unwrap(&wrapped, b"here").await.unwrap().expose_secret(), b"0123456789");
}

#[tokio::test]
async fn what_is_wrong_is_said_without_a_secret() {
    let fake = Fake::start().await;
    let vault = fake.client();
    let token = fake.config.token_file.clone();
    std::fs::write(&token, "s.bad-token").unwrap();
    let said = told(vault.wrap(b"k", b"p").await);
    assert!(
        said.contains("refuses the token in") && said.contains("update on team/transit/encrypt/tollgate"),
        "{said}"
    );
    assert!(!said.contains("s.bad-token"), "{said}");
    for (text, reason) in [("", "it is empty"), ("a\u{7}b", "it holds no token")] {
        std::fs::write(&token, text).unwrap();
        assert!(told(vault.wrap(b"k", b"p").await).contains(reason));
    }
    std::fs::remove_file(&token).unwrap();
    assert!(told(vault.wrap(b"k", b"p").await).contains("keys.vault.token_file"));
    // A renewed token is taken at once.
    std::fs::write(&token, TOKEN).unwrap();
    let wrapped = vault.wrap(b"k", b"p").await.unwrap();
    for (status, body, reason) in [
        (503, r#"{"errors":["Vault is sealed"]}"#, "sealed"),
        (404, r#"{"errors":["no handler for route"]}"#, "no transit engine at team/transit"),
        (400, r#"{"errors":["encryption key not found"]}"#, "encryption key not found"),
        (
            400,
            r#"{"errors":["ciphertext or signature version is disallowed by policy (too old)"]}"#,
            "too old",
        ),
        (500, "<html>", "answered 500"),
        (200, "{}", "without a plaintext"),
        (200, "not json", "without a plaintext"),
        (200, r#"{"data":{"plaintext":"%"}}"#, "no base64"),
        (307, "", "answered 307"),
    ] {
        fake.answers(status, body);
        let said = told(vault.unwrap(&wrapped, b"p").await);
        assert!(said.contains(reason), "{status} {body}: {said}");
    }
    fake.answers(200, r#"{"data":{"ciphertext":"plain"}}"#);
    assert!(told(vault.wrap(b"k", b"p").await).contains("without a ciphertext"));
    fake.answers(200, &" ".repeat(MAX_ANSWER + 1));
    assert!(told(vault.wrap(b"k", b"p").await).contains("too long"));
}

#[tokio::test]
async fn a_server_needs_vault_to_start_and_not_to_run() {
    let mut fake = Fake::start().await;
    let keys = KeysConfig::VaultTransit(fake.config.clone());
    let folder = DataFolder::create(&fake.data()).unwrap();
    fake.answers(503, "{}");
    let refused = format!("{:#}", folder.open_store(&keys).await.unwrap_err());
    assert!(refused.contains("the key service cannot be used") && refused.contains("sealed"), "{refused}");
    fake.works();

    let store = folder.open_store(&keys).await.unwrap();
    assert!(!folder.path().join("master.key").exists(), "the master key is Vault's");
    store.create_scope(NewScope { name: "s", hidden: false, managers: &[] }).await.unwrap();
    store.put_secret("s", "k", b"v").await.unwrap();
    store.close().await;

    // A new version in Vault, then all of it sealed anew: nothing of version 1 is left.
    fake.transit.lock().version = 2;
    let running = folder.open_store(&keys).await.unwrap();
    running.open_data_keys().await.unwrap();
    let custody = Custody::new(folder.path(), &keys).unwrap();
    assert_eq!(rotate(&folder, custody.clone(), &|_| Ok(())).await.unwrap(), 1);
    fake.transit.lock().made.retain(|ciphertext, _| ciphertext.starts_with("vault:v2:"));
    assert_eq!(running.open_secret("s", "k").await.unwrap().unwrap().expose_secret(), b"v");

    fake.serving.shutdown().await;
    assert_eq!(running.open_secret("s", "k").await.unwrap().unwrap().expose_secret(), b"v");
    running.put_secret("s", "k", b"w").await.unwrap();
    let refused = running.create_scope(NewScope { name: "t", hidden: false, managers: &[] }).await;
    assert!(told(refused).contains(&fake.config.address));
    assert!(rotate(&folder, custody, &|_| Ok(())).await.is_err());
    assert!(folder.open_store(&keys).await.is_err());
    assert_eq!(running.open_secret("s", "k").await.unwrap().unwrap().expose_secret(), b"w");
    // A folder whose key is in a file is not opened by Vault, and the other way round.
    assert!(folder.open_store(&KeysConfig::File).await.is_err());
}
