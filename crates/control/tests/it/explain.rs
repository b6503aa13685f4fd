//! Who may ask what would become of whose calls. What the data plane says of them is the gateway's own test.

use serde_json::{Value, json};

use crate::world::{World, text};

const EXPLAIN: &str = "/api/tollgate/v1/explain";

#[tokio::test]
async fn administrators_ask_for_anybody_and_others_for_themselves() {
    let world = World::new().await;
    world.user("ann@example.com").await;
    let (_, robot, token) = world.robot("robot").await;
    let grants = json!([{"user_name": "ann@example.com", "permission_level": "CAN_QUERY"}]);
    world.endpoint("e", grants).await;
    let ask = |principal: &str| json!({"endpoint": "e", "principal": principal});
    let ann = world.act("POST", EXPLAIN, ask("ann@example.com")).await.is(200);
    assert_eq!(ann["permission"], json!({"needs": "CAN_QUERY", "has": "CAN_QUERY"}));
    assert_eq!(ann["principal"]["kind"], "user");
    let other = world.act("POST", EXPLAIN, ask(&robot)).await.is(200);
    assert_eq!((&other["would"]["status"], &other["permission"]["has"]), (&json!(403), &Value::Null));
    assert!(text(&other["would"], "message").contains("lacks CAN_QUERY on endpoint \"e\""));
    world.act("POST", EXPLAIN, ask("nobody")).await.is(404);
    world.act("POST", EXPLAIN, json!({"endpoint": "none"})).await.is(404);
    world.act("POST", EXPLAIN, json!({})).await.is(400);
    // The robot may ask for itself, and learns nothing of an endpoint that it may not view.
    world.call(&token, "POST", EXPLAIN, ask("ann@example.com")).await.is(403);
    for itself in [json!({"endpoint": "e"}), ask(&robot)] {
        let told = world.call(&token, "POST", EXPLAIN, itself).await.is(200);
        assert_eq!(told["would"]["status"], 403);
        assert!(told.get("route").is_none() && told.get("limits").is_none(), "{told}");
    }
    let circuits = "/api/tollgate/v1/endpoints/e/circuits";
    world.call(&token, "GET", circuits, Value::Null).await.is(403);
    let told = world.act("GET", circuits, Value::Null).await.is(200);
    assert_eq!(
        (&told["circuits"][0]["served_entity_name"], &told["circuits"][0]["state"]),
        (&json!("e"), &json!("closed"))
    );
}

#[tokio::test]
async fn a_prompt_that_is_only_asked_about_is_in_no_audit_record() {
    let world = World::new().await;
    world.endpoint("e", json!([])).await;
    world.audit.take();
    let request = json!({"messages": [{"role": "user", "content": "do not keep this"}]});
    world.act("POST", EXPLAIN, json!({"endpoint": "e", "request": request})).await.is(200);
    world.act("POST", EXPLAIN, json!({"endpoint": "none", "request": request})).await.is(404);
    assert!(!format!("{:?}", world.audit.take()).contains("do not keep"));
}

#[tokio::test]
async fn limits_are_kept_as_they_were_sent_and_reach_the_data_plane() {
    let world = World::new().await;
    world.endpoint("e", json!([])).await;
    let limits = json!([{"calls": 0, "key": "user", "principal": "ann@example.com", "renewal_period": "hour", "report_only": true},
        {"concurrent_calls": 3}, {"tokens": 9, "renewal_period": "minute"}]);
    let path = "/api/2.0/serving-endpoints/e/ai-gateway";
    let kept = world.act("PUT", path, json!({"rate_limits": limits})).await.is(200);
    assert_eq!(kept["rate_limits"], limits);
    assert!(!world.live.load().endpoints["e"].limits.is_empty());
    let wrong = json!({"rate_limits": [{"calls": 1, "renewal_period": "minute"}, {"concurrent_calls": 0}]});
    let refused = world.act("PUT", path, wrong).await.is(400);
    assert!(text(&refused, "message").starts_with("ai_gateway.rate_limits[1].concurrent_calls"), "{refused}");
}

#[tokio::test]
async fn who_was_deactivated_is_told_what_a_call_of_theirs_would_be() {
    let world = World::new().await;
    let id = world.user("ann@example.com").await;
    world.endpoint("e", json!([{"user_name": "ann@example.com", "permission_level": "CAN_QUERY"}])).await;
    let ask = json!({"endpoint": "e", "principal": "ann@example.com"});
    assert_ne!(world.act("POST", EXPLAIN, ask.clone()).await.is(200)["would"]["status"], 403);
    let path = format!("/Users/{id}");
    world.patch(&path, json!([{"op": "replace", "path": "active", "value": false}])).await.is(200);
    let told = world.act("POST", EXPLAIN, ask).await.is(200);
    assert_eq!(told["would"]["status"], 403);
    assert!(text(&told["would"], "message").starts_with("invalid access token"), "{told}");
}
