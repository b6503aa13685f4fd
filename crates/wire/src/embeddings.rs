//! The unified embeddings format: OpenAI's.

use serde::{Deserialize, Serialize};

use crate::Object;

/// A request for embeddings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingsRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub input: Input,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u64>,
    /// `float`, or `base64`: little-endian `f32`s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<String>,
    #[serde(flatten)]
    pub extra: Object,
}

/// What is to be embedded: one vector each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    Text(String),
    Texts(Vec<String>),
    /// Ids of tokens: one text.
    Tokens(Vec<u64>),
    /// Ids of tokens: several texts.
    TokenLists(Vec<Vec<u64>>),
}

impl Input {
    /// How many vectors are asked for.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::TokenLists(lists) => lists.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The texts; `None` where the input is of tokens, which only the model that made them understands.
    pub fn texts(&self) -> Option<&[String]> {
        match self {
            Self::Text(text) => Some(std::slice::from_ref(text)),
            Self::Texts(texts) => Some(texts),
            Self::Tokens(_) | Self::TokenLists(_) => None,
        }
    }

    /// The input in parts of at most `most` (at least 1) each.
    pub fn chunks(&self, most: usize) -> Vec<Self> {
        match self {
            Self::Texts(texts) => texts.chunks(most).map(|c| Self::Texts(c.to_vec())).collect(),
            Self::TokenLists(lists) => lists.chunks(most).map(|c| Self::TokenLists(c.to_vec())).collect(),
            Self::Text(_) | Self::Tokens(_) => vec![self.clone()],
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingsResponse {
    #[serde(default)]
    pub object: String,
    pub data: Vec<Embedding>,
    #[serde(default)]
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<EmbeddingsUsage>,
    #[serde(flatten)]
    pub extra: Object,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    #[serde(default)]
    pub object: String,
    #[serde(default)]
    pub index: u64,
    pub embedding: Vector,
    #[serde(flatten)]
    pub extra: Object,
}

/// A vector in the form that was asked for. Numbers are kept as numbers: a batch has millions of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Vector {
    Numbers(Vec<f64>),
    /// Base64 of little-endian `f32`s.
    Packed(String),
}

impl Default for Vector {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

/// Embeddings have no output tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingsUsage {
    pub prompt_tokens: u64,
    pub total_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_of_input_is_told_apart() {
        let input =
            |value| serde_json::from_value::<EmbeddingsRequest>(json!({"input": value})).unwrap().input;
        assert_eq!(input(json!("a")).len(), 1);
        assert_eq!(input(json!(["a", "b"])).texts().map(<[String]>::len), Some(2));
        assert_eq!(input(json!([1, 2, 3])), Input::Tokens(vec![1, 2, 3]));
        assert_eq!(input(json!([[1, 2], [3]])).chunks(1).len(), 2);
        assert!(input(json!([1, 2, 3])).texts().is_none());
    }
}
