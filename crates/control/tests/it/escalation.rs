//! No sequence of calls by somebody who is no administrator raises their own permissions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy::{Level, permit};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::world::{SCIM, World, text};

/// What the attacker tries. Numbers choose among the ids that there are.
#[derive(Clone, Debug)]
enum Attempt {
    Scim {
        method: &'static str,
        kind: &'static str,
        target: usize,
        body: usize,
    },
    Token {
        body: usize,
    },
    OnBehalf {
        target: usize,
    },
    Secret {
        target: usize,
    },
    Revoke {
        target: usize,
    },
    Grant {
        method: &'static str,
        level: &'static str,
        to: usize,
    },
    ScopeAcl {
        to: usize,
    },
    CreateEndpoint {
        reference: usize,
    },
    /// What moves, makes or gives away in the workspace.
    Folder {
        how: usize,
        at: usize,
    },
    Login {
        target: usize,
    },
    /// Any route that changes something, those that are yet to come included.
    Route {
        at: usize,
        target: usize,
    },
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let method = prop::sample::select(vec!["POST", "PUT", "PATCH", "DELETE"]);
    let kind = prop::sample::select(vec!["Users", "Groups", "ServicePrincipals"]);
    let level = prop::sample::select(vec!["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"]);
    let write = prop::sample::select(vec!["PUT", "PATCH"]);
    let one = prop_oneof![
        4 => (method, kind, 0..5usize, 0..5usize)
            .prop_map(|(method, kind, target, body)| Attempt::Scim { method, kind, target, body }),
        1 => (0..3usize).prop_map(|body| Attempt::Token { body }),
        1 => (0..5usize).prop_map(|target| Attempt::OnBehalf { target }),
        1 => (0..5usize).prop_map(|target| Attempt::Secret { target }),
        1 => (0..5usize).prop_map(|target| Attempt::Revoke { target }),
        2 => (write, level, 0..3usize).prop_map(|(method, level, to)| Attempt::Grant { method, level, to }),
        1 => (0..3usize).prop_map(|to| Attempt::ScopeAcl { to }),
        1 => (0..2usize).prop_map(|reference| Attempt::CreateEndpoint { reference }),
        1 => (0..5usize).prop_map(|target| Attempt::Login { target }),
        3 => (0..4usize, 0..4usize).prop_map(|(how, at)| Attempt::Folder { how, at }),
        8 => (0..1000usize, 0..5usize).prop_map(|(at, target)| Attempt::Route { at, target }),
    ];
    prop::collection::vec(one, 1..12)
}

/// The world of one case: an endpoint and a scope of the administrator's, and a robot with little.
struct Field {
    world: World,
    /// The robot, the administrator, `admins`, a group around the robot, and one that is not there.
    ids: [String; 5],
    application_id: String,
    endpoint: String,
    /// Of the administrator's home: one that the robot may write in, and one that it has nothing on.
    folders: [String; 2],
    tokens: Vec<String>,
}

#[derive(Debug)]
struct Powers {
    groups: BTreeSet<String>,
    can_create: bool,
    /// By endpoint id.
    levels: BTreeMap<String, Level>,
    /// The secret's value can be read.
    reads_secret: bool,
    /// Who may do what with the scope can be read, and so changed.
    manages_scope: bool,
    /// The administrator's file can be read.
    reads_file: bool,
    /// Who may do what with the folder it is in can be read, and so changed.
    manages_folder: bool,
}

impl Powers {
    fn exceed(&self, before: &Self) -> bool {
        let level = |(id, level)| before.levels.get(id) < Some(level);
        !self.groups.is_subset(&before.groups)
            || (self.can_create && !before.can_create)
            || self.levels.iter().any(level)
            || (self.reads_secret && !before.reads_secret)
            || (self.manages_scope && !before.manages_scope)
            || (self.reads_file && !before.reads_file)
            || (self.manages_folder && !before.manages_folder)
    }
}

/// `level` is what the robot's group has on the endpoint.
async fn field(level: Level) -> Field {
    let world = World::new().await;
    let (robot, application_id, token) = world.robot("robot").await;
    let dev = world.group("dev", &[&robot]).await;
    world.group("ops", &[]).await;
    let grants = json!([{"group_name": "dev", "permission_level": level.as_str()},
        {"group_name": "ops", "permission_level": "CAN_MANAGE"}]);
    let endpoint = world.endpoint("e", grants).await;
    world.endpoint("hidden", json!([])).await;
    world.act("POST", "/api/2.0/secrets/scopes/create", json!({"scope": "s"})).await.is(200);
    let put = json!({"scope": "s", "key": "k", "string_value": "v"});
    world.act("POST", "/api/2.0/secrets/put", put).await.is(200);
    let admin = text(&world.scim("GET", "/Me", Value::Null).await.is(200), "id");
    let admins = world.group_id("admins").await;
    let ids = [robot, admin, admins, dev, "4711".to_owned()];
    let folders = folders(&world).await;
    Field { world, ids, application_id, endpoint, folders, tokens: vec![token] }
}

async fn folders(world: &World) -> [String; 2] {
    let mut ids = Vec::new();
    for name in ["given", "hidden"] {
        let path = format!("/Users/admin/{name}");
        world.act("POST", "/api/2.0/workspace/mkdirs", json!({"path": path})).await.is(200);
        let file = json!({"path": format!("{path}/f"), "format": "AUTO", "content": "eA=="});
        world.act("POST", "/api/2.0/workspace/import", file).await.is(200);
        let status = format!("/api/2.0/workspace/get-status?path={path}");
        ids.push(text(&world.act("GET", &status, Value::Null).await.is(200), "resource_id"));
    }
    let grants = json!({"access_control_list": [{"group_name": "dev", "permission_level": "CAN_EDIT"}]});
    world.act("PUT", &format!("/api/2.0/permissions/directories/{}", ids[0]), grants).await.is(200);
    ids.try_into().unwrap()
}

impl Field {
    async fn powers(&self) -> Vec<Powers> {
        let mut out = Vec::new();
        let folders = self.folders.each_ref().map(|id| format!("/api/2.0/permissions/directories/{id}"));
        for token in &self.tokens {
            let Some(principal) = self.world.known(token) else { continue };
            let snapshot = Arc::clone(&self.world.live.load());
            let level = |e: &Arc<policy::Endpoint>| Some((e.id.to_string(), permit::level(&principal, e)?));
            let read =
                async |path: &str| self.world.call(token, "GET", path, Value::Null).await.status.is_success();
            out.push(Powers {
                groups: principal.groups.iter().map(ToString::to_string).collect(),
                can_create: principal.can_create,
                levels: snapshot.endpoints.values().filter_map(level).collect(),
                reads_secret: read("/api/2.0/secrets/get?scope=s&key=k").await,
                manages_scope: read("/api/2.0/secrets/acls/list?scope=s").await,
                reads_file: read("/api/2.0/workspace/export?path=/Users/admin/hidden/f").await,
                manages_folder: read(&folders[0]).await || read(&folders[1]).await,
            });
        }
        out
    }

    async fn attempt(&mut self, attempt: &Attempt) {
        let token = self.tokens.last().unwrap().clone();
        let names = ["robot", "dev", "users"];
        let (method, path, body) = match attempt {
            Attempt::Scim { method, kind, target, body } => {
                let path = match *method {
                    "POST" => format!("{SCIM}/{kind}"),
                    _ => format!("{SCIM}/{kind}/{}", self.ids[*target]),
                };
                (*method, path, self.scim_body(*body))
            }
            Attempt::Token { body } => {
                let bodies = [json!({}), json!({"scopes": ["all-apis"]}), json!({"application_id": "admin"})];
                ("POST", "/api/2.0/token/create".to_owned(), bodies[*body].clone())
            }
            Attempt::OnBehalf { target } => {
                let body = json!({"application_id": self.named(*target)});
                ("POST", "/api/2.0/token-management/on-behalf-of/tokens".to_owned(), body)
            }
            Attempt::Secret { target } => {
                let id = &self.ids[*target];
                let path = format!("/api/2.0/accounts/servicePrincipals/{id}/credentials/secrets");
                ("POST", path, json!({}))
            }
            Attempt::Revoke { target } => {
                let id = &self.ids[*target];
                ("POST", format!("/api/tollgate/v1/service-principals/{id}/revoke-tokens"), json!({}))
            }
            Attempt::Grant { method, level, to } => {
                let entry = match to {
                    0 => json!({"service_principal_name": self.application_id, "permission_level": level}),
                    to => json!({"group_name": names[*to], "permission_level": level}),
                };
                let path = format!("/api/2.0/permissions/serving-endpoints/{}", self.endpoint);
                (*method, path, json!({"access_control_list": [entry]}))
            }
            Attempt::ScopeAcl { to } => {
                let principal = if *to == 0 { &self.application_id } else { names[*to] };
                let body = json!({"scope": "s", "principal": principal, "permission": "MANAGE"});
                ("POST", "/api/2.0/secrets/acls/put".to_owned(), body)
            }
            Attempt::CreateEndpoint { reference } => {
                let key = ["{{secrets/s/k}}", "{{secrets/#internal/oauth-signing-key}}"][*reference];
                let entity = json!({"name": "e", "external_model": {"name": "m", "provider": "openai",
                    "task": "llm/v1/chat", "openai_config": {"openai_api_key": key}}});
                let body = json!({"name": "mine", "config": {"served_entities": [entity]}});
                ("POST", "/api/2.0/serving-endpoints".to_owned(), body)
            }
            Attempt::Folder { how, at } => self.on_folder(*how, *at),
            Attempt::Route { at, target } => {
                let routes: Vec<_> =
                    tollgate_control::routes().filter(|r| r.method != http::Method::GET).collect();
                let route = routes[at % routes.len()];
                (route.method.as_str(), self.filled(route.path, *target), self.everything(*target))
            }
            Attempt::Login { target } => {
                let (id, secret) = (self.named(*target), &self.ids[*target]);
                let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
                let request = http::Request::post("/oidc/v1/token").body(form.into()).unwrap();
                self.keep(&self.world.send(request).await.body);
                return;
            }
        };
        let answer = self.world.call(&token, method, &path, body).await;
        // 501 is what a route that is refused by design says.
        let status = answer.status.as_u16();
        assert!(status < 500 || status == 501, "{method} {path}: {}", answer.body);
        self.keep(&answer.body);
    }

    fn on_folder(&self, how: usize, at: usize) -> (&'static str, String, Value) {
        let path =
            ["/Users/admin/given", "/Users/admin/hidden", "/Users/admin", "/Users/admin/given/../hidden"][at];
        let entry = json!({"service_principal_name": self.application_id, "permission_level": "CAN_MANAGE"});
        match how {
            0 => ("POST", "/api/2.0/workspace/mkdirs".to_owned(), json!({"path": format!("{path}/x")})),
            1 => {
                let file = json!({"path": format!("{path}/f"), "format": "AUTO", "content": "eQ==", "overwrite": true});
                ("POST", "/api/2.0/workspace/import".to_owned(), file)
            }
            2 => ("POST", "/api/2.0/workspace/delete".to_owned(), json!({"path": path, "recursive": true})),
            _ => {
                let path = format!("/api/2.0/permissions/directories/{}", self.folders[at % 2]);
                ("PATCH", path, json!({"access_control_list": [entry]}))
            }
        }
    }

    /// The path with what there is in place of its parameters.
    fn filled(&self, path: &str, target: usize) -> String {
        let parts = path.split('/').map(|part| match part {
            "{name}" => ["e", "hidden"][target % 2],
            "{id}" if path.contains("directories") => &self.folders[target % 2],
            "{id}" if path.contains("permissions") => &self.endpoint,
            part if part.starts_with('{') => &self.ids[target],
            part => part,
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// A body that is something to every route: each reads of it what it knows.
    fn everything(&self, target: usize) -> Value {
        let mut body = self.scim_body(target);
        let me = &self.application_id;
        let entity = json!({"name": "e", "external_model": {"name": "m", "provider": "openai",
            "task": "llm/v1/chat", "openai_config": {"openai_api_key": "{{secrets/s/k}}"}}});
        let fields = json!({
            "scope": "s", "key": "k", "string_value": "mine", "principal": me, "permission": "MANAGE",
            "initial_manage_principal": "users", "application_id": me, "token_id": self.ids[target],
            "name": "mine", "revision": 1, "served_entities": [entity], "config": {"served_entities": [entity]},
            "access_control_list": [{"service_principal_name": me, "permission_level": "CAN_MANAGE"}],
            "token": {"comment": "x"}, "path": "/Users/admin/hidden", "recursive": true,
        });
        if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
            body.extend(fields);
        }
        body
    }

    /// A token that came of it is used from then on.
    fn keep(&mut self, body: &Value) {
        let found = ["token_value", "access_token"].iter().find_map(|name| body[*name].as_str());
        self.tokens.extend(found.map(str::to_owned));
    }

    fn named(&self, target: usize) -> String {
        ["robot", "admin", "admins", "dev"]
            .get(target)
            .map_or(self.application_id.clone(), |n| (*n).to_owned())
    }

    fn scim_body(&self, which: usize) -> Value {
        let (robot, admins) = (&self.ids[0], &self.ids[2]);
        let entitled = json!([{"value": "serving-endpoint-create"}]);
        match which {
            0 => json!({"userName": "x", "displayName": "x", "groups": [{"value": admins}]}),
            1 => json!({"displayName": "dev", "members": [{"value": robot}], "entitlements": entitled}),
            2 => json!({"Operations": [{"op": "add", "path": "members", "value": [{"value": robot}]}]}),
            3 => json!({"Operations": [{"op": "add", "path": "groups", "value": [{"value": admins}]}]}),
            _ => json!({"Operations": [{"op": "add", "path": "entitlements", "value": entitled}]}),
        }
    }
}

#[test]
fn nobody_raises_their_own_permissions() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Each case has a store of its own, on disk.
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let level = prop::sample::select(vec![Level::View, Level::Query, Level::Manage]);
    let run = runner.run(&(level, attempts()), |(level, attempts)| {
        runtime.block_on(async {
            let mut field = field(level).await;
            let before = field.powers().await.remove(0);
            assert!(!before.reads_secret && !before.can_create && !before.manages_scope);
            assert!(!before.reads_file && !before.manages_folder);
            for attempt in &attempts {
                field.attempt(attempt).await;
                for now in field.powers().await {
                    prop_assert!(!now.exceed(&before), "{:?} after {:?}, {:?}", now, attempt, before);
                }
            }
            Ok(())
        })
    });
    run.unwrap();
}
