//! Embeddings: a unit vector that depends on the text only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::completions::texts;
use crate::echo::{Tokens, tokens_of};
use crate::format::{Call, Refusal, Reply};

const DEFAULT_DIMENSIONS: u64 = 8;
const MAX_DIMENSIONS: u64 = 8_192;
const MAX_INPUTS: usize = 2_048;

#[derive(Serialize)]
struct Embeddings<'a> {
    object: &'a str,
    data: Vec<Embedding<'a>>,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Embedding<'a> {
    object: &'a str,
    index: usize,
    embedding: Numbers,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(super) fn reply(call: &Call<'_>) -> Result<Reply, Refusal> {
    let inputs = texts(call.body.get("input").unwrap_or(&Value::Null));
    if inputs.is_empty() || inputs.len() > MAX_INPUTS {
        return Err(Refusal::bad_param("input", format!("input must be 1 to {MAX_INPUTS} texts")));
    }
    let dimensions = dimensions(call.body)?;
    let base64 = encoded_as_base64(call.body)?;
    let chars = inputs.iter().map(|text| text.chars().count()).sum();
    let tokens = tokens_of(chars);
    call.bill(Tokens::new(tokens, 0));
    let embedding = |(index, text): (usize, &std::borrow::Cow<'_, str>)| {
        let vector = vector(text, dimensions);
        let embedding = if base64 { Numbers::Base64(packed(&vector)) } else { Numbers::Floats(vector) };
        Embedding { object: "embedding", index, embedding }
    };
    Reply::json(&Embeddings {
        object: "list",
        data: inputs.iter().enumerate().map(embedding).collect(),
        model: call.model,
        usage: call.with_usage().then_some(Usage { prompt_tokens: tokens, total_tokens: tokens }),
    })
}

fn dimensions(body: &Value) -> Result<usize, Refusal> {
    let wanted = match body.get("dimensions") {
        None | Some(Value::Null) => Some(DEFAULT_DIMENSIONS),
        Some(wanted) => wanted.as_u64().filter(|wanted| (1..=MAX_DIMENSIONS).contains(wanted)),
    };
    let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok());
    wanted
        .ok_or_else(|| Refusal::bad_param("dimensions", format!("dimensions must be 1 to {MAX_DIMENSIONS}")))
}

fn encoded_as_base64(body: &Value) -> Result<bool, Refusal> {
    match body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => Err(Refusal::bad_param("encoding_format", "encoding_format must be float or base64")),
    }
}

/// Each number is four bytes of a hash of the text and its block, then all are scaled to length one.
pub(crate) fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut raw = Vec::with_capacity(dimensions);
    for block in 0_u32.. {
        if raw.len() >= dimensions {
            break;
        }
        let digest = Sha256::new().chain_update(text).chain_update(block.to_le_bytes()).finalize();
        let numbers = digest.chunks_exact(4).filter_map(|four| four.try_into().ok().map(i32::from_le_bytes));
        raw.extend(numbers.map(|number| f64::from(number) / f64::from(i32::MAX)));
    }
    raw.truncate(dimensions);
    let length = raw.iter().map(|number| number * number).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    raw.into_iter().map(|number| (number / length) as f32).collect()
}

fn packed(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_deterministic_and_of_length_one() {
        assert_eq!(vector("a", 20), vector("a", 20));
        assert_ne!(vector("a", 20), vector("b", 20));
        let length: f32 = vector("a", 1_000).iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }

    #[test]
    fn base64_is_little_endian_floats() {
        assert_eq!(packed(&[1.0, -2.0]), STANDARD.encode([0, 0, 128, 63, 0, 0, 0, 192]));
    }
}
