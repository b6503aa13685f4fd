//! A control plane to call.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use journal::audit::{AuditRecord, AuditSink};
use journal::rollup::Rollups;
use policy::runtime::{NoRuntime, Probe};
use policy::{Credential, Live, Principal, identity};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Executor};
use store::{MasterKey, SqliteStore, Store};
use tempfile::TempDir;
use tollgate_control::{
    Control, ControlConfig, ListedColumn, ListedTable, Ports, TableListing, ensure_admin, refresh, router,
};
use tower::ServiceExt;
use wire::table::TableName;

pub(crate) const SCIM: &str = "/api/2.0/preview/scim/v2";

pub(crate) struct World {
    pub(crate) live: Arc<Live>,
    pub(crate) admin: String,
    pub(crate) control: Control,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) rollups: Arc<dyn Rollups>,
    pub(crate) audit: Arc<Recorder>,
    router: Router,
    folder: TempDir,
}

/// Keeps the audit records.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<AuditRecord>>);

impl AuditSink for Recorder {
    fn record(&self, record: &AuditRecord) {
        self.0.lock().unwrap().push(record.clone());
    }
}

impl Recorder {
    /// What was recorded since the last call.
    pub(crate) fn take(&self) -> Vec<AuditRecord> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) empty: bool,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ControlConfig::default()).await
    }

    pub(crate) async fn with(config: ControlConfig) -> Self {
        Self::wired(config, Arc::new(NoRuntime)).await
    }

    /// With `probe` in the data plane's place.
    pub(crate) async fn probed(probe: Arc<dyn Probe>) -> Self {
        Self::wired(ControlConfig::default(), probe).await
    }

    async fn wired(config: ControlConfig, probe: Arc<dyn Probe>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::from_hex(&MasterKey::generate().unwrap()).unwrap();
        let store = SqliteStore::open(&folder.path().join("tollgate.db"), key).await.unwrap();
        let store = Arc::new(store);
        let rollups: Arc<dyn Rollups> = store.clone();
        let store: Arc<dyn Store> = store;
        let admin = ensure_admin(store.as_ref()).await.unwrap().unwrap().to_string();
        let live = Arc::new(Live::default());
        let audit = Arc::new(Recorder::default());
        let ports = Ports {
            runtime: Arc::new(NoRuntime),
            probe,
            explain: Arc::new(NoRuntime),
            audit: Arc::clone(&audit) as _,
            tables: Arc::new(OneTable),
        };
        let control = Control::new(Arc::clone(&store), Arc::clone(&live), ports, config).await.unwrap();
        refresh(&control).await.unwrap();
        Self { live, admin, router: router(control.clone()), control, store, rollups, audit, folder }
    }

    /// Runs SQL beside the server; the transaction that it begins lasts as long as what is returned.
    pub(crate) async fn execute(&self, sql: &'static str) -> SqliteConnection {
        let file = SqliteConnectOptions::new().filename(self.folder.path().join("tollgate.db"));
        let mut connection = file.connect().await.unwrap();
        connection.execute(sql).await.unwrap();
        connection
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, body, empty: bytes.is_empty(), text }
    }

    pub(crate) async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("host", "tollgate.test")
            .header("authorization", format!("Bearer {token}"));
        self.send(request.body(body).unwrap()).await
    }

    /// As the administrator.
    pub(crate) async fn act(&self, method: &str, path: &str, body: Value) -> Answer {
        self.call(&self.admin, method, path, body).await
    }

    /// SCIM as the administrator.
    pub(crate) async fn scim(&self, method: &str, path: &str, body: Value) -> Answer {
        self.act(method, &format!("{SCIM}{path}"), body).await
    }

    pub(crate) async fn patch(&self, path: &str, operations: Value) -> Answer {
        self.scim("PATCH", path, json!({"Operations": operations})).await
    }

    /// A new user; gives its id.
    pub(crate) async fn user(&self, name: &str) -> String {
        let user = self.scim("POST", "/Users", json!({"userName": name})).await.is(201);
        text(&user, "id")
    }

    /// A new group; gives its id.
    pub(crate) async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
        let group = self.scim("POST", "/Groups", json!({"displayName": name, "members": members})).await;
        text(&group.is(201), "id")
    }

    /// The id of a group that there is.
    pub(crate) async fn group_id(&self, name: &str) -> String {
        let path = format!("/Groups?filter=displayName%20eq%20%22{name}%22");
        text(&self.scim("GET", &path, Value::Null).await.is(200)["Resources"][0], "id")
    }

    /// A new service principal: id, application id, and a token of its own.
    pub(crate) async fn robot(&self, name: &str) -> (String, String, String) {
        let robot = self.scim("POST", "/ServicePrincipals", json!({"displayName": name})).await.is(201);
        let application_id = text(&robot, "applicationId");
        let asked = json!({"application_id": application_id, "comment": "test"});
        let token = self.act("POST", "/api/2.0/token-management/on-behalf-of/tokens", asked).await.is(200);
        (text(&robot, "id"), application_id, text(&token, "token_value"))
    }

    /// An endpoint that only its creator and `grants` may use; gives its id.
    pub(crate) async fn endpoint(&self, name: &str, grants: Value) -> String {
        let entity = json!({"name": "e", "external_model": {"name": "m", "provider": "openai",
            "task": "llm/v1/chat", "openai_config": {"openai_api_key_plaintext": "k"}}});
        let endpoint = json!({"name": name, "config": {"served_entities": [entity]}});
        let made = self.act("POST", "/api/2.0/serving-endpoints", endpoint).await.is(200);
        let id = text(&made, "id");
        let path = format!("/api/2.0/permissions/serving-endpoints/{id}");
        self.act("PATCH", &path, json!({"access_control_list": grants})).await.is(200);
        id
    }

    /// Who the data plane takes the bearer of `token` for, now.
    pub(crate) fn known(&self, token: &str) -> Option<Arc<Principal>> {
        identity::authenticate(&self.live.load(), Some(&Credential::new(token)), now()).ok()
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' clock")]
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

#[track_caller]
pub(crate) fn text(body: &Value, field: &str) -> String {
    assert!(body[field].is_string(), "no {field} in {body}");
    body[field].as_str().unwrap().to_owned()
}

pub(crate) fn ids(list: &Value) -> Vec<&str> {
    list["Resources"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect()
}

/// The tables of an installation that has one, beside folders that are broken or of others.
pub(crate) struct OneTable;

#[async_trait::async_trait]
impl TableListing for OneTable {
    async fn names(&self) -> Result<Vec<TableName>, String> {
        let names = ["main.logs.broken", "main.logs.chat_payload", "main.logs.foreign", "spoilt.only.broken"];
        Ok(names.map(|name| TableName::parse(name).unwrap()).to_vec())
    }

    async fn table(&self, name: &TableName) -> Result<Option<ListedTable>, String> {
        if name.table() == "broken" {
            return Err(format!("table {name}: no such feature"));
        }
        let column = |name: &str, type_text: &str| ListedColumn {
            name: name.into(),
            type_text: type_text.into(),
            partition_index: None,
        };
        let columns = vec![column("request", "string"), column("execution_duration_ms", "bigint")];
        let (location, comment) = ("file:///t/main/logs/chat_payload".to_owned(), "c".to_owned());
        let table = ListedTable { name: name.clone(), location, comment, created_at: Some(1), columns };
        Ok((name.to_string() == "main.logs.chat_payload").then_some(table))
    }
}
