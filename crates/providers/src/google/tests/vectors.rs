//! Embeddings.

use ::wire::embeddings::EmbeddingsRequest;
use serde_json::{Value, json};

use crate::codec::{EmbeddingsCodec, Reply};
use crate::google::embeddings::BatchEmbedContents;
use crate::google::{EmbedContent, Predict};

fn request(body: Value) -> EmbeddingsRequest {
    serde_json::from_value(body).unwrap()
}

#[test]
fn what_is_more_than_a_call_takes_is_split() {
    let many: Vec<String> = (0..251).map(|n| n.to_string()).collect();
    let request = request(json!({ "input": many }));
    let count = |codec: &dyn EmbeddingsCodec| codec.encode("m", &request).unwrap().len();
    assert_eq!((count(&Predict { most: 250 }), count(&Predict { most: 1 })), (2, 251));
    assert_eq!((count(&BatchEmbedContents), count(&EmbedContent)), (3, 251));
}

#[test]
fn the_callers_task_type_is_passed() {
    let request = request(
        json!({"input": "a", "task_type": "RETRIEVAL_QUERY", "dimensions": 8, "auto_truncate": false}),
    );
    let body = |codec: &dyn EmbeddingsCodec| codec.encode("m", &request).unwrap().remove(0);
    let expected = json!({"instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY"}],
        "parameters": {"outputDimensionality": 8, "autoTruncate": false}});
    assert_eq!(body(&Predict { most: 1 }), expected);
    let config = json!({"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8, "autoTruncate": false});
    assert_eq!(
        body(&EmbedContent),
        json!({"content": {"parts": [{"text": "a"}]}, "embedContentConfig": config})
    );
    assert_eq!(body(&BatchEmbedContents)["requests"][0]["taskType"], "RETRIEVAL_QUERY");
}

#[test]
fn tokens_are_told_where_they_are_counted() {
    let none = |_: &str| None;
    let read = |codec: &dyn EmbeddingsCodec, body: Value| {
        codec.decode(&Reply { body: body.to_string().as_bytes(), header: &none }).unwrap()
    };
    let counted = read(
        &EmbedContent,
        json!({"embedding": {"values": [1.0]}, "usageMetadata": {"promptTokenCount": 4}}),
    );
    assert_eq!((counted.vectors, counted.prompt_tokens), (vec![vec![1.0]], Some(4)));
    assert_eq!(read(&BatchEmbedContents, json!({"embeddings": [{"values": [1.0]}]})).prompt_tokens, None);
    let half = json!({"predictions": [{"embeddings": {"values": [1.0], "statistics": {"token_count": 2.0}}}, {"embeddings": {"values": [1.0]}}]});
    assert_eq!(read(&Predict { most: 2 }, half).prompt_tokens, None);
}
