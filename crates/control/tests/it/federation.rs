//! Tokens of a company's own identity provider, which runs here on loopback.

use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use egress::{AddressPolicy, Client, ClientConfig};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use policy::federation::Rules;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_control::{ControlConfig, OidcConfig, watch_issuer};

use crate::world::{SCIM, World, now, text};

struct Issuer {
    url: String,
    key: EncodingKey,
}

impl Issuer {
    async fn start(tasks: &TaskTracker) -> Self {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap()).unwrap();
        jwk["kid"] = json!("k1");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(document.clone())))
            .route("/keys", get(async move || Json(json!({"keys": [jwk.clone()]}))));
        tasks.spawn(async move { axum::serve(listener, router).await });
        Self { url, key }
    }

    fn token(&self, user: &str, groups: &[&str]) -> String {
        let exp = now() / 1000 + 60;
        let claims = json!({"iss": self.url, "aud": "tollgate", "exp": exp, "email": user, "groups": groups});
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

/// A world that trusts an issuer and has fetched its keys.
async fn federated(tasks: &TaskTracker, stop: &CancellationToken, provision: bool) -> (World, Issuer) {
    let issuer = Issuer::start(tasks).await;
    let rules = Rules {
        issuer: issuer.url.clone(),
        audience: "tollgate".into(),
        user_claim: "email".into(),
        groups_claim: "groups".into(),
        provision,
    };
    let oidc = Some(OidcConfig { rules, jwks_url: None });
    let world = World::with(ControlConfig { oidc, ..ControlConfig::default() }).await;
    let policy = AddressPolicy::new(&["127.0.0.1".to_owned()]).unwrap();
    let client = Client::new(ClientConfig { policy, ..ClientConfig::default() }).unwrap();
    tasks.spawn(watch_issuer(world.control.clone(), client, stop.clone()));
    let fetched = |world: &World| {
        world.live.load().oauth.federation.as_ref().is_some_and(|federation| !federation.keys.is_empty())
    };
    until(async || fetched(&world)).await;
    (world, issuer)
}

async fn until(mut ready: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !ready().await {
        assert!(Instant::now() < end, "it did not happen within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_known_user_comes_in_by_the_issuers_token() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (world, issuer) = federated(&tasks, &stop, false).await;
    let ann = world.user("ann@x.org").await;
    let inner = world.group("inner", &[]).await;
    world.group("outer", &[&inner]).await;
    world.endpoint("e", json!([{"group_name": "outer", "permission_level": "CAN_VIEW"}])).await;
    let token = issuer.token("Ann@X.org", &["inner", "admins", "unknown"]);
    let me = world.call(&token, "GET", &format!("{SCIM}/Me"), Value::Null).await.is(200);
    assert_eq!((text(&me, "id"), text(&me, "userName")), (ann.clone(), "ann@x.org".to_owned()));
    world.call(&token, "GET", "/api/2.0/serving-endpoints/e", Value::Null).await.is(200);
    // The token says admins, and that is not for it to say.
    world.call(&token, "POST", &format!("{SCIM}/Users"), json!({"userName": "x"})).await.is(403);
    let plain = issuer.token("ann@x.org", &[]);
    world.call(&plain, "GET", "/api/2.0/serving-endpoints/e", Value::Null).await.is(403);
    let off = json!([{"op": "replace", "path": "active", "value": false}]);
    world.patch(&format!("/Users/{ann}"), off).await.is(200);
    assert!(world.known(&token).is_none());
    // Neither somebody unknown, nor a group, nor a service principal.
    let (_, application_id, _) = world.robot("robot").await;
    for name in ["new@x.org", "inner", "users", &application_id] {
        assert!(world.known(&issuer.token(name, &[])).is_none(), "{name}");
    }
    stop.cancel();
}

#[tokio::test]
async fn newcomers_are_made_when_configured() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (world, issuer) = federated(&tasks, &stop, true).await;
    // A management call makes the user at once.
    let token = issuer.token("new@x.org", &["admins"]);
    let me = world.call(&token, "GET", &format!("{SCIM}/Me"), Value::Null).await.is(200);
    assert_eq!(me["userName"], "new@x.org");
    assert_eq!(world.known(&token).unwrap().id.as_ref(), text(&me, "id"));
    assert!(!world.known(&token).unwrap().is_admin());
    let made = world.call(&token, "POST", "/api/2.0/token/create", json!({})).await.is(200);
    assert!(world.known(&text(&made, "token_value")).is_some());
    // A model call lets them in, and the user is made soon after.
    let other = issuer.token("other@x.org", &[]);
    assert_eq!(world.known(&other).unwrap().id.as_ref(), "");
    until(async || !world.known(&other).unwrap().id.is_empty()).await;
    // A name that is a group's is nobody's.
    assert!(world.known(&issuer.token("Users", &[])).is_none());
    stop.cancel();
}
