//! Usage from a call to the API.

use serde_json::{Value, json};

use crate::world::{Server, World};

async fn sums(server: &Server, rest: &str) -> Value {
    let answer = server.client.get(&format!("/api/tollgate/v1/usage?endpoint=summed{rest}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["groups"][0].clone()
}

/// What a server has not written when it is stopped it writes then.
#[tokio::test]
async fn calls_are_in_the_sums_after_a_restart() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let mut config = world.chat_config("gpt");
    config["served_entities"][0]["price_per_million_tokens"] = json!({"input": 1.0, "output": 2.0});
    server.client.create("summed", &config).await;
    let body = json!({"messages": [{"role": "user", "content": "hello"}], "usage_context": {"team": "blue"}});
    for _ in 0..3 {
        assert_eq!(server.client.post("/serving-endpoints/summed/invocations", &body).await.status, 200);
    }
    server.process.stop().await;
    let server = world.serve(&[]).await;
    let found = sums(&server, "&group_by=tag:team").await;
    let of = |key: &str| found[key].as_u64().unwrap();
    assert_eq!((found["tag"].as_str(), of("requests"), of("unpriced_requests")), (Some("blue"), 3, 0));
    let (input, output) = (of("input_tokens"), of("output_tokens"));
    assert!(input >= 3 && output >= 3, "{found}");
    let cost = (input + 2 * output) as f64 / 1e6;
    assert!((found["cost_usd"].as_f64().unwrap() - cost).abs() < 1e-9, "{found}");
    assert_eq!(sums(&server, "&group_by=requester").await["total_tokens"].as_u64(), Some(input + output));
}
