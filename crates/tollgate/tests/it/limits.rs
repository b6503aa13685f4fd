//! Limits and circuits through the whole server: enforced at once, explained, measured.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

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
