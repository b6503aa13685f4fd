//! Secret scopes, values and access control lists: names, limits, who may do what, and how it is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::world::World;

const SECRETS: &str = "/api/2.0/secrets";

async fn send(world: &World, token: &str, what: &str, body: Value) -> (u16, Value) {
    let answer = world.call(token, "POST", &format!("{SECRETS}/{what}"), body).await;
    (answer.status.as_u16(), answer.body)
}

async fn ask(world: &World, token: &str, what: &str) -> (u16, Value) {
    let answer = world.call(token, "GET", &format!("{SECRETS}/{what}"), Value::Null).await;
    (answer.status.as_u16(), answer.body)
}

#[track_caller]
fn done(answer: (u16, Value)) -> Value {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1
}

#[track_caller]
fn refused(answer: (u16, Value), status: u16, code: &str) {
    assert_eq!((answer.0, answer.1["error_code"].as_str()), (status, Some(code)), "{}", answer.1);
    assert!(answer.1["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", answer.1);
}

async fn scope(world: &World, token: &str, name: &str) {
    assert_eq!(done(send(world, token, "scopes/create", json!({"scope": name})).await), json!({}));
}

async fn put(world: &World, token: &str, scope: &str, key: &str, value: &str) -> (u16, Value) {
    send(world, token, "put", json!({"scope": scope, "key": key, "string_value": value})).await
}

async fn opened(world: &World, token: &str, scope: &str, key: &str) -> Vec<u8> {
    let body = done(ask(world, token, &format!("get?scope={scope}&key={key}")).await);
    assert_eq!(body["key"], key);
    STANDARD.decode(body["value"].as_str().unwrap()).unwrap()
}

async fn allow(world: &World, scope: &str, principal: &str, permission: &str) {
    let body = json!({"scope": scope, "principal": principal, "permission": permission});
    done(send(world, &world.admin, "acls/put", body).await);
}

#[tokio::test]
async fn names_have_their_rules() {
    let world = World::new().await;
    let (admin, longest) = (&world.admin, "n".repeat(128));
    scope(&world, admin, "s").await;
    for good in ["a", "A-b_c@d.e/f", "0", longest.as_str()] {
        scope(&world, admin, &format!("{good}{}", if good.len() < 128 { "-scope" } else { "" })).await;
        done(put(&world, admin, "s", good, "v").await);
        assert_eq!(opened(&world, admin, "s", good).await, b"v");
    }
    let too_long = "n".repeat(129);
    for bad in ["", " ", "a b", "a#b", "#internal", "a:b", "ä", "a\u{0}", "a\n", "{{a}}", too_long.as_str()]
    {
        let created = send(&world, admin, "scopes/create", json!({"scope": bad})).await;
        refused(created, 400, "INVALID_PARAMETER_VALUE");
        refused(put(&world, admin, "s", bad, "v").await, 400, "INVALID_PARAMETER_VALUE");
    }
    assert_eq!(done(ask(&world, admin, "list?scope=s").await)["secrets"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn scope_names_are_the_same_in_any_case_and_keys_are_not() {
    let world = World::new().await;
    let admin = &world.admin;
    scope(&world, admin, "Team-Keys").await;
    for name in ["Team-Keys", "team-keys", "TEAM-KEYS"] {
        // 400, not 409: clients go by it.
        let again = send(&world, admin, "scopes/create", json!({"scope": name})).await;
        refused(again, 400, "RESOURCE_ALREADY_EXISTS");
        done(put(&world, admin, name, "k", name).await);
        assert_eq!(opened(&world, admin, "team-KEYS", "k").await, name.as_bytes());
    }
    let scopes = done(ask(&world, admin, "scopes/list").await);
    assert_eq!(scopes, json!({"scopes": [{"name": "Team-Keys", "backend_type": "DATABRICKS"}]}));
    refused(ask(&world, admin, "get?scope=team-keys&key=K").await, 404, "RESOURCE_DOES_NOT_EXIST");
    done(send(&world, admin, "scopes/delete", json!({"scope": "tEAM-kEYS"})).await);
    assert_eq!(done(ask(&world, admin, "scopes/list").await)["scopes"], json!([]));
}

#[tokio::test]
async fn a_value_is_text_or_bytes_of_at_most_128_kib() {
    let world = World::new().await;
    let admin = &world.admin;
    scope(&world, admin, "s").await;
    let bytes: Vec<u8> = (0..=255).collect();
    let body = json!({"scope": "s", "key": "bytes", "bytes_value": STANDARD.encode(&bytes)});
    assert_eq!(done(send(&world, admin, "put", body).await), json!({}));
    assert_eq!(opened(&world, admin, "s", "bytes").await, bytes);
    for text in ["", "ünïcode\r\n"] {
        done(put(&world, admin, "s", "text", text).await);
        assert_eq!(opened(&world, admin, "s", "text").await, text.as_bytes());
    }
    let (most, more) = ("x".repeat(128 << 10), "x".repeat((128 << 10) + 1));
    done(put(&world, admin, "s", "most", &most).await);
    assert_eq!(opened(&world, admin, "s", "most").await, most.as_bytes());
    refused(put(&world, admin, "s", "more", &more).await, 400, "INVALID_PARAMETER_VALUE");
    // The limit is on the value, not on its base64.
    for (key, value, fits) in [("most-bytes", &most, true), ("more-bytes", &more, false)] {
        let body = json!({"scope": "s", "key": key, "bytes_value": STANDARD.encode(value)});
        let answer = send(&world, admin, "put", body).await;
        if fits { drop(done(answer)) } else { refused(answer, 400, "INVALID_PARAMETER_VALUE") }
    }
    for wrong in [
        json!({}),
        json!({"string_value": "a", "bytes_value": "YQ=="}),
        json!({"string_value": null}),
        json!({"bytes_value": "no base64!"}),
    ] {
        let mut body = json!({"scope": "s", "key": "wrong"});
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        refused(send(&world, admin, "put", body).await, 400, "INVALID_PARAMETER_VALUE");
    }
    refused(ask(&world, admin, "get?scope=s&key=wrong").await, 404, "RESOURCE_DOES_NOT_EXIST");
}

#[tokio::test]
async fn lists_have_no_values() {
    let world = World::new().await;
    let admin = &world.admin;
    scope(&world, admin, "s").await;
    done(put(&world, admin, "s", "k", "the-value").await);
    let list = done(ask(&world, admin, "list?scope=s").await);
    let entry = list["secrets"][0].as_object().unwrap();
    assert_eq!(entry.keys().collect::<Vec<_>>(), ["key", "last_updated_timestamp"]);
    assert!(entry["last_updated_timestamp"].as_i64().unwrap() > 1_600_000_000_000);
    assert!(!list.to_string().contains("the-value"));
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let world = World::new().await;
    let admin = &world.admin;
    scope(&world, admin, "s").await;
    let missing = "RESOURCE_DOES_NOT_EXIST";
    for what in
        ["list?scope=none", "get?scope=none&key=k", "acls/list?scope=none", "acls/get?scope=none&principal=p"]
    {
        refused(ask(&world, admin, what).await, 404, missing);
    }
    for what in ["get?scope=s&key=k", "acls/get?scope=s&principal=nobody"] {
        refused(ask(&world, admin, what).await, 404, missing);
    }
    refused(put(&world, admin, "none", "k", "v").await, 404, missing);
    for (what, body) in [
        ("scopes/delete", json!({"scope": "none"})),
        ("delete", json!({"scope": "none", "key": "k"})),
        ("delete", json!({"scope": "s", "key": "k"})),
        ("acls/put", json!({"scope": "none", "principal": "p", "permission": "READ"})),
        ("acls/delete", json!({"scope": "s", "principal": "nobody"})),
    ] {
        refused(send(&world, admin, what, body).await, 404, missing);
    }
    // The server's own scope is nobody's.
    refused(ask(&world, admin, "list?scope=%23internal").await, 404, missing);
    refused(put(&world, admin, "#internal", "k", "v").await, 404, missing);
}

/// What each level allows, in one row: read, write, manage.
async fn levels(world: &World, token: &str) -> [u16; 3] {
    let read = ask(world, token, "get?scope=s&key=k").await.0;
    assert_eq!(ask(world, token, "list?scope=s").await.0, read);
    let write = put(world, token, "s", "w", "v").await.0;
    let manage = ask(world, token, "acls/list?scope=s").await.0;
    let body = json!({"scope": "s", "principal": "somebody", "permission": "READ"});
    assert_eq!(send(world, token, "acls/put", body).await.0, manage);
    [read, write, manage]
}

#[tokio::test]
async fn each_level_includes_those_below() {
    let world = World::new().await;
    scope(&world, &world.admin, "s").await;
    done(put(&world, &world.admin, "s", "k", "v").await);
    let (_, name, robot) = world.robot("robot").await;
    assert_eq!(levels(&world, &robot).await, [403, 403, 403]);
    for what in ["get?scope=s&key=k", "list?scope=s", "acls/list?scope=s"] {
        refused(ask(&world, &robot, what).await, 403, "PERMISSION_DENIED");
    }
    for (level, expected) in [
        ("READ", [200, 403, 403]),
        ("WRITE", [200, 200, 403]),
        ("MANAGE", [200, 200, 200]),
        ("READ", [200, 403, 403]),
    ] {
        allow(&world, "S", &name, level).await;
        assert_eq!(levels(&world, &robot).await, expected, "{level}");
    }
    let acl = done(ask(&world, &world.admin, &format!("acls/get?scope=s&principal={name}")).await);
    assert_eq!(acl, json!({"principal": name, "permission": "READ"}));
    refused(send(&world, &robot, "scopes/delete", json!({"scope": "s"})).await, 403, "PERMISSION_DENIED");
    refused(
        send(&world, &robot, "delete", json!({"scope": "s", "key": "k"})).await,
        403,
        "PERMISSION_DENIED",
    );
    done(send(&world, &world.admin, "acls/delete", json!({"scope": "s", "principal": name})).await);
    assert_eq!(levels(&world, &robot).await, [403, 403, 403]);
    for wrong in ["", "read", "OWNER"] {
        let body = json!({"scope": "s", "principal": name, "permission": wrong});
        refused(send(&world, &world.admin, "acls/put", body).await, 400, "INVALID_PARAMETER_VALUE");
    }
}

#[tokio::test]
async fn groups_give_what_their_members_lack() {
    let world = World::new().await;
    scope(&world, &world.admin, "s").await;
    done(put(&world, &world.admin, "s", "k", "v").await);
    let (id, name, member) = world.robot("member").await;
    let (_, _, outsider) = world.robot("outsider").await;
    world.group("team", &[&id]).await;
    allow(&world, "s", "team", "WRITE").await;
    assert_eq!(levels(&world, &member).await, [200, 200, 403]);
    assert_eq!(levels(&world, &outsider).await, [403, 403, 403]);
    // The highest of several counts.
    allow(&world, "s", &name, "READ").await;
    assert_eq!(levels(&world, &member).await, [200, 200, 403]);
    allow(&world, "s", "users", "READ").await;
    assert_eq!(levels(&world, &outsider).await, [200, 403, 403]);
    // An entry names a user or a group: nobody may be called like a group and get what is meant for it.
    world.scim("POST", "/Users", json!({"userName": "team"})).await.is(409);
}

#[tokio::test]
async fn the_creator_manages_and_shares_with_all_when_asked() {
    let world = World::new().await;
    let (_, creator, token) = world.robot("creator").await;
    let (_, _, other) = world.robot("other").await;
    scope(&world, &token, "mine").await;
    let acls = done(ask(&world, &token, "acls/list?scope=mine").await);
    assert_eq!(acls, json!({"items": [{"principal": creator, "permission": "MANAGE"}]}));
    assert_eq!(done(ask(&world, &other, "scopes/list").await)["scopes"], json!([]), "others do not see it");
    refused(ask(&world, &other, "list?scope=mine").await, 403, "PERMISSION_DENIED");

    let body = json!({"scope": "ours", "initial_manage_principal": "users"});
    done(send(&world, &token, "scopes/create", body).await);
    done(put(&world, &other, "ours", "k", "v").await);
    done(ask(&world, &other, "acls/list?scope=ours").await);
    for (field, value) in [("initial_manage_principal", "admins"), ("scope_backend_type", "AZURE_KEYVAULT")] {
        let body = json!({"scope": "another", field: value});
        refused(send(&world, &token, "scopes/create", body).await, 400, "INVALID_PARAMETER_VALUE");
    }
}

#[tokio::test]
async fn there_is_an_end_to_how_many() {
    let world = World::new().await;
    let admin = &world.admin;
    scope(&world, admin, "s").await;
    for at in 0..1000 {
        world.store.put_secret("s", &format!("k{at}"), b"v").await.unwrap();
    }
    refused(put(&world, admin, "s", "one-more", "v").await, 400, "RESOURCE_LIMIT_EXCEEDED");
    done(put(&world, admin, "s", "k7", "overwritten").await);
    for at in 1..1000 {
        let new = store::model::NewScope { name: &format!("s{at}"), hidden: false, managers: &[] };
        world.store.create_scope(new).await.unwrap();
    }
    let created = send(&world, admin, "scopes/create", json!({"scope": "one-more"})).await;
    refused(created, 400, "RESOURCE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn a_body_that_is_none_is_refused() {
    let world = World::new().await;
    for (token, status) in [("", 401), ("dapi-nobody", 403), (world.admin.as_str(), 400)] {
        for what in ["scopes/create", "put", "delete", "acls/put", "acls/delete", "scopes/delete"] {
            let answer = send(&world, token, what, json!(["not", "an", "object"])).await;
            assert_eq!(answer.0, status, "{what}: {}", answer.1);
        }
    }
}
