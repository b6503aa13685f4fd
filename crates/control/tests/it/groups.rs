//! Groups, groups in groups, and the permissions that come of them.

use policy::permit;
use serde_json::{Value, json};

use crate::world::{SCIM, World, text};

#[tokio::test]
async fn a_group_lives_and_is_gone() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let id = world.group("dev", &[&ann]).await;
    let path = format!("/Groups/{id}");
    let made = world.scim("GET", &path, Value::Null).await.is(200);
    assert_eq!(made["members"][0]["display"], "ann");
    assert_eq!(made["members"][0]["$ref"], format!("Users/{ann}"));
    let add = json!([{"op": "add", "path": "members", "value": [{"value": bob}]},
        {"op": "replace", "path": "displayName", "value": "devs"}]);
    let patched = world.patch(&path, add).await.is(200);
    assert_eq!((patched["members"].as_array().unwrap().len(), &patched["displayName"]), (2, &json!("devs")));
    let remove = json!([{"op": "remove", "path": format!("members[value eq \"{ann}\"]")}]);
    let patched = world.patch(&path, remove).await.is(200);
    assert_eq!(patched["members"][0]["value"], bob);
    let user = world.scim("GET", &format!("/Users/{bob}"), Value::Null).await.is(200);
    let expected = json!([
        {"display": "devs", "value": id, "$ref": format!("Groups/{id}"), "type": "direct"},
        {"display": "users", "value": world.group_id("users").await,
            "$ref": format!("Groups/{}", world.group_id("users").await), "type": "indirect"},
    ]);
    assert_eq!(user["groups"], expected);
    // From the user's side.
    let ann_path = format!("/Users/{ann}");
    world.patch(&ann_path, json!([{"op": "add", "path": "groups", "value": [{"value": id}]}])).await.is(200);
    assert_eq!(world.scim("GET", &path, Value::Null).await.is(200)["members"].as_array().unwrap().len(), 2);
    let put = world.scim("PUT", &path, json!({"displayName": "devs"})).await.is(200);
    assert!(put.get("members").is_none());
    world.patch(&path, json!([{"op": "add", "path": "members", "value": [{"value": "1"}]}])).await.is(404);
    world.patch(&path, json!([])).await.is(400);
    world.scim("DELETE", &path, Value::Null).await.is(204);
    world.scim("GET", &path, Value::Null).await.is(404);
}

#[tokio::test]
async fn an_empty_item_is_nothing() {
    let world = World::new().await;
    // The Terraform provider's way to say that a group has no entitlements.
    let group = json!({"displayName": "dev", "entitlements": [{}]});
    let made = world.scim("POST", "/Groups", group).await.is(201);
    assert!(made.get("entitlements").is_none(), "{made}");
    let entitled = json!([{"op": "add", "path": "entitlements", "value": [{"value": "workspace-access"}]}]);
    let path = format!("/Groups/{}", text(&made, "id"));
    world.patch(&path, entitled).await.is(200);
    let emptied = world.patch(&path, json!([{"op": "replace", "path": "entitlements", "value": [{}]}])).await;
    assert!(emptied.is(200).get("entitlements").is_none());
    world.scim("POST", "/Groups", json!({"displayName": "x", "entitlements": [{"type": "t"}]})).await.is(400);
}

#[tokio::test]
async fn admins_and_users_stay() {
    let world = World::new().await;
    for name in ["admins", "users"] {
        let path = format!("/Groups/{}", world.group_id(name).await);
        world.scim("DELETE", &path, Value::Null).await.is(400);
        let rename = json!([{"op": "replace", "path": "displayName", "value": "x"}]);
        world.patch(&path, rename).await.is(400);
    }
    // Everybody is in `users`, whatever is written.
    let ann = world.user("ann").await;
    let users = format!("/Groups/{}", world.group_id("users").await);
    world.patch(&users, json!([{"op": "remove", "path": "members"}])).await.is(200);
    let members = world.scim("GET", &users, Value::Null).await.is(200)["members"].clone();
    assert!(members.as_array().unwrap().iter().any(|m| m["value"] == ann));
    // Else everybody would be an administrator.
    let admins = format!("/Groups/{}", world.group_id("admins").await);
    let add = json!([{"op": "add", "path": "members", "value": [{"value": world.group_id("users").await}]}]);
    world.patch(&admins, add).await.is(400);
}

#[tokio::test]
async fn circles_are_refused() {
    let world = World::new().await;
    let inner = world.group("inner", &[]).await;
    let middle = world.group("middle", &[&inner]).await;
    let outer = world.group("outer", &[&middle]).await;
    for member in [&inner, &middle, &outer] {
        let add = json!([{"op": "add", "path": "members", "value": [{"value": member}]}]);
        let error = world.patch(&format!("/Groups/{inner}"), add).await.is(400);
        assert!(text(&error, "detail").contains("circle"));
    }
    // Two ways to the same group are no circle.
    let add = json!([{"op": "add", "path": "members", "value": [{"value": inner}]}]);
    world.patch(&format!("/Groups/{outer}"), add).await.is(200);
}

#[tokio::test]
async fn groups_in_groups_give_permissions() {
    let world = World::new().await;
    let (robot, _, token) = world.robot("robot").await;
    let inner = world.group("inner", &[&robot]).await;
    let outer = world.group("outer", &[&inner]).await;
    let grants = json!([{"group_name": "outer", "permission_level": "CAN_QUERY"}]);
    world.endpoint("e", grants).await;
    let level = |world: &World| {
        let snapshot = world.live.load();
        permit::level(&world.known(&token).unwrap(), &snapshot.endpoints["e"])
    };
    assert_eq!(level(&world), Some(policy::Level::Query));
    world.call(&token, "GET", "/api/2.0/serving-endpoints/e", Value::Null).await.is(200);
    // The grant moves along with the name.
    let rename = json!([{"op": "replace", "path": "displayName", "value": "renamed"}]);
    world.patch(&format!("/Groups/{outer}"), rename).await.is(200);
    assert_eq!(level(&world), Some(policy::Level::Query));
    // Out of the outer group, the inner one gives nothing.
    world.patch(&format!("/Groups/{outer}"), json!([{"op": "remove", "path": "members"}])).await.is(200);
    assert_eq!(level(&world), None);
    world.call(&token, "GET", "/api/2.0/serving-endpoints/e", Value::Null).await.is(403);
    // A group of the same name is another group.
    world.scim("DELETE", &format!("/Groups/{outer}"), Value::Null).await.is(204);
    world.group("renamed", &[&robot]).await;
    assert_eq!(level(&world), None);
    // In `admins` by way of another group.
    let admins = format!("/Groups/{}", world.group_id("admins").await);
    let add = json!([{"op": "add", "path": "members", "value": [{"value": inner}]}]);
    world.patch(&admins, add).await.is(200);
    assert_eq!(level(&world), Some(policy::Level::Manage));
    world.call(&token, "POST", &format!("{SCIM}/Users"), json!({"userName": "new"})).await.is(201);
}

#[tokio::test]
async fn the_entitlement_lets_create_and_nothing_else() {
    let world = World::new().await;
    let (robot, _, token) = world.robot("robot").await;
    let create = async |world: &World| {
        let path = "/api/2.0/serving-endpoints";
        world.call(&token, "POST", path, json!({"name": "x"})).await.status.as_u16()
    };
    assert_eq!(create(&world).await, 403);
    let dev = world.group("dev", &[&robot]).await;
    for (path, status) in [(format!("/Groups/{dev}"), 400), (format!("/ServicePrincipals/{robot}"), 400)] {
        let add =
            json!([{"op": "add", "path": "entitlements", "value": [{"value": "serving-endpoint-create"}]}]);
        world.patch(&path, add).await.is(200);
        // Let in, and told that a config is missing.
        assert_eq!(create(&world).await, status, "{path}");
        world.patch(&path, json!([{"op": "remove", "path": "entitlements"}])).await.is(200);
        assert_eq!(create(&world).await, 403, "{path}");
    }
    let other = json!([{"op": "add", "path": "entitlements", "value": [{"value": "workspace-access"}]}]);
    world.patch(&format!("/ServicePrincipals/{robot}"), other).await.is(200);
    assert_eq!(create(&world).await, 403);
}
