//! Batches that one call of a provider does not take.

use serde_json::{Value, json};

use crate::client::invocations;
use crate::raw::{Play, Raw};
use crate::world::{EMBEDDINGS, Entity, world};

async fn check(provider: &'static str, count: usize, calls: usize) {
    world(async |world| {
        world.endpoint("v", EMBEDDINGS, false, &[Entity::new(provider, "m")]);
        let inputs: Vec<String> = (0..count).map(|n| format!("text {n}")).collect();
        let whole = world.post(&invocations("v"), &json!({"input": inputs})).await;
        assert_eq!((whole.status, world.ledger.requests().len()), (200, calls), "{provider}");
        let whole = whole.json();
        let data = whole["data"].as_array().unwrap();
        assert_eq!(data.len(), count);
        assert!((0..).zip(data).all(|(at, one): (u64, &Value)| one["index"] == at));
        // The vector of a text is the same in whichever call it went.
        for at in [0, count / 2, count - 1] {
            let single = world.post(&invocations("v"), &json!({"input": inputs[at]})).await.json();
            assert_eq!(single["data"][0]["embedding"], data[at]["embedding"], "{provider}: {at}");
        }
        let usage = &whole["usage"];
        assert!(usage["prompt_tokens"].as_u64() > Some(0) && usage["prompt_tokens"] == usage["total_tokens"]);
        let packed = json!({"input": inputs, "encoding_format": "base64"});
        let packed = world.post(&invocations("v"), &packed).await.json();
        assert!(packed["data"][count - 1]["embedding"].is_string());
    })
    .await;
}

#[tokio::test]
async fn they_are_split_and_put_together_in_order() {
    check("openai", 2049, 2).await;
    check("azure", 2048, 1).await;
    check("cohere", 200, 3).await;
}

/// A full batch of the longest vectors is some 100 MiB of text.
#[tokio::test]
async fn the_largest_batch_passes_and_more_does_not() {
    world(async |world| {
        let number = "-0.012345678901234567,";
        let answer = |numbers: usize| {
            let list = number.repeat(numbers);
            format!(r#"{{"data":[{{"object":"embedding","index":0,"embedding":[{list}0]}}],"model":"m"}}"#)
        };
        for (numbers, status) in [(2048 * 3072, 200), ((161 << 20) / number.len(), 502)] {
            let body = answer(numbers);
            let raw = Raw::start(world, Play::whole("200 OK", "", &body)).await;
            world.endpoint("v", EMBEDDINGS, false, &[Entity::new("openai", "m").at(raw.url.clone())]);
            let got = world.post(&invocations("v"), &json!({"input": "a"})).await;
            assert_eq!(got.status, status, "{numbers} numbers");
            assert!(status != 200 || got.text.len() == body.len());
        }
    })
    .await;
}

#[tokio::test]
async fn more_than_a_request_may_cost_is_refused_before_it_is_split() {
    world(async |world| {
        world.endpoint(
            "v",
            EMBEDDINGS,
            false,
            &[Entity::new("amazon-bedrock", "amazon.titan-embed-text-v2:0")],
        );
        for count in [3_000, 17_000] {
            let answer = world.post(&invocations("v"), &json!({"input": vec!["a"; count]})).await;
            assert_eq!((answer.status, world.ledger.requests().len()), (400, 0), "{count}");
        }
    })
    .await;
}
