//! Limits and circuits through the whole server: enforced at once, explained, measured.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;
use crate::world::client::{Answer, Client};

#[tokio::test]
async fn a_limit_holds_from_the_answer_on_and_is_explained_and_counted() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let client = &server.client;
    client.create("limited", &world.chat_config("gpt")).await;
    let put = async |limits: Value| {
        let path = "/api/2.0/serving-endpoints/limited/ai-gateway";
        let answer = client.send(Method::PUT, path, json!({"rate_limits": limits}).to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let explained = async || {
        let body = json!({"endpoint": "limited"});
        let answer = client.post("/api/tollgate/v1/explain", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    // An hour, so that no window ends between two calls of the test, but once in an hour.
    put(json!([{"calls": 1, "renewal_period": "hour", "key": "user"}])).await;
    let told = explained().await;
    assert_eq!((&told["would"]["status"], &told["limits"][0]["remaining"]), (&json!(200), &json!(1)));
    assert_eq!(told["route"][0]["circuit"]["state"], "closed");
    let got = client.ask("limited", false).await;
    assert_eq!((got.status, got.headers["x-ratelimit-remaining-requests"].as_bytes()), (200, &b"0"[..]));
    assert_eq!(client.ask("limited", true).await.status, 429);
    assert_eq!(explained().await["would"]["status"], 429);
    put(json!([])).await;
    assert_eq!(client.ask("limited", false).await.status, 200);
    put(json!([{"tokens": 0, "renewal_period": "minute"}])).await;
    assert_eq!(client.ask("limited", false).await.status, 403);
    let metrics = client.get("/metrics").await.text;
    for (key, measure) in [("user", "calls"), ("endpoint", "tokens")] {
        let counted = format!(
            "tollgate_limits_exceeded_total{{endpoint=\"limited\",key=\"{key}\",measure=\"{measure}\",refused=\"true\"}} 1"
        );
        assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    }
}

const SCIM: &str = "/api/2.0/preview/scim/v2";

async fn made(client: &Client, path: &str, body: Value) -> Value {
    let answer = client.post(path, &body).await;
    assert!([200, 201].contains(&answer.status), "{path}: {answer:?}");
    answer.json()
}

/// A new service principal: its id, its application id, and who calls as it.
async fn robot(client: &Client, name: &str) -> (Value, Value, Client) {
    let robot = made(client, &format!("{SCIM}/ServicePrincipals"), json!({"displayName": name})).await;
    let asked = json!({"application_id": robot["applicationId"], "comment": "test"});
    let token = made(client, "/api/2.0/token-management/on-behalf-of/tokens", asked).await;
    let caller = client.with_token(token["token_value"].as_str().unwrap());
    (robot["id"].clone(), robot["applicationId"].clone(), caller)
}

/// An endpoint with `limits`, which `robots` may query.
async fn limited(world: &World, client: &Client, name: &str, limits: Value, robots: [&Value; 2]) {
    let endpoint =
        json!({"name": name, "config": world.chat_config("gpt"), "ai_gateway": {"rate_limits": limits}});
    let endpoint = made(client, "/api/2.0/serving-endpoints", endpoint).await;
    let path = format!("/api/2.0/permissions/serving-endpoints/{}", endpoint["id"].as_str().unwrap());
    let grant = |robot| json!({"service_principal_name": robot, "permission_level": "CAN_QUERY"});
    let grants = json!({"access_control_list": robots.map(grant)}).to_string();
    assert_eq!(client.send(Method::PATCH, &path, grants).await.status, 200);
}

#[tokio::test]
async fn limits_of_groups_users_and_service_principals_meet_those_they_name() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let admin = &server.client;
    let me = admin.get(&format!("{SCIM}/Me")).await.json();
    let ((inside_id, inside_app, inside), (_, outside_app, outside)) =
        (robot(admin, "inside").await, robot(admin, "outside").await);
    // Of a group within the group, too.
    let group = async |name: &str, members: &[&Value]| {
        let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
        made(admin, &format!("{SCIM}/Groups"), json!({"displayName": name, "members": members})).await
    };
    let trainees = group("trainees", &[&inside_id]).await;
    group("interns", &[&trainees["id"], &me["id"]]).await;
    let robots = [&inside_app, &outside_app];
    let hourly = |key: &str, principal: &Value, calls: u64| json!({"key": key, "principal": principal, "calls": calls, "renewal_period": "hour"});
    let status = |answer: Answer| answer.status;

    let interns = hourly("user_group", &json!("interns"), 1);
    limited(&world, admin, "of-group", json!([interns]), robots).await;
    assert_eq!(inside.ask("of-group", false).await.status, 200);
    let refused = inside.ask("of-group", true).await;
    assert!(refused.status == 429 && refused.text.contains("interns"), "{refused:?}");
    assert_eq!(status(admin.ask("of-group", false).await), 429, "members share the window");
    for _ in 0..2 {
        assert_eq!(status(outside.ask("of-group", false).await), 200, "no member");
    }

    let named = hourly("user", &me["userName"], 2);
    limited(&world, admin, "of-user", json!([interns, named]), robots).await;
    assert_eq!(status(inside.ask("of-user", false).await), 200);
    assert_eq!(status(inside.ask("of-user", false).await), 429);
    for expected in [200, 200, 429] {
        assert_eq!(status(admin.ask("of-user", false).await), expected, "its own limit, not the group's");
    }

    let own = hourly("service_principal", &inside_app, 1);
    limited(&world, admin, "of-robot", json!([own]), robots).await;
    for expected in [200, 429] {
        assert_eq!(status(inside.ask("of-robot", false).await), expected);
    }
    for other in [&outside, &outside, admin, admin] {
        assert_eq!(status(other.ask("of-robot", false).await), 200, "another's limit");
    }
}

#[tokio::test]
async fn an_open_circuit_and_who_is_to_blame_are_in_the_metrics() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let client = &server.client;
    for (name, model, calls, blames) in [("storm", "fail-429", 1, "quota"), ("revoked", "fail-401", 5, "key")]
    {
        client.create(name, &world.chat_config(model)).await;
        for _ in 0..calls {
            assert_eq!(client.ask(name, false).await.status.to_string(), model[5..]);
        }
        let circuits = client.get(&format!("/api/tollgate/v1/endpoints/{name}/circuits")).await.json();
        assert_eq!(
            (&circuits["circuits"][0]["state"], &circuits["circuits"][0]["blames"]),
            (&json!("open"), &json!(blames))
        );
        let gauge =
            format!("tollgate_circuit_open{{endpoint=\"{name}\",entity=\"one\",blames=\"{blames}\"}} 1");
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while !client.get("/metrics").await.text.contains(&gauge) {
            assert!(tokio::time::Instant::now() < deadline, "no {gauge}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}
