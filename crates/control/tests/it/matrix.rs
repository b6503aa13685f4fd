//! Every route × ten kinds of principal: who gets in is what the route says it needs, and nothing else.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use gateway::{Access, Gateway, GatewayConfig};
use http::{Method, Request};
use http_body_util::BodyExt;
use journal::audit::{AuditRecord, AuditSink};
use journal::{Admission, Full, RecordSink, Settlement};
use policy::identity::hash_token;
use policy::runtime::NoRuntime;
use policy::{Level, Live};
use providers::Task;
use serde_json::{Value, json};
use store::model::{GroupRecord, NewToken, PrincipalRecord, ScopePermission};
use store::{EndpointStore, MasterKey, PrincipalStore, SqliteStore, TokenStore};
use tollgate_control::{Control, ControlConfig, Needs, Ports};
use tower::ServiceExt;

use crate::openapi::compare;
use crate::world::OneTable;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nobody,
    BadToken,
    Plain,
    Viewer,
    Querier,
    Manager,
    Member,
    Service,
    Admin,
    Deactivated,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Nobody,
        Self::BadToken,
        Self::Plain,
        Self::Viewer,
        Self::Querier,
        Self::Manager,
        Self::Member,
        Self::Service,
        Self::Admin,
        Self::Deactivated,
    ];

    const fn heading(self) -> &'static str {
        match self {
            Self::Nobody => "no token",
            Self::BadToken => "bad token",
            Self::Plain => "user",
            Self::Viewer => "user, CAN_VIEW / READ",
            Self::Querier => "user, CAN_QUERY / WRITE",
            Self::Manager => "user, CAN_MANAGE / MANAGE",
            Self::Member => "member of a group, CAN_QUERY / WRITE",
            Self::Service => "service principal, CAN_QUERY / WRITE",
            Self::Admin => "admin",
            Self::Deactivated => "deactivated user",
        }
    }

    /// What it was given on the endpoints, by the fixture.
    const fn level(self) -> Option<Level> {
        match self {
            Self::Nobody | Self::BadToken | Self::Plain | Self::Deactivated => None,
            Self::Viewer => Some(Level::View),
            Self::Querier | Self::Member | Self::Service => Some(Level::Query),
            Self::Manager | Self::Admin => Some(Level::Manage),
        }
    }

    /// What it was given on the scope.
    fn permission(self) -> Option<ScopePermission> {
        self.level().map(|level| match level {
            Level::View => ScopePermission::Read,
            Level::Query => ScopePermission::Write,
            Level::Manage => ScopePermission::Manage,
        })
    }

    fn token(self) -> Option<String> {
        (self != Self::Nobody).then(|| format!("dapi-of-{self:?}"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    /// 401.
    Unknown,
    /// 403.
    Denied,
}

impl Decision {
    const fn of(status: u16) -> Self {
        match status {
            401 => Self::Unknown,
            403 => Self::Denied,
            _ => Self::Allowed,
        }
    }

    const fn shown(self) -> &'static str {
        match self {
            Self::Allowed => "yes",
            Self::Unknown => "401",
            Self::Denied => "403",
        }
    }
}

/// The decision that follows from what a route needs.
fn expected(needs: Needs, kind: Kind) -> Decision {
    if needs == Needs::Nobody {
        return Decision::Allowed;
    }
    let allowed = match kind {
        Kind::Nobody => return Decision::Unknown,
        Kind::BadToken | Kind::Deactivated => return Decision::Denied,
        _ => match needs {
            Needs::Nobody | Needs::Principal => true,
            Needs::Admin | Needs::Create => kind == Kind::Admin,
            Needs::Endpoint(level) | Needs::EndpointById(level) => kind.level() >= Some(level),
            Needs::Scope(permission) => kind.permission() >= Some(permission),
            // The folder is the manager's home.
            Needs::Folder => matches!(kind, Kind::Manager | Kind::Admin),
        },
    };
    if allowed { Decision::Allowed } else { Decision::Denied }
}

/// A route of either plane.
#[derive(Clone, Debug)]
struct Row {
    method: Method,
    path: &'static str,
    needs: Needs,
    /// The endpoint that a call of the data plane names.
    endpoint: &'static str,
}

fn rows() -> Vec<Row> {
    let control = tollgate_control::routes().map(|route| Row {
        method: route.method.clone(),
        path: route.path,
        needs: route.needs,
        endpoint: "chat",
    });
    let gateway = gateway::routes().map(|route| Row {
        method: route.method.clone(),
        path: route.path,
        needs: match route.access {
            Access::Query => Needs::Endpoint(Level::Query),
            Access::Token => Needs::Principal,
            Access::Nothing => Needs::Nobody,
        },
        endpoint: route.task.map_or("chat", name_of),
    });
    control.chain(gateway).collect()
}

/// The endpoint of a task.
fn name_of(task: Task) -> &'static str {
    match task {
        Task::Chat => "chat",
        Task::Completions => "completions",
        Task::Embeddings => "embeddings",
    }
}

struct Silent;

impl AuditSink for Silent {
    fn record(&self, _record: &AuditRecord) {}
}

impl RecordSink for Silent {
    fn admit(&self, _admission: &Admission) -> Result<(), Full> {
        Ok(())
    }
    fn settle(&self, _admission: &Admission, _settlement: &Settlement) {}
}

/// An installation with three endpoints, a scope, and one principal of each kind.
struct World {
    router: Router,
    /// What stands for the parameters of paths, by the beginning of the path.
    ids: HashMap<&'static str, String>,
    _folder: tempfile::TempDir,
}

const MEMBERS: &str = "readers";

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::from_hex(&MasterKey::generate().unwrap()).unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("tollgate.db"), key).await.unwrap());
        let mut ids = populate(&store).await;
        let live = Arc::new(Live::default());
        let ports = Ports {
            runtime: Arc::new(NoRuntime),
            probe: Arc::new(NoRuntime),
            explain: Arc::new(NoRuntime),
            audit: Arc::new(Silent),
            tables: Arc::new(OneTable),
        };
        let control =
            Control::new(store.clone(), live.clone(), ports, ControlConfig::default()).await.unwrap();
        control.start().await.unwrap();
        let client = egress::Client::new(egress::ClientConfig::default()).unwrap();
        let gateway = Gateway::new(live, client, Arc::new(Silent), GatewayConfig::default());
        let router = tollgate_control::router(control).merge(gateway::router(gateway));
        let mut world = Self { router, ids: HashMap::new(), _folder: folder };
        for task in Task::ALL {
            world.endpoint(task).await;
        }
        world.scope().await;
        let endpoint = store.endpoint("chat").await.unwrap().unwrap();
        ids.insert("/api/2.0/permissions/serving-endpoints/", endpoint.id);
        world.ids = ids;
        world
    }

    /// An endpoint on which everybody has what the kind says.
    async fn endpoint(&self, task: Task) {
        let name = name_of(task);
        let block = json!({"openai_api_key_plaintext": "sk", "openai_api_base": "https://127.0.0.1:9/v1"});
        let model = json!({"name": "m", "provider": "openai", "task": task.as_str(), "openai_config": block});
        let body =
            json!({"name": name, "config": {"served_entities": [{"name": "m", "external_model": model}]}});
        let made = self.admin(Method::POST, "/api/2.0/serving-endpoints", &body).await;
        let grant = |field: &str, who: String, kind: Kind| {
            kind.level().map(|level| json!({field: who, "permission_level": level.as_str()}))
        };
        let users =
            [Kind::Viewer, Kind::Querier, Kind::Manager].map(|k| grant("user_name", format!("{k:?}"), k));
        let mut grants: Vec<Value> = users.into_iter().flatten().collect();
        grants.extend(grant("group_name", MEMBERS.to_owned(), Kind::Member));
        grants.extend(grant("service_principal_name", SERVICE.to_owned(), Kind::Service));
        // What a deactivated user was given is not what keeps it out.
        grants.push(json!({"user_name": "Deactivated", "permission_level": "CAN_MANAGE"}));
        let path = format!("/api/2.0/permissions/serving-endpoints/{}", made["id"].as_str().unwrap());
        self.admin(Method::PUT, &path, &json!({"access_control_list": grants})).await;
    }

    async fn scope(&self) {
        self.admin(Method::POST, "/api/2.0/secrets/scopes/create", &json!({"scope": "s"})).await;
        let put = json!({"scope": "s", "key": "k", "string_value": "v"});
        self.admin(Method::POST, "/api/2.0/secrets/put", &put).await;
        let who = [
            ("Viewer", Kind::Viewer),
            ("Querier", Kind::Querier),
            ("Manager", Kind::Manager),
            (MEMBERS, Kind::Member),
            (SERVICE, Kind::Service),
            ("Deactivated", Kind::Manager),
        ];
        for (principal, kind) in who {
            let permission = kind.permission().unwrap().as_str();
            let body = json!({"scope": "s", "principal": principal, "permission": permission});
            self.admin(Method::POST, "/api/2.0/secrets/acls/put", &body).await;
        }
    }

    async fn admin(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = request(&method, path, Kind::Admin, body);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 200, "{method} {path}: {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap()
    }

    async fn status(&self, request: Request<Body>) -> u16 {
        self.router.clone().oneshot(request).await.unwrap().status().as_u16()
    }

    /// The path with something real in place of each parameter, and a query for the routes that read one.
    fn path(&self, row: &Row) -> String {
        let found = self.ids.iter().find(|(beginning, _)| row.path.starts_with(**beginning));
        let id = found.map_or("0", |(_, id)| id.as_str());
        let filled = [
            ("{name}", row.endpoint),
            ("{entity}", "m"),
            ("{version}", "v1beta"),
            ("{call}", "chat:generateContent"),
            ("{number}", "1"),
            ("{id}", id),
            ("{token_id}", id),
            ("{secret_id}", "0"),
            ("{catalog}", "main"),
            ("{schema}", "main.logs"),
            ("{table}", "main.logs.chat_payload"),
            ("{*path}", "Users/Manager/f"),
        ];
        filled.into_iter().fold(row.path.to_owned(), |path, (name, value)| path.replace(name, value))
    }

    fn call(&self, row: &Row, kind: Kind) -> Request<Body> {
        // In queries of the data plane a key may be a token.
        let query = if row.path.starts_with("/api/") {
            "?scope=s&key=k&principal=Viewer&path=/Users/Manager"
        } else {
            ""
        };
        let path = format!("{}{query}", self.path(row));
        request(&row.method, &path, kind, &body(row))
    }
}

const SERVICE: &str = "5c7a2a4e-0b60-4c3f-8d52-1f0f6f6f2a10";

/// Names what the decision depends on, and is refused as early as can be by those that change something.
fn body(row: &Row) -> Value {
    json!({"scope": "s", "model": row.endpoint, "path": "/Users/Manager"})
}

fn request(method: &Method, path: &str, kind: Kind, body: &Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "tollgate.test");
    if let Some(token) = kind.token() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Body::from(body.to_string())).unwrap()
}

/// The principals and their tokens; gives what stands for `{id}` and `{token_id}` in paths.
async fn populate(store: &SqliteStore) -> HashMap<&'static str, String> {
    let mut members = Vec::new();
    let mut ids = HashMap::new();
    for kind in Kind::ALL.into_iter().filter(|k| !matches!(k, Kind::Nobody | Kind::BadToken)) {
        let service = kind == Kind::Service;
        let name = if service { SERVICE.to_owned() } else { format!("{kind:?}") };
        let mut record = PrincipalRecord {
            is_service_principal: service,
            display_name: name.clone(),
            name,
            active: true,
            ..PrincipalRecord::default()
        };
        record.id = match kind {
            Kind::Admin => store.ensure_user(&record.name, &["admins", "users"]).await.unwrap(),
            _ => store.create_principal(&record).await.unwrap(),
        };
        let hash = hash_token(&kind.token().unwrap());
        let new = NewToken {
            hash: &hash,
            principal_id: &record.id,
            created_by: &record.id,
            comment: "",
            expires_at: None,
        };
        store.create_token(new).await.unwrap();
        match kind {
            Kind::Member => members.push(record.id.clone()),
            // A home has its owner's id.
            Kind::Manager => drop(ids.insert("/api/2.0/permissions/directories", record.id)),
            Kind::Deactivated => {
                record.active = false;
                store.update_principal(&record).await.unwrap();
            }
            _ => {}
        }
    }
    let group = GroupRecord { name: MEMBERS.to_owned(), principals: members, ..GroupRecord::default() };
    store.create_group(&group).await.unwrap();
    // Others, which may be deleted.
    let other = |name: &str, service| PrincipalRecord {
        is_service_principal: service,
        display_name: name.to_owned(),
        name: name.to_owned(),
        active: true,
        ..PrincipalRecord::default()
    };
    let service = store.create_principal(&other("9b2e7d57-7d5c-4a39-9a9e-6f5b9d1c0e11", true)).await.unwrap();
    let user = store.create_principal(&other("other", false)).await.unwrap();
    let group = GroupRecord { name: "others".to_owned(), ..GroupRecord::default() };
    ids.insert("/api/2.0/preview/scim/v2/Groups", store.create_group(&group).await.unwrap());
    ids.insert("/api/2.0/preview/scim/v2/ServicePrincipals", service.clone());
    ids.insert("/api/2.0/accounts/servicePrincipals", service.clone());
    ids.insert("/api/tollgate/v1/service-principals", service);
    ids.insert("/api/2.0/preview/scim/v2/Users", user);
    ids
}

#[tokio::test]
async fn who_gets_in_is_what_the_route_says() {
    let mut world = World::new().await;
    let (mut mismatches, mut cells, mut failures) = (Vec::new(), 0, Vec::new());
    let mut table = heading();
    for row in rows() {
        let mut line = format!("| `{} {}` | {} |", row.method, row.path, row.needs);
        for kind in Kind::ALL {
            let status = world.status(world.call(&row, kind)).await;
            let (found, right) = (Decision::of(status), expected(row.needs, kind));
            cells += 1;
            if found != right {
                mismatches.push(format!("{} {} as {kind:?}: {right:?}, got {status}", row.method, row.path));
            }
            if status >= 500 && status != 501 {
                failures.push(format!("{} {} as {kind:?}: {status}", row.method, row.path));
            }
            write!(line, " {} |", right.shown()).unwrap();
            // It may have changed what the next one is decided by.
            if status < 300 && row.method != Method::GET {
                world = World::new().await;
            }
        }
        table.push_str(&line);
        table.push('\n');
    }
    assert!(mismatches.is_empty(), "{} of {cells} cells: {mismatches:#?}", mismatches.len());
    assert!(failures.is_empty(), "{failures:#?}");
    compare("permissions.md", &table);
}

fn heading() -> String {
    let mut out = String::from(
        "# Permissions\n\n\
         Made from the routes, and tested whole: each cell is a call (`crates/control/tests/it/matrix.rs`). \
         A route that does not say what it needs cannot be\nwritten. `yes` is let in; 401 and 403 are the answers \
         to those who are not. A token that is unknown, revoked or expired, or whose owner was deactivated,\ngets 403.\n\n\
         CAN_MANAGE includes CAN_QUERY includes CAN_VIEW; MANAGE includes WRITE includes READ. Members of `admins` \
         may do everything. What is listed to any token (endpoints,\nscopes, tokens) holds only what the caller may see. The folder in this table \
         is the home of the user with CAN_MANAGE / MANAGE.\n\n",
    );
    let headings: Vec<&str> = Kind::ALL.iter().map(|kind| kind.heading()).collect();
    writeln!(out, "| route | needs | {} |", headings.join(" | ")).unwrap();
    writeln!(out, "|---|---|{}", "---|".repeat(Kind::ALL.len())).unwrap();
    out
}

/// Other spellings of a path, none of which may lead further than the path itself.
fn variants(path: &str) -> Vec<String> {
    let mut out = vec![
        format!("/{path}"),
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}/."),
        format!("{path}/.."),
        format!("/healthz/..{path}"),
        format!("/openapi.json/..{path}"),
        format!("{path};/healthz"),
        format!("{path}%00"),
        format!("{path}%23"),
        path.replacen('/', "//", 2),
        path.to_uppercase(),
    ];
    if let Some((head, tail)) = path.rsplit_once('/') {
        out.push(format!("{head}%2f{tail}"));
        out.push(format!("{head}%2F{tail}"));
        out.push(format!("{head}/%2e/{tail}"));
        out.push(format!("{head}/x/../{tail}"));
        out.push(format!("{head}\\{tail}"));
    }
    out
}

const HEADERS: [(&str, &str); 14] = [
    ("host", "evil.test"),
    ("host", "127.0.0.1"),
    ("x-forwarded-host", "evil.test"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-prefix", "/healthz"),
    ("x-forwarded-user", "Admin"),
    ("x-remote-user", "Admin"),
    ("x-real-ip", "127.0.0.1"),
    ("forwarded", "for=127.0.0.1;host=evil.test"),
    ("x-original-url", "/healthz"),
    ("x-rewrite-url", "/openapi.json"),
    ("x-http-method-override", "GET"),
    ("x-databricks-org-id", "1"),
];

#[tokio::test]
async fn no_spelling_of_a_path_leads_further() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for row in rows() {
        for kind in [Kind::Nobody, Kind::Deactivated, Kind::Plain] {
            if expected(row.needs, kind) == Decision::Allowed {
                continue;
            }
            for path in variants(&world.path(&row)) {
                // What is no URI does not come as far as the routes.
                let Ok(uri) = path.parse::<http::Uri>() else { continue };
                let status = world.status(request(&row.method, &uri.to_string(), kind, &body(&row))).await;
                if !(400..500).contains(&status) {
                    wrong.push(format!("{} {path} as {kind:?}: {status}", row.method));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn no_header_but_the_credential_decides() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for row in rows() {
        for kind in [Kind::Nobody, Kind::BadToken, Kind::Deactivated, Kind::Plain] {
            // What is let in anyway may change something.
            if expected(row.needs, kind) == Decision::Allowed && row.method != Method::GET {
                continue;
            }
            for (name, value) in HEADERS {
                let mut request = world.call(&row, kind);
                request.headers_mut().insert(name, value.parse().unwrap());
                let status = world.status(request).await;
                if Decision::of(status) != expected(row.needs, kind) {
                    wrong.push(format!("{} {} as {kind:?} with {name}: {status}", row.method, row.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
