//! Embeddings by InvokeModel: a format for each family of models.

use ::wire::embeddings::{EmbeddingsRequest, Input};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Maker, response};
use crate::codec::{Embedded, EmbeddingsCodec, Malformed, Refused, Reply, UpstreamError};

/// Texts that one call to an Embed model takes.
const EMBED_BATCH: usize = 96;
/// Where a call's tokens are counted that counts none in its body.
const TOKEN_HEADER: &str = "x-amzn-bedrock-input-token-count";

#[derive(Clone, Copy, Debug)]
pub(super) struct Embeddings {
    pub(super) maker: Maker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One text a call, one size.
    TitanV1,
    /// One text a call, a size of choice.
    Titan,
    /// Several texts a call, one size.
    Embed,
    /// The same with a size of choice.
    EmbedV4,
    Nova,
}

impl Embeddings {
    /// The format of a model, `None` where it does not embed. An ARN that hides the name may stand for any
    /// model: where embeddings are asked of it, the maker decides.
    pub(super) fn format(self, model: &str) -> Option<Format> {
        self.named(model).or_else(|| if hides_name(model) { self.makers() } else { None })
    }

    /// The format that the name tells; a region may stand before it.
    pub(super) fn named(self, model: &str) -> Option<Format> {
        match () {
            () if model.contains("cohere.embed-v4") => Some(Format::EmbedV4),
            () if model.contains("cohere.embed") => Some(Format::Embed),
            () if model.contains("nova") && model.contains("embed") => Some(Format::Nova),
            () if model.contains("titan-embed-text-v2") || model.contains("titan-embed-image") => {
                Some(Format::Titan)
            }
            () if model.contains("titan-embed") => Some(Format::TitanV1),
            () if model.contains("embed") => self.makers(),
            () => None,
        }
    }

    fn makers(self) -> Option<Format> {
        match self.maker.0 {
            "cohere" => Some(Format::Embed),
            "amazon" => Some(Format::Titan),
            _ => None,
        }
    }
}

/// Whether it is an ARN without a model's name, which has its maker's before a dot.
fn hides_name(model: &str) -> bool {
    model.starts_with("arn:") && model.rsplit('/').next().is_none_or(|name| !name.contains('.'))
}

impl EmbeddingsCodec for Embeddings {
    fn encode(&self, model: &str, request: &EmbeddingsRequest) -> Result<Vec<Value>, Refused> {
        let texts = texts(&request.input)?;
        let format = self.format(model).ok_or_else(|| {
            Refused::new("model", format!("{model:?} is no model of embeddings that is known here"))
        })?;
        let fixed = matches!(format, Format::TitanV1 | Format::Embed);
        if request.dimensions.is_some() && fixed {
            return Err(Refused::new("dimensions", format!("{model:?} has vectors of one size")));
        }
        Ok(match format {
            Format::TitanV1 => texts.iter().map(|text| json!({ "inputText": text })).collect(),
            Format::Titan => texts.iter().map(|text| titan(model, text, request)).collect(),
            Format::Nova => texts.iter().map(|text| nova(text, request)).collect(),
            Format::Embed | Format::EmbedV4 => {
                texts.chunks(EMBED_BATCH).map(|part| embed(format, part, request)).collect()
            }
        })
    }

    fn decode(&self, reply: &Reply<'_>) -> Result<Embedded, Malformed> {
        let answer: Answer = serde_json::from_slice(reply.body)?;
        let vectors = match (answer.embedding, answer.embeddings) {
            (Some(vector), _) => vec![vector],
            (None, Some(Vectors::Plain(vectors))) => vectors,
            (None, Some(Vectors::Typed { float })) => float,
            (None, Some(Vectors::Named(named))) => named.into_iter().map(|n| n.embedding).collect(),
            (None, None) => {
                return Err(Malformed("the reply has neither embedding nor embeddings".to_owned()));
            }
        };
        let counted = || (reply.header)(TOKEN_HEADER)?.parse().ok();
        Ok(Embedded { vectors, prompt_tokens: answer.input_text_token_count.or_else(counted) })
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        response::error(status, body)
    }
}

fn texts(input: &Input) -> Result<&[String], Refused> {
    let texts = input
        .texts()
        .ok_or_else(|| Refused::new("input", "must be text: tokens are of another model's making"))?;
    if texts.is_empty() {
        return Err(Refused::new("input", "must not be an empty list"));
    }
    Ok(texts)
}

/// A field of the model's own that the caller gave.
fn own<'a>(request: &'a EmbeddingsRequest, name: &str) -> Option<&'a Value> {
    request.extra.get(name).filter(|v| !v.is_null())
}

fn titan(model: &str, text: &str, request: &EmbeddingsRequest) -> Value {
    let mut body = json!({ "inputText": text });
    if model.contains("titan-embed-image") {
        if let Some(size) = request.dimensions {
            body["embeddingConfig"] = json!({ "outputEmbeddingLength": size });
        }
        return body;
    }
    if let Some(size) = request.dimensions {
        body["dimensions"] = size.into();
    }
    if let Some(normalize) = own(request, "normalize") {
        body["normalize"] = normalize.clone();
    }
    body
}

fn embed(format: Format, texts: &[String], request: &EmbeddingsRequest) -> Value {
    let kind = own(request, "input_type").cloned().unwrap_or_else(|| "search_document".into());
    let mut body = json!({"texts": texts, "input_type": kind});
    if let Some(truncate) = own(request, "truncate") {
        body["truncate"] = truncate.clone();
    }
    if format == Format::EmbedV4 {
        body["embedding_types"] = json!(["float"]);
        if let Some(size) = request.dimensions {
            body["output_dimension"] = size.into();
        }
    }
    body
}

fn nova(text: &str, request: &EmbeddingsRequest) -> Value {
    let purpose = own(request, "embedding_purpose").cloned().unwrap_or_else(|| "GENERIC_INDEX".into());
    let mut params = json!({"embeddingPurpose": purpose, "text": {"truncationMode": "END", "value": text}});
    if let Some(size) = request.dimensions {
        params["embeddingDimension"] = size.into();
    }
    json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params})
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    embedding: Option<Vec<f64>>,
    embeddings: Option<Vectors>,
    input_text_token_count: Option<u64>,
}

/// `embeddings` of an Embed model, plain or by type, and of Nova.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vectors {
    Plain(Vec<Vec<f64>>),
    Typed { float: Vec<Vec<f64>> },
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    embedding: Vec<f64>,
}
