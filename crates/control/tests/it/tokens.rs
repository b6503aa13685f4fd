//! Access tokens: one's own, and everybody's for administrators.

use serde_json::{Value, json};

use crate::world::{World, text};

const OWN: &str = "/api/2.0/token";
const ALL: &str = "/api/2.0/token-management/tokens";

#[tokio::test]
async fn a_comment_is_changed_by_the_owner() {
    let world = World::new().await;
    let (_, _, robot) = world.robot("robot").await;
    let made = world.call(&robot, "POST", &format!("{OWN}/create"), json!({"comment": "a"})).await.is(200);
    let path = format!("{OWN}/{}", text(&made["token_info"], "token_id"));
    let change = |comment: &str, mask: &str| json!({"token": {"comment": comment}, "update_mask": mask});
    let comment = async |world: &World| {
        let list = world.call(&robot, "GET", &format!("{OWN}/list"), Value::Null).await.is(200);
        let tokens = list["token_infos"].as_array().unwrap().clone();
        tokens.iter().find(|t| t["token_id"] == made["token_info"]["token_id"]).unwrap()["comment"].clone()
    };
    world.call(&robot, "PATCH", &path, change("b", "comment")).await.is(200);
    assert_eq!(comment(&world).await, "b");
    world.call(&robot, "PATCH", &path, change("c", "scopes")).await.is(200);
    assert_eq!(comment(&world).await, "b");
    world.call(&robot, "PATCH", &path, change("d", "owner")).await.is(400);
    // Not even an administrator, here: it is not theirs.
    world.act("PATCH", &path, change("e", "comment")).await.is(404);
    assert_eq!(comment(&world).await, "b");
    let scoped = json!({"scopes": ["sql"]});
    world.call(&robot, "POST", &format!("{OWN}/create"), scoped).await.is(400);
}

#[tokio::test]
async fn administrators_see_and_delete_all() {
    let world = World::new().await;
    let (id, application_id, robot) = world.robot("robot").await;
    let own = world.call(&robot, "POST", &format!("{OWN}/create"), json!({"lifetime_seconds": 60})).await;
    let own = own.is(200);
    let list = world.act("GET", ALL, Value::Null).await.is(200)["token_infos"].clone();
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert!(!list.to_string().contains("dapi"), "no values");
    let by_admin = world.act("GET", &format!("{ALL}?created_by_username=admin"), Value::Null).await.is(200);
    assert_eq!(by_admin["token_infos"].as_array().unwrap().len(), 2);
    let by_robot = world.act("GET", &format!("{ALL}?created_by_id={id}"), Value::Null).await.is(200);
    let info = by_robot["token_infos"][0].clone();
    assert_eq!(info["token_id"], own["token_info"]["token_id"]);
    assert_eq!(info["created_by_username"], application_id);
    assert_eq!(info["created_by_id"], id.parse::<i64>().unwrap());
    assert_eq!(info["owner_id"], id.parse::<i64>().unwrap());
    let path = format!("{ALL}/{}", text(&info, "token_id"));
    assert_eq!(world.act("GET", &path, Value::Null).await.is(200)["token_info"], info);
    for (method, path) in [("GET", ALL), ("GET", &path), ("DELETE", &path)] {
        world.call(&robot, method, path, Value::Null).await.is(403);
    }
    let value = text(&own, "token_value");
    assert!(world.known(&value).is_some());
    world.act("DELETE", &path, Value::Null).await.is(200);
    assert!(world.known(&value).is_none());
    world.act("DELETE", &path, Value::Null).await.is(404);
    world.act("GET", &path, Value::Null).await.is(404);
}

#[tokio::test]
async fn on_behalf_of_service_principals_alone() {
    let world = World::new().await;
    world.user("ann").await;
    let (id, application_id, robot) = world.robot("robot").await;
    let path = "/api/2.0/token-management/on-behalf-of/tokens";
    world.act("POST", path, json!({"application_id": "ann"})).await.is(404);
    world.act("POST", path, json!({})).await.is(404);
    world.act("POST", path, json!({"application_id": application_id, "lifetime_seconds": 0})).await.is(400);
    world.call(&robot, "POST", path, json!({"application_id": application_id})).await.is(403);
    let made = json!({"application_id": application_id, "lifetime_seconds": 60, "comment": "c"});
    let made = world.act("POST", path, made).await.is(200);
    let principal = world.known(&text(&made, "token_value")).unwrap();
    assert_eq!((principal.id.as_ref(), principal.name.as_ref()), (id.as_str(), application_id.as_str()));
    assert_eq!(made["token_info"]["created_by_username"], "admin");
}
