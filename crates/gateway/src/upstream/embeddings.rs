//! Embeddings that an entity answers in a format of its own, or in parts, as one answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use providers::Embedded;
use wire::embeddings::{Embedding, EmbeddingsRequest, EmbeddingsResponse, EmbeddingsUsage, Vector};

/// Longest answer of embeddings, in bytes, all parts together: the largest batch of the format is 2048 vectors
/// of 3072 numbers, and a number takes up to 25 characters with what is between two.
pub(super) const MAX_EMBEDDINGS: usize = 160 << 20;

/// What of [`MAX_EMBEDDINGS`] is left for the parts that are not read yet.
#[derive(Debug)]
pub(super) struct Room(AtomicUsize);

impl Default for Room {
    fn default() -> Self {
        Self(AtomicUsize::new(MAX_EMBEDDINGS))
    }
}

impl Room {
    pub(super) fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// False where there is less left.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// The parts as one answer, and the tokens where all parts tell them. Errors when the vectors are not as
/// many as the inputs.
pub(super) fn merge(
    model: &str,
    request: &EmbeddingsRequest,
    parts: Vec<Embedded>,
) -> Result<(EmbeddingsResponse, Option<u64>), String> {
    let tokens = parts.iter().map(|part| part.prompt_tokens).sum::<Option<u64>>();
    let vectors: Vec<Vec<f64>> = parts.into_iter().flat_map(|part| part.vectors).collect();
    if vectors.len() != request.input.len() {
        return Err(format!("{} vectors for {} inputs", vectors.len(), request.input.len()));
    }
    let base64 = request.encoding_format.as_deref() == Some("base64");
    let data = (0..).zip(vectors).map(|(index, vector)| Embedding {
        object: "embedding".to_owned(),
        index,
        embedding: if base64 { packed(&vector) } else { Vector::Numbers(vector) },
        ..Embedding::default()
    });
    let response = EmbeddingsResponse {
        object: "list".to_owned(),
        data: data.collect(),
        model: model.to_owned(),
        usage: tokens.map(usage),
        ..EmbeddingsResponse::default()
    };
    Ok((response, tokens))
}

pub(super) fn usage(tokens: u64) -> EmbeddingsUsage {
    EmbeddingsUsage { prompt_tokens: tokens, total_tokens: tokens }
}

/// The form OpenAI's SDK asks for by default: the little-endian bytes of 32-bit floats.
fn packed(vector: &[f64]) -> Vector {
    #[expect(clippy::cast_possible_truncation, reason = "the format has 32 bits a number")]
    let bytes: Vec<u8> = vector.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
    Vector::Packed(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(format: &str) -> EmbeddingsRequest {
        serde_json::from_value(json!({"input": ["a", "b", "c"], "encoding_format": format})).unwrap()
    }

    fn parts() -> Vec<Embedded> {
        let part = |vectors: &[f64], tokens| Embedded {
            vectors: vectors.iter().map(|v| vec![*v, 0.5]).collect(),
            prompt_tokens: tokens,
        };
        vec![part(&[1.0, 2.0], Some(3)), part(&[3.0], Some(2))]
    }

    #[test]
    fn parts_are_one_answer_in_the_order_of_the_inputs() {
        let (merged, tokens) = merge("m", &request("float"), parts()).unwrap();
        let told = serde_json::to_value(merged).unwrap();
        assert_eq!(tokens, Some(5));
        assert_eq!(told["usage"], json!({"prompt_tokens": 5, "total_tokens": 5}));
        assert_eq!(told["data"][2], json!({"object": "embedding", "index": 2, "embedding": [3.0, 0.5]}));
    }

    #[test]
    fn base64_holds_little_endian_floats() {
        let (merged, _) = merge("m", &request("base64"), parts()).unwrap();
        let Vector::Packed(packed) = &merged.data[0].embedding else { panic!("no base64") };
        let bytes = STANDARD.decode(packed).unwrap();
        assert_eq!(bytes, [0, 0, 128, 63, 0, 0, 0, 63]);
    }

    #[test]
    fn all_parts_together_have_one_bound() {
        let room = Room::default();
        assert_eq!(room.left(), MAX_EMBEDDINGS);
        assert!(room.take(MAX_EMBEDDINGS - 1) && room.left() == 1);
        assert!(!room.take(2) && room.take(1));
        assert_eq!(room.left(), 0);
    }

    #[test]
    fn a_missing_vector_or_count_is_not_made_up() {
        assert!(merge("m", &request("float"), parts()[..1].to_vec()).is_err());
        let mut parts = parts();
        parts[1].prompt_tokens = None;
        assert_eq!(merge("m", &request("float"), parts).unwrap().1, None);
    }
}
