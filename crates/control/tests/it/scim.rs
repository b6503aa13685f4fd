//! Users and service principals: their lives, lists of them, and the last administrator.

use serde_json::{Value, json};

use crate::world::{SCIM, World, ids, text};

#[tokio::test]
async fn a_user_lives_and_is_gone() {
    let world = World::new().await;
    let asked = json!({"userName": "ann@example.com", "name": {"givenName": "Ann", "familyName": "Lee"},
        "entitlements": [{"value": "workspace-access"}], "externalId": "x1"});
    let made = world.scim("POST", "/Users", asked).await.is(201);
    let id = text(&made, "id");
    assert!(id.parse::<i64>().unwrap() < 1 << 53, "{id}");
    assert_eq!(made["displayName"], "Ann Lee");
    assert_eq!(made["emails"][0]["value"], "ann@example.com");
    assert_eq!(made["entitlements"], json!([{"value": "workspace-access"}]));
    assert_eq!((&made["active"], &made["externalId"]), (&json!(true), &json!("x1")));
    let path = format!("/Users/{id}");
    assert_eq!(world.scim("GET", &path, Value::Null).await.is(200), made);

    let put = json!({"userName": "other@example.com", "displayName": "A"});
    let put = world.scim("PUT", &path, put).await.is(200);
    assert_eq!((&put["userName"], &put["displayName"]), (&json!("ann@example.com"), &json!("A")));
    assert!(put.get("entitlements").is_none() && put["active"] == true);

    let patched = world
        .patch(
            &path,
            json!([{"op": "add", "path": "entitlements", "value": [{"value": "e1"}, {"value": "e2"}]},
                {"op": "remove", "path": "entitlements[value eq \"e1\"]"},
                {"op": "replace", "value": {"displayName": "B", "active": "False"}}]),
        )
        .await
        .is(200);
    assert_eq!(patched["entitlements"], json!([{"value": "e2"}]));
    assert_eq!((&patched["displayName"], &patched["active"]), (&json!("B"), &json!(false)));

    let gone = world.scim("DELETE", &path, Value::Null).await;
    assert!(gone.empty && gone.headers.get("content-type").is_none());
    gone.is(204);
    let error = world.scim("GET", &path, Value::Null).await.is(404);
    assert_eq!(error["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
    assert_eq!(error["status"], "404");
    assert!(text(&error, "detail").contains(&id));
    world.scim("DELETE", &path, Value::Null).await.is(404);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let world = World::new().await;
    for name in ["cat@x.org", "ann@x.org", "bob@y.org"] {
        world.user(name).await;
    }
    let all = world.scim("GET", "/Users", Value::Null).await.is(200);
    assert_eq!(
        (&all["totalResults"], &all["itemsPerPage"], &all["startIndex"]),
        (&json!(4), &json!(4), &json!(1))
    );
    for (query, found) in [
        ("filter=userName%20eq%20%22ann@x.org%22", 1),
        ("filter=userName+eq+'ANN@X.ORG'", 1),
        ("filter=USERNAME+co+%22@x%22", 2),
        ("filter=userName+sw+%22bob%22+and+active+eq+true", 1),
        ("filter=userName+sw+%22bob%22+and+active+eq+false", 0),
        ("filter=groups.display+eq+%22admins%22", 1),
        ("startIndex=2&count=2", 2),
        ("startIndex=4&count=2", 1),
        ("startIndex=5&count=2", 0),
        ("startIndex=100", 0),
    ] {
        let list = world.scim("GET", &format!("/Users?{query}"), Value::Null).await.is(200);
        assert_eq!(ids(&list).len(), found, "{query}");
        let total = if query.starts_with("start") { 4 } else { found };
        assert_eq!(list["totalResults"], total, "{query}");
    }
    let sorted = "/Users?sortBy=userName&sortOrder=descending&attributes=userName";
    let sorted = world.scim("GET", sorted, Value::Null).await.is(200);
    let names: Vec<&str> =
        sorted["Resources"].as_array().unwrap().iter().map(|u| u["userName"].as_str().unwrap()).collect();
    assert_eq!(names, ["cat@x.org", "bob@y.org", "ann@x.org", "admin"]);
    assert!(sorted["Resources"][0].get("active").is_none());
    let by_id = format!("/Users?filter=id+eq+%22{}%22", ids(&sorted)[2]);
    assert_eq!(ids(&world.scim("GET", &by_id, Value::Null).await.is(200)), [ids(&sorted)[2]]);
    let error = world.scim("GET", "/Users?filter=userName", Value::Null).await.is(400);
    assert_eq!(error["scimType"], "invalidValue");
}

#[tokio::test]
async fn names_are_taken_once_whatever_the_kind_and_the_case() {
    let world = World::new().await;
    world.user("ann").await;
    let (_, application_id, _) = world.robot("r").await;
    for (path, body) in [
        ("/Users", json!({"userName": "ANN"})),
        ("/Users", json!({"userName": "Users"})),
        ("/Users", json!({"userName": application_id})),
        ("/Groups", json!({"displayName": "Ann"})),
        ("/Groups", json!({"displayName": "Admins"})),
        ("/ServicePrincipals", json!({"applicationId": application_id})),
    ] {
        let error = world.scim("POST", path, body.clone()).await.is(409);
        assert_eq!(error["scimType"], "uniqueness", "{path} {body}");
    }
    for (path, body) in [
        ("/Users", json!({})),
        ("/Users", json!({"userName": ""})),
        ("/Users", json!({"userName": "a\nb"})),
        ("/Users", json!({"userName": "x".repeat(300)})),
        ("/Users", json!({"userName": "x", "active": "perhaps"})),
        ("/Users", json!({"userName": "x", "entitlements": "all"})),
        ("/ServicePrincipals", json!({"applicationId": "not a uuid"})),
        ("/Groups", json!({"displayName": 7})),
    ] {
        world.scim("POST", path, body.clone()).await.is(400);
    }
    world.scim("POST", "/Users", json!({"userName": "x", "groups": [{"value": "9"}]})).await.is(404);
    assert_eq!(world.scim("GET", "/Users", Value::Null).await.is(200)["totalResults"], 2);
}

#[tokio::test]
async fn me_is_a_user_or_a_service_principal() {
    let world = World::new().await;
    let me = world.scim("GET", "/Me", Value::Null).await;
    assert!(me.headers["x-databricks-org-id"].to_str().unwrap().parse::<i64>().is_ok());
    let me = me.is(200);
    assert_eq!(me["userName"], "admin");
    let groups: Vec<&str> =
        me["groups"].as_array().unwrap().iter().map(|g| g["display"].as_str().unwrap()).collect();
    assert_eq!(groups, ["admins", "users"]);
    let (id, application_id, token) = world.robot("robot").await;
    let me = world.call(&token, "GET", &format!("{SCIM}/Me"), Value::Null).await.is(200);
    assert_eq!((&me["id"], &me["userName"]), (&json!(id), &json!(application_id)));
    assert_eq!((&me["applicationId"], &me["displayName"]), (&json!(application_id), &json!("robot")));
    assert_eq!(me["groups"][0]["display"], "users");
}

#[tokio::test]
async fn only_administrators_write_and_everybody_reads() {
    let world = World::new().await;
    let (id, _, token) = world.robot("robot").await;
    for path in ["/Users", "/Groups", "/ServicePrincipals"] {
        world.call(&token, "GET", &format!("{SCIM}{path}"), Value::Null).await.is(200);
        let error = world.call(&token, "POST", &format!("{SCIM}{path}"), json!({})).await.is(403);
        assert!(error["detail"].is_string() && error["status"] == "403", "{error}");
    }
    let own = format!("{SCIM}/ServicePrincipals/{id}");
    world.call(&token, "GET", &own, Value::Null).await.is(200);
    for method in ["PUT", "PATCH", "DELETE"] {
        world.call(&token, method, &own, json!({})).await.is(403);
    }
    assert_eq!(world.call("dapinobody", "GET", &own, Value::Null).await.is(403)["status"], "403");
}

#[tokio::test]
async fn the_deactivated_are_locked_out_at_once_and_come_back() {
    let world = World::new().await;
    let (id, _, token) = world.robot("robot").await;
    let path = format!("/ServicePrincipals/{id}");
    assert!(world.known(&token).is_some());
    let off = json!([{"op": "replace", "path": "active", "value": false}]);
    world.patch(&path, off).await.is(200);
    assert!(world.known(&token).is_none());
    world.call(&token, "GET", &format!("{SCIM}/Me"), Value::Null).await.is(403);
    world.patch(&path, json!([{"op": "replace", "value": {"active": true}}])).await.is(200);
    assert!(world.known(&token).is_some());
    world.scim("DELETE", &path, Value::Null).await.is(204);
    assert!(world.known(&token).is_none());
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let world = World::new().await;
    let admins = world.group_id("admins").await;
    let admin = text(&world.scim("GET", "/Me", Value::Null).await.is(200), "id");
    let ann = world.user("ann").await;
    let inner = world.group("inner", &[&ann]).await;
    let user = format!("/Users/{admin}");
    let group = format!("/Groups/{admins}");
    let without_groups = json!([{"op": "remove", "path": format!("groups[value eq \"{admins}\"]")}]);
    let refused = async |world: &World| {
        for answer in [
            world.scim("DELETE", &user, Value::Null).await,
            world.patch(&user, json!([{"op": "replace", "path": "active", "value": false}])).await,
            world.patch(&user, without_groups.clone()).await,
            world
                .patch(&group, json!([{"op": "remove", "path": format!("members[value eq \"{admin}\"]")}]))
                .await,
            world.scim("PUT", &group, json!({"displayName": "admins"})).await,
        ] {
            let error = answer.is(400);
            assert!(text(&error, "detail").contains("admins"), "{error}");
        }
    };
    refused(&world).await;
    // Somebody inactive does not count.
    world.patch(&group, json!([{"op": "add", "path": "members", "value": [{"value": inner}]}])).await.is(200);
    let active = |flag: bool| json!([{"op": "replace", "path": "active", "value": flag}]);
    world.patch(&format!("/Users/{ann}"), active(false)).await.is(200);
    let deletion = world.scim("DELETE", &user, Value::Null).await.is(400);
    assert!(text(&deletion, "detail").contains("admins"));
    // One who is in a group in `admins` does.
    world.patch(&format!("/Users/{ann}"), active(true)).await.is(200);
    world.scim("DELETE", &user, Value::Null).await.is(204);
    world.scim("GET", "/Me", Value::Null).await.is(403);
}

/// The operator, who holds the data folder, is never locked out.
#[tokio::test]
async fn a_new_administrator_token_puts_the_administrator_back() {
    let world = World::new().await;
    let admin = text(&world.scim("GET", "/Me", Value::Null).await.is(200), "id");
    let ann = world.user("ann").await;
    let admins = format!("/Groups/{}", world.group_id("admins").await);
    world.patch(&admins, json!([{"op": "add", "path": "members", "value": [{"value": ann}]}])).await.is(200);
    let off = json!([{"op": "replace", "value": {"active": false, "groups": []}}]);
    world.patch(&format!("/Users/{admin}"), off).await.is(200);
    assert!(world.known(&world.admin).is_none());
    let token = tollgate_control::create_admin_token(world.store.as_ref(), "lost", None).await.unwrap();
    tollgate_control::refresh(&world.control).await.unwrap();
    assert!(world.known(&token).unwrap().is_admin());
}
