//! Which calls leave a record, and when.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use journal::audit::{AuditPhase, AuditRecord};
use serde_json::{Value, json};

use crate::world::{SCIM, World, text};

#[tokio::test]
async fn a_change_is_recorded_before_and_after() {
    let world = World::new().await;
    world.audit.take();
    world.act("POST", "/api/2.0/secrets/scopes/create", json!({"scope": "s"})).await.is(200);
    let records = world.audit.take();
    let phases: Vec<&AuditPhase> = records.iter().map(|r| &r.phase).collect();
    assert!(
        matches!(phases[..], [AuditPhase::Allowed { .. }, AuditPhase::Done { status: 200, .. }]),
        "{phases:?}"
    );
    assert!(records.iter().all(|r| r.principal.as_deref() == Some("admin")));
}

#[tokio::test]
async fn a_refused_read_is_recorded_wherever_it_is_refused_and_others_are_not() {
    let world = World::new().await;
    world.act("POST", "/api/2.0/secrets/scopes/create", json!({"scope": "s"})).await.is(200);
    let (_, name, robot) = world.robot("robot").await;
    world.audit.take();
    // The handler refuses, because only the request names the scope.
    world.call(&robot, "GET", "/api/2.0/secrets/list?scope=s", Value::Null).await.is(403);
    let records = world.audit.take();
    assert!(matches!(&records[..], [only] if is_denied(only)), "{records:?}");
    assert_eq!(records[0].principal.as_deref(), Some(name.as_str()));
    assert_eq!(records[0].request, r#"{"scope":"s"}"#);
    world
        .call(&robot, "GET", "/api/2.0/workspace/export?path=/Users/admin/x&format=AUTO", Value::Null)
        .await
        .is(403);
    let records = world.audit.take();
    assert_eq!(records.last().unwrap().request, r#"{"path":"/Users/admin/x"}"#);
    assert!(matches!(records.last().unwrap().phase, AuditPhase::Done { status: 403, .. }), "{records:?}");
    world.act("GET", "/api/2.0/secrets/list?scope=s", Value::Null).await.is(200);
    assert!(world.audit.take().is_empty());
}

/// With the reason that the caller was told.
fn is_denied(record: &AuditRecord) -> bool {
    matches!(&record.phase, AuditPhase::Denied { status: 403, message } if message.contains("on secret scope s"))
}

/// The object before and after one call.
async fn seen(world: &World, method: &str, path: &str, body: Value) -> (Value, Value) {
    world.audit.take();
    let answer = world.act(method, path, body).await;
    assert!(answer.status.is_success(), "{method} {path}: {}", answer.body);
    let records = world.audit.take();
    let phases: Vec<&AuditPhase> = records.iter().map(|r| &r.phase).collect();
    assert!(
        matches!(phases[..], [AuditPhase::Allowed { .. }, AuditPhase::Done { .. }]),
        "{method} {path}: {phases:?}"
    );
    let object = |phase: &AuditPhase| match phase {
        AuditPhase::Allowed { before: text } | AuditPhase::Done { after: text, .. } => {
            serde_json::from_str(text).unwrap_or(Value::Null)
        }
        AuditPhase::Denied { .. } => Value::Null,
    };
    (object(phases[0]), object(phases[1]))
}

#[tokio::test]
async fn scopes_secrets_and_their_lists_are_shown_before_and_after_without_values() {
    let world = World::new().await;
    let at = |path: &str| format!("/api/2.0/secrets/{path}");
    let (before, after) = seen(&world, "POST", &at("scopes/create"), json!({"scope": "s"})).await;
    assert_eq!(before, Value::Null);
    assert_eq!(after["acls"], json!([{"principal": "admin", "permission": "MANAGE"}]));
    let put = json!({"scope": "s", "key": "k", "string_value": "hush-hush"});
    let (before, after) = seen(&world, "POST", &at("put"), put.clone()).await;
    assert!(before.is_null() && after["key"] == "k" && after["last_updated_timestamp"].is_i64(), "{after}");
    let (before, again) = seen(&world, "POST", &at("put"), put).await;
    assert_eq!(before, after);
    assert!(!again.to_string().contains("hush-hush"));
    let acl = |permission: &str| json!({"scope": "S", "principal": "users", "permission": permission});
    let (before, after) = seen(&world, "POST", &at("acls/put"), acl("READ")).await;
    assert!(before.is_null() && after["permission"] == "READ", "{after}");
    let (before, after) = seen(&world, "POST", &at("acls/put"), acl("WRITE")).await;
    assert_eq!((&before["permission"], &after["permission"]), (&json!("READ"), &json!("WRITE")));
    let gone = json!({"scope": "s", "principal": "users"});
    let (before, after) = seen(&world, "POST", &at("acls/delete"), gone).await;
    assert_eq!((&before["permission"], &after), (&json!("WRITE"), &json!({})));
    let (before, _) = seen(&world, "POST", &at("delete"), json!({"scope": "s", "key": "k"})).await;
    assert_eq!(before["key"], "k");
    let (before, after) = seen(&world, "POST", &at("scopes/delete"), json!({"scope": "s"})).await;
    assert_eq!((&before["scope"], &after), (&json!("s"), &json!({})));
}

#[tokio::test]
async fn users_groups_and_service_principals_are_shown_before_and_after() {
    let world = World::new().await;
    let (robot, _, _) = world.robot("robot").await;
    let (user, group) = (world.user("ann").await, world.group("dev", &[]).await);
    for (kind, id) in [("Users", &user), ("Groups", &group), ("ServicePrincipals", &robot)] {
        let path = format!("{SCIM}/{kind}/{id}");
        let rename = json!({"Operations": [{"op": "replace", "path": "displayName", "value": "new"}]});
        let (before, after) = seen(&world, "PATCH", &path, rename).await;
        assert!(before["id"] == **id && before["displayName"] != "new", "{before}");
        assert!(after["id"] == **id && after["displayName"] == "new", "{after}");
        let (before, after) = seen(&world, "DELETE", &path, Value::Null).await;
        assert_eq!((&before["displayName"], &after), (&json!("new"), &Value::Null), "{kind}");
    }
    let (before, after) = seen(&world, "POST", &format!("{SCIM}/Users"), json!({"userName": "bob"})).await;
    assert!(before.is_null() && after["userName"] == "bob", "{after}");
}

#[tokio::test]
async fn tokens_and_client_secrets_are_shown_before_and_after_without_their_text() {
    let world = World::new().await;
    let (robot, _, _) = world.robot("robot").await;
    let (before, after) = seen(&world, "POST", "/api/2.0/token/create", json!({"comment": "one"})).await;
    assert!(before.is_null() && after["token_value"] == "[elided]", "{after}");
    let id = text(&after["token_info"], "token_id");
    let patch = json!({"token": {"comment": "two"}});
    let (before, after) = seen(&world, "PATCH", &format!("/api/2.0/token/{id}"), patch).await;
    assert_eq!((&before["comment"], &after["comment"]), (&json!("one"), &json!("two")));
    let (before, _) = seen(&world, "POST", "/api/2.0/token/delete", json!({"token_id": id})).await;
    assert_eq!((&before["comment"], &before["token_id"]), (&json!("two"), &json!(id)));
    let secrets = format!("/api/2.0/accounts/servicePrincipals/{robot}/credentials/secrets");
    let (_, made) = seen(&world, "POST", &secrets, json!({})).await;
    assert_eq!(made["secret"], "[elided]");
    let (before, after) =
        seen(&world, "DELETE", &format!("{secrets}/{}", text(&made, "id")), Value::Null).await;
    assert_eq!((&before["id"], &before["service_principal_id"]), (&made["id"], &json!(robot)));
    assert_eq!(after, json!({}));
}

#[tokio::test]
async fn endpoints_and_their_grants_are_shown_before_and_after() {
    let world = World::new().await;
    let id = world.endpoint("e", json!([])).await;
    let grants = json!({"access_control_list": [{"group_name": "users", "permission_level": "CAN_QUERY"}]});
    let path = format!("/api/2.0/permissions/serving-endpoints/{id}");
    let (before, after) = seen(&world, "PATCH", &path, grants).await;
    let users = |state: &Value| state["grants"].to_string().contains("users");
    assert!(!users(&before) && users(&after), "{before} {after}");
    let tags = json!({"add_tags": [{"key": "team", "value": "x"}]});
    let (before, after) = seen(&world, "PATCH", "/api/2.0/serving-endpoints/e/tags", tags).await;
    assert_eq!((&before["tags"], &after["tags"][0]["value"]), (&json!([]), &json!("x")));
    let (before, after) = seen(&world, "DELETE", "/api/2.0/serving-endpoints/e", Value::Null).await;
    assert_eq!((&before["name"], &after), (&json!("e"), &json!({})));
}

#[tokio::test]
async fn what_a_scope_refuses_is_recorded_as_refused_and_not_as_allowed() {
    let world = World::new().await;
    world.act("POST", "/api/2.0/secrets/scopes/create", json!({"scope": "s"})).await.is(200);
    let (_, _, robot) = world.robot("robot").await;
    world.audit.take();
    let put = json!({"scope": "s", "key": "k", "string_value": "v"});
    world.call(&robot, "POST", "/api/2.0/secrets/put", put).await.is(403);
    let records = world.audit.take();
    assert!(matches!(&records[..], [only] if is_denied(only)), "{records:?}");
    assert!(records[0].request.contains("\"s\"") && !records[0].request.contains("\"v\""), "{records:?}");
}

#[tokio::test]
async fn files_and_folders_are_shown_before_and_after_without_what_is_in_them() {
    let world = World::new().await;
    let at = |path: &str| format!("/api/2.0/workspace/{path}");
    let (before, after) =
        seen(&world, "POST", &at("mkdirs"), json!({"path": "/Workspace/Users/admin/b"})).await;
    assert!(before.is_null() && after["path"] == "/Users/admin/b", "{after}");
    let id = text(&after, "object_id");
    let content = STANDARD.encode(r#"{"x": "hush-hush", "path": "/"}"#);
    let file =
        json!({"path": "/Users/admin/b/state", "format": "AUTO", "content": content, "overwrite": true});
    let (before, after) = seen(&world, "POST", &at("import"), file.clone()).await;
    assert!(before.is_null() && after["size"] == 31, "{after}");
    let (before, _) = seen(&world, "POST", &at("import"), file).await;
    assert_eq!(before["size"], 31);
    // Who takes a file away is recorded, and what, but not its content.
    for path in [
        at("export?path=/Users/admin/b/state&direct_download=true"),
        at("export?path=/Users/admin/b/state"),
        "/api/2.0/workspace-files/Workspace%2FUsers%2Fadmin%2Fb%2Fstate".to_owned(),
    ] {
        let (before, after) = seen(&world, "GET", &path, Value::Null).await;
        assert_eq!((&before, &before["path"]), (&after, &json!("/Users/admin/b/state")), "{path}");
        assert!(!after.to_string().contains("hush"), "{path}: {after}");
    }
    let permissions = format!("/api/2.0/permissions/directories/{id}");
    let body = json!({"access_control_list": [{"group_name": "users", "permission_level": "CAN_READ"}]});
    let (before, after) = seen(&world, "PUT", &permissions, body).await;
    let grant = json!([{"grantee": "users", "permission_level": "CAN_READ"}]);
    assert_eq!((&before["grants"], &after["grants"]), (&json!([]), &grant));
    let gone = json!({"path": "/Users/admin/b", "recursive": true});
    let (before, after) = seen(&world, "POST", &at("delete"), gone).await;
    assert_eq!((&before["grants"], &after), (&grant, &json!({})));
}

const LONG: usize = 60_000;

/// Bytes of all texts that a caller can choose.
fn length(record: &AuditRecord) -> usize {
    let phase = match &record.phase {
        AuditPhase::Allowed { before: text }
        | AuditPhase::Done { after: text, .. }
        | AuditPhase::Denied { message: text, .. } => text.len(),
    };
    phase + record.user_agent.len() + record.path.len() + record.request.len()
}

#[tokio::test]
async fn what_is_kept_of_a_refused_call_is_short_whoever_calls() {
    let world = World::new().await;
    world.act("POST", "/api/2.0/secrets/scopes/create", json!({"scope": "s"})).await.is(200);
    let (_, _, robot) = world.robot("robot").await;
    let long = "x".repeat(LONG);
    world.audit.take();
    let path = format!("/api/2.0/serving-endpoints/{long}");
    let agent = Request::builder().uri(path.as_str()).header("user-agent", &long);
    world.send(agent.body(Body::empty()).unwrap()).await.is(401);
    world.call("dapi-unknown", "DELETE", &path, Value::Null).await.is(403);
    world.call(&robot, "GET", &path, Value::Null).await.is(404);
    let part = &long[..LONG / 3];
    let query = format!("/api/2.0/secrets/list?scope=s&key={part}&principal={part}&path={part}");
    world.call(&robot, "GET", &query, Value::Null).await.is(403);
    let put = json!({"scope": "s", "key": "k", "string_value": "v", "comment": long});
    world.call(&robot, "POST", "/api/2.0/secrets/put", put).await.is(403);
    let records = world.audit.take();
    assert_eq!(records.len(), 5, "{records:?}");
    for record in &records {
        assert!(matches!(record.phase, AuditPhase::Denied { .. }) && length(record) < 8000, "{record:?}");
    }
    assert_eq!(records[0].path, path[..1024]);
    assert_eq!(records[4].request, "[longer than 4 KiB]");
    // Let in, and then refused: what was asked is in the first of its records alone.
    let scope = json!({"scope": long});
    world.call(&robot, "POST", "/api/2.0/secrets/scopes/create", scope).await.is(400);
    let records = world.audit.take();
    let ends: Vec<bool> = records.iter().map(|r| matches!(r.phase, AuditPhase::Done { .. })).collect();
    assert_eq!(ends, [false, true], "{records:?}");
    assert_eq!(records[1].request, "[longer than 4 KiB]");
}

#[tokio::test]
async fn nothing_is_kept_of_the_body_of_a_login() {
    let world = World::new().await;
    let long = "x".repeat(LONG);
    for body in [json!({"grant_type": long}).to_string(), format!("grant_type={long}&scope={long}")] {
        let login = Request::builder().method("POST").uri("/oidc/v1/token").header("host", "h");
        world.send(login.body(Body::from(body)).unwrap()).await.is(400);
        let records = world.audit.take();
        let phases = records.iter().map(|r| &r.phase).collect::<Vec<_>>();
        assert!(
            matches!(phases[..], [AuditPhase::Allowed { .. }, AuditPhase::Done { status: 400, .. }]),
            "{phases:?}"
        );
        assert!(
            records.iter().all(|record| record.request.is_empty() && length(record) < 1000),
            "{records:?}"
        );
    }
}
