//! Tokens that are exchanged for a credential.

use crate::client::{Got, chat, invocations};
use crate::world::{ACCOUNT_KEY, Entity, World, world};

const PROVIDER: &str = "google-cloud-vertex-ai";

/// A line out of the middle of the key.
fn secret() -> &'static str {
    ACCOUNT_KEY.lines().nth(5).unwrap()
}

fn check_says_no_secret(got: &Got) {
    let seen = format!("{:?} {}", got.headers, got.text);
    assert!(!seen.contains(secret()) && !seen.contains("ya29.") && !seen.contains("eyJ"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_at_once_share_one_exchange() {
    world(async |world| {
        world.chat("e", &[Entity::new(PROVIDER, "m")]);
        let calls = (0..100).map(|at| world.ask("e", at % 2 == 0));
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().all(|got| got.status == 200), "{:?}", answers[0]);
        assert_eq!((world.exchanges.count(), world.ledger.requests().len()), (1, 100));
        let tokens: std::collections::HashSet<String> = world
            .ledger
            .requests()
            .into_iter()
            .map(|mut r| r.headers.remove("authorization").unwrap())
            .collect();
        assert_eq!(tokens.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_got_anew_once() {
    for stream in [false, true] {
        world(async |world| {
            world.chat("e", &[Entity::new(PROVIDER, "m").secret("revoked-once")]);
            let got = world.ask("e", stream).await;
            assert_eq!(got.status, 200, "{got:?}");
            assert_eq!((world.exchanges.count(), world.ledger.requests().len()), (2, 2));
            assert_eq!(world.ask("e", stream).await.status, 200);
            assert_eq!(world.exchanges.count(), 2);
            // The client asked once each time, and that is what is recorded.
            assert_eq!(world.records.settlements().len(), 2);
        })
        .await;
    }
}

#[tokio::test]
async fn a_provider_that_refuses_every_token_is_asked_twice() {
    world(async |world| {
        world.chat("e", &[Entity::new(PROVIDER, "m;status=401")]);
        let got = world.ask("e", false).await;
        assert_eq!(
            (got.status, world.ledger.requests().len(), world.exchanges.count()),
            (401, 2, 2),
            "{got:?}"
        );
        check_says_no_secret(&got);
    })
    .await;
}

#[tokio::test]
async fn a_refused_key_is_the_endpoints_fault_and_not_the_callers() {
    for stream in [false, true] {
        world(async |world| {
            world.chat("e", &[Entity::new(PROVIDER, "m").secret("refused")]);
            let got = world.ask("e", stream).await;
            assert_eq!(got.status, 502, "{got:?}");
            assert!(got.text.contains("account not found"), "{got:?}");
            check_says_no_secret(&got);
            assert!(world.ledger.requests().is_empty());
        })
        .await;
    }
}

#[tokio::test]
async fn a_missing_key_is_named() {
    world(async |world| {
        let entity = Entity::new(PROVIDER, "m").secret("nothing");
        world.chat("e", &[entity]);
        let got = world.ask("e", false).await;
        assert!(got.status != 401 && got.text.contains("{{secrets/s/nothing}}"), "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn embeddings_are_asked_for_with_the_token_too() {
    world(async |world| {
        for (model, calls) in
            [("text-embedding-005", 1), ("gemini-embedding-001", 3), ("gemini-embedding-2", 3)]
        {
            world.endpoint("v", crate::world::EMBEDDINGS, false, &[Entity::new(PROVIDER, model)]);
            let before = world.ledger.requests().len();
            check_vectors(world, "v").await;
            assert_eq!(world.ledger.requests().len() - before, calls, "{model}");
        }
        world.endpoint(
            "v",
            crate::world::EMBEDDINGS,
            false,
            &[Entity::new("google", "gemini-embedding-001")],
        );
        check_vectors(world, "v").await;
        assert_eq!(world.exchanges.count(), 1);
    })
    .await;
}

async fn check_vectors(world: &World, endpoint: &str) {
    let body = serde_json::json!({"input": ["a", "b", "c"], "dimensions": 4});
    let got = world.post(&invocations(endpoint), &body).await.json();
    let length = |at: usize| got["data"][at]["embedding"].as_array().map(Vec::len);
    assert_eq!((length(0), length(2), length(3)), (Some(4), Some(4), None), "{got}");
    assert_ne!(got["data"][0]["embedding"], got["data"][1]["embedding"]);
}

/// Two entities with one key share its token.
#[tokio::test]
async fn a_token_is_of_the_key_and_not_of_the_entity() {
    world(async |world| {
        for name in ["a", "b"] {
            world.chat(name, &[Entity::new(PROVIDER, "m")]);
            assert_eq!(world.post(&invocations(name), &chat(false)).await.status, 200);
        }
        assert_eq!(world.exchanges.count(), 1);
    })
    .await;
}
