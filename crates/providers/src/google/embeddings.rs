//! Embeddings, in the three ways in which they are asked for.

use ::wire::Object;
use ::wire::embeddings::EmbeddingsRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::response::error;
use crate::codec::{Embedded, EmbeddingsCodec, Malformed, Refused, Reply, UpstreamError};

/// Most inputs of one call.
const MOST: usize = 100;

fn texts(request: &EmbeddingsRequest) -> Result<&[String], Refused> {
    match request.input.texts() {
        Some([]) => Err(Refused::new("input", "must not be an empty list")),
        Some(texts) => Ok(texts),
        None => {
            Err(Refused::new("input", "must be text: token ids are known only to the model that made them"))
        }
    }
}

/// A field of the API's own, in either spelling.
fn own<'a>(request: &'a EmbeddingsRequest, key: &str, spelled: &str) -> Option<&'a Value> {
    request.extra.get(key).or_else(|| request.extra.get(spelled)).filter(|v| !v.is_null())
}

/// The settings of a call, under the names of the API.
fn settings(request: &EmbeddingsRequest) -> Object {
    let task_type = own(request, "taskType", "task_type").cloned();
    let title = own(request, "title", "title").cloned();
    let dimensions = request.dimensions.map(Value::from);
    let named = [("taskType", task_type), ("title", title), ("outputDimensionality", dimensions)];
    named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn content(text: &str) -> Value {
    json!({"parts": [{"text": text}]})
}

#[derive(Deserialize)]
struct Vector {
    values: Vec<f64>,
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    /// Whole, but written as a decimal number.
    token_count: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    prompt_token_count: Option<u64>,
}

/// `:batchEmbedContents`: several inputs a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchEmbedContents;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchReply {
    embeddings: Vec<Vector>,
    usage_metadata: Option<Counts>,
}

impl EmbeddingsCodec for BatchEmbedContents {
    fn encode(&self, model: &str, request: &EmbeddingsRequest) -> Result<Vec<Value>, Refused> {
        let model = format!("models/{}", model.strip_prefix("models/").unwrap_or(model));
        let one = |text: &String| {
            let mut one = settings(request);
            one.insert("model".to_owned(), model.as_str().into());
            one.insert("content".to_owned(), content(text));
            Value::Object(one)
        };
        let call = |texts: &[String]| json!({"requests": texts.iter().map(one).collect::<Vec<_>>()});
        Ok(texts(request)?.chunks(MOST).map(call).collect())
    }

    fn decode(&self, reply: &Reply<'_>) -> Result<Embedded, Malformed> {
        let BatchReply { embeddings, usage_metadata } = serde_json::from_slice(reply.body)?;
        Ok(Embedded {
            vectors: embeddings.into_iter().map(|e| e.values).collect(),
            prompt_tokens: usage_metadata.and_then(|u| u.prompt_token_count),
        })
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        error(status, body)
    }
}

/// `:embedContent`: one input a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmbedContent;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmbedReply {
    embedding: Vector,
    usage_metadata: Option<Counts>,
}

impl EmbeddingsCodec for EmbedContent {
    fn encode(&self, _model: &str, request: &EmbeddingsRequest) -> Result<Vec<Value>, Refused> {
        let mut config = settings(request);
        if let Some(truncate) = own(request, "autoTruncate", "auto_truncate") {
            config.insert("autoTruncate".to_owned(), truncate.clone());
        }
        let call = |text: &String| {
            let mut body = json!({"content": content(text)});
            if !config.is_empty() {
                body["embedContentConfig"] = Value::Object(config.clone());
            }
            body
        };
        Ok(texts(request)?.iter().map(call).collect())
    }

    fn decode(&self, reply: &Reply<'_>) -> Result<Embedded, Malformed> {
        let EmbedReply { embedding, usage_metadata } = serde_json::from_slice(reply.body)?;
        Ok(Embedded {
            vectors: vec![embedding.values],
            prompt_tokens: usage_metadata.and_then(|u| u.prompt_token_count),
        })
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        error(status, body)
    }
}

/// `:predict`, which the older models have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Predict {
    /// Most inputs of one call.
    pub(crate) most: usize,
}

#[derive(Deserialize)]
struct Predictions {
    predictions: Vec<Prediction>,
}

#[derive(Deserialize)]
struct Prediction {
    embeddings: Vector,
}

impl EmbeddingsCodec for Predict {
    fn encode(&self, _model: &str, request: &EmbeddingsRequest) -> Result<Vec<Value>, Refused> {
        let mut parameters = Object::new();
        if let Some(dimensions) = request.dimensions {
            parameters.insert("outputDimensionality".to_owned(), dimensions.into());
        }
        if let Some(truncate) = own(request, "autoTruncate", "auto_truncate") {
            parameters.insert("autoTruncate".to_owned(), truncate.clone());
        }
        let one = |text: &String| {
            let mut one = json!({"content": text});
            for (key, other) in [("task_type", "taskType"), ("title", "title")] {
                if let Some(value) = own(request, key, other) {
                    one[key] = value.clone();
                }
            }
            one
        };
        let call = |texts: &[String]| {
            let mut body = json!({"instances": texts.iter().map(one).collect::<Vec<_>>()});
            if !parameters.is_empty() {
                body["parameters"] = Value::Object(parameters.clone());
            }
            body
        };
        Ok(texts(request)?.chunks(self.most).map(call).collect())
    }

    fn decode(&self, reply: &Reply<'_>) -> Result<Embedded, Malformed> {
        let Predictions { predictions } = serde_json::from_slice(reply.body)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count; the cast saturates"
        )]
        let count = |p: &Prediction| Some(p.embeddings.statistics.as_ref()?.token_count? as u64);
        let tokens = predictions.iter().map(count).try_fold(0_u64, |sum, n| Some(sum.saturating_add(n?)));
        Ok(Embedded {
            prompt_tokens: tokens,
            vectors: predictions.into_iter().map(|p| p.embeddings.values).collect(),
        })
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        error(status, body)
    }
}
