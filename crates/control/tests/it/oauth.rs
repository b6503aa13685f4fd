//! Client secrets, logging in with them, and the end of it.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, SCIM, World, text};

struct Robot {
    id: String,
    client_id: String,
    secret: String,
    secret_id: String,
}

fn secrets_path(id: &str) -> String {
    format!("/api/2.0/accounts/servicePrincipals/{id}/credentials/secrets")
}

async fn robot(world: &World) -> Robot {
    let (id, client_id, _) = world.robot("robot").await;
    let made = world.act("POST", &secrets_path(&id), Value::Null).await.is(200);
    let secret_id = text(&made, "id");
    Robot { id, client_id, secret: text(&made, "secret"), secret_id }
}

async fn post(world: &World, form: &str, basic: Option<&str>) -> Answer {
    let mut request = Request::builder().method("POST").uri("/oidc/v1/token");
    if let Some(pair) = basic {
        request = request.header("authorization", format!("Basic {}", STANDARD.encode(pair)));
    }
    world.send(request.body(Body::from(form.to_owned())).unwrap()).await
}

async fn login(world: &World, robot: &Robot) -> String {
    let pair = format!("{}:{}", robot.client_id, robot.secret);
    let body = post(world, "grant_type=client_credentials&scope=all-apis", Some(&pair)).await.is(200);
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(3600)));
    text(&body, "access_token")
}

#[tokio::test]
async fn from_discovery_to_a_call() {
    let world = World::new().await;
    let robot = robot(&world).await;
    let config = world.call("", "GET", "/.well-known/databricks-config", Value::Null).await.is(200);
    assert_eq!(config["oidc_endpoint"], "http://tollgate.test/oidc");
    for name in ["oauth-authorization-server", "openid-configuration"] {
        let found = world.call("", "GET", &format!("/oidc/.well-known/{name}"), Value::Null).await.is(200);
        assert_eq!(found["token_endpoint"], "http://tollgate.test/oidc/v1/token");
        assert_eq!(found["issuer"], "http://tollgate.test/oidc");
        let path = text(&found, "jwks_uri");
        let keys =
            world.call("", "GET", path.strip_prefix("http://tollgate.test").unwrap(), Value::Null).await;
        assert_eq!(keys.is(200), json!({"keys": []}));
        assert!(found["grant_types_supported"].as_array().unwrap().contains(&json!("client_credentials")));
    }
    let basic = login(&world, &robot).await;
    let form = format!(
        "grant_type=client_credentials&scope=all-apis&client_id={}&client_secret={}",
        robot.client_id, robot.secret
    );
    let body = text(&post(&world, &form, None).await.is(200), "access_token");
    assert_ne!(basic, body);
    for token in [basic, body] {
        let me = world.call(&token, "GET", &format!("{SCIM}/Me"), Value::Null).await.is(200);
        assert_eq!(me["applicationId"], robot.client_id);
        assert_eq!(world.known(&token).unwrap().id.as_ref(), robot.id);
        assert!(!token.contains(&robot.secret));
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_as_oauth_does() {
    let world = World::new().await;
    let robot = robot(&world).await;
    let good = format!("{}:{}", robot.client_id, robot.secret);
    let other = self::robot(&world).await;
    let mixed = format!("{}:{}", robot.client_id, other.secret);
    let listed = world.act("GET", &secrets_path(&robot.id), Value::Null).await.is(200);
    let hash = format!("{}:{}", robot.client_id, text(&listed["secrets"][0], "secret_hash"));
    let grant = "grant_type=client_credentials";
    for (form, basic, status, error) in [
        (grant, None, 401, "invalid_client"),
        (grant, Some("x:y"), 401, "invalid_client"),
        (grant, Some(mixed.as_str()), 401, "invalid_client"),
        (grant, Some(hash.as_str()), 401, "invalid_client"),
        (grant, Some("no colon"), 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=x&client_secret=y", None, 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=x", None, 401, "invalid_client"),
        ("grant_type=password&username=a&password=b", Some(good.as_str()), 400, "unsupported_grant_type"),
        ("", Some(good.as_str()), 400, "invalid_request"),
        ("%ff%00&&&=&grant_type", Some(good.as_str()), 400, "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=sql", Some(good.as_str()), 400, "invalid_scope"),
        ("grant_type=client_credentials&grant_type=x", Some(good.as_str()), 400, "invalid_request"),
    ] {
        let answer = post(&world, form, basic).await;
        assert_eq!(answer.headers["content-type"], "application/json", "{form}");
        let body = answer.is(status);
        assert_eq!(body["error"], error, "{form} {basic:?}");
        let why = text(&body, "error_description");
        assert!(!why.is_empty() && !why.contains(&robot.secret) && !why.contains(&other.secret), "{why}");
    }
    let long = post(&world, &"x".repeat(2 << 20), Some(&good)).await;
    assert_eq!(long.is(413)["error"], "invalid_request");
    let get = world.call("", "GET", "/oidc/v1/authorize?response_type=code", Value::Null).await.is(400);
    assert!(text(&get, "error_description").contains("personal access token"));
}

#[tokio::test]
async fn a_secret_is_shown_once() {
    let world = World::new().await;
    let (id, _, token) = world.robot("robot").await;
    let path = secrets_path(&id);
    let made = world.act("POST", &path, json!({"lifetime": "3600s"})).await.is(200);
    let secret = text(&made, "secret");
    assert!(secret.starts_with("dose") && made["status"] == "ACTIVE");
    assert!(
        text(&made, "create_time").ends_with('Z') && text(&made, "expire_time") > text(&made, "create_time")
    );
    let list = world.act("GET", &path, Value::Null).await.is(200);
    assert_eq!(list["secrets"][0]["secret_hash"], made["secret_hash"]);
    assert!(!list.to_string().contains(&secret));
    world.act("POST", &path, json!({"lifetime": "forever"})).await.is(400);
    world.act("POST", &path, json!({"scopes": ["sql"]})).await.is(400);
    for _ in 0..4 {
        world.act("POST", &path, json!({})).await.is(200);
    }
    assert_eq!(world.act("POST", &path, json!({})).await.is(400)["error_code"], "RESOURCE_LIMIT_EXCEEDED");
    let user = world.user("ann").await;
    world.act("POST", &secrets_path(&user), json!({})).await.is(404);
    let one = format!("{path}/{}", text(&made, "id"));
    for (method, path) in [("POST", &path), ("GET", &path), ("DELETE", &one)] {
        world.call(&token, method, path, Value::Null).await.is(403);
    }
    world.act("DELETE", &one, Value::Null).await.is(200);
    world.act("DELETE", &one, Value::Null).await.is(404);
}

#[tokio::test]
async fn everything_that_revokes_does_so_at_once() {
    let world = World::new().await;
    let robot = robot(&world).await;
    let path = format!("/ServicePrincipals/{}", robot.id);

    let token = login(&world, &robot).await;
    assert!(world.known(&token).is_some());
    let revoke = format!("/api/tollgate/v1/service-principals/{}/revoke-tokens", robot.id);
    world.call(&token, "POST", &revoke, Value::Null).await.is(403);
    world.act("POST", &revoke, Value::Null).await.is(200);
    assert!(world.known(&token).is_none());

    // A deactivation ends tokens for good, although the principal comes back.
    let token = login(&world, &robot).await;
    let active = |flag: bool| json!([{"op": "replace", "path": "active", "value": flag}]);
    world.patch(&path, active(false)).await.is(200);
    assert!(world.known(&token).is_none());
    let pair = format!("{}:{}", robot.client_id, robot.secret);
    post(&world, "grant_type=client_credentials", Some(&pair)).await.is(401);
    world.patch(&path, active(true)).await.is(200);
    assert!(world.known(&token).is_none());

    let token = login(&world, &robot).await;
    world
        .act("DELETE", &format!("{}/{}", secrets_path(&robot.id), robot.secret_id), Value::Null)
        .await
        .is(200);
    assert!(world.known(&token).is_none());
    post(&world, "grant_type=client_credentials", Some(&pair)).await.is(401);

    // One who is made anew under the old application id revives nothing.
    let robot = self::robot(&world).await;
    let token = login(&world, &robot).await;
    let path = format!("/ServicePrincipals/{}", robot.id);
    world.scim("DELETE", &path, Value::Null).await.is(204);
    assert!(world.known(&token).is_none());
    let again = json!({"applicationId": robot.client_id, "displayName": "again"});
    world.scim("POST", "/ServicePrincipals", again).await.is(201);
    assert!(world.known(&token).is_none());
}

#[tokio::test]
async fn a_deleted_secret_ends_exactly_the_tokens_that_were_got_with_it() {
    let world = World::new().await;
    let first = robot(&world).await;
    let made = world.act("POST", &secrets_path(&first.id), json!({})).await.is(200);
    let (secret, secret_id) = (text(&made, "secret"), text(&made, "id"));
    let second = Robot { secret, secret_id, id: first.id.clone(), client_id: first.client_id.clone() };
    let (of_first, of_second) = (login(&world, &first).await, login(&world, &second).await);
    let path = format!("{}/{}", secrets_path(&first.id), first.secret_id);
    world.act("DELETE", &path, Value::Null).await.is(200);
    assert!(world.known(&of_first).is_none() && world.known(&of_second).is_some());
    login(&world, &second).await;
}

#[tokio::test]
async fn a_replaced_signing_key_ends_every_access_token_and_no_personal_one() {
    let world = World::new().await;
    let robot = robot(&world).await;
    let token = login(&world, &robot).await;
    let path = "/api/tollgate/v1/oauth/replace-signing-key";
    world.call(&token, "POST", path, Value::Null).await.is(403);
    assert!(world.known(&token).is_some());
    world.act("POST", path, Value::Null).await.is(200);
    assert!(world.known(&token).is_none() && world.known(&world.admin).is_some());
    assert!(world.known(&login(&world, &robot).await).is_some());
}

/// The key lies in a scope that no request can name, not an administrator's either.
#[tokio::test]
async fn the_signing_key_is_out_of_reach() {
    let world = World::new().await;
    let robot = robot(&world).await;
    login(&world, &robot).await;
    for reference in [
        "{{secrets/#internal/oauth-signing-key}}",
        "{{secrets/#INTERNAL/oauth-signing-key}}",
        "{{internal/oauth-signing-key}}",
    ] {
        let entity = json!({"name": "e", "external_model": {"name": "m", "provider": "openai",
            "task": "llm/v1/chat", "openai_config": {"openai_api_key": reference}}});
        let endpoint = json!({"name": "thief", "config": {"served_entities": [entity]}});
        world.act("POST", "/api/2.0/serving-endpoints", endpoint).await.is(400);
    }
    let path = "/api/2.0/secrets/get?scope=%23internal&key=oauth-signing-key";
    world.act("GET", path, Value::Null).await.is(404);
}
