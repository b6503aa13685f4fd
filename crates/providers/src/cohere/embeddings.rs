//! `/v2/embed`.

use ::wire::Object;
use ::wire::embeddings::EmbeddingsRequest;
use serde_json::{Value, json};

use super::response::{count, error};
use crate::codec::{Embedded, EmbeddingsCodec, Malformed, Refused, Reply, UpstreamError};

/// Most texts of one call.
const MAX_TEXTS: usize = 96;
/// What a text is embedded for, where the caller does not say: the newer models refuse a call without it.
const INPUT_TYPE: &str = "search_document";

#[derive(Clone, Copy, Debug)]
pub(super) struct Embed;

impl EmbeddingsCodec for Embed {
    /// A text that is a `data:` URL of an image is an image, of which a call takes one.
    fn encode(&self, model: &str, request: &EmbeddingsRequest) -> Result<Vec<Value>, Refused> {
        let texts = request
            .input
            .texts()
            .ok_or_else(|| Refused::new("input", "must be text: tokens are of the model that made them"))?;
        if texts.is_empty() {
            return Err(Refused::new("input", "must not be an empty list"));
        }
        let mut bodies = Vec::new();
        for run in texts.chunk_by(|a, b| !is_image(a) && !is_image(b)) {
            if let [image] = run
                && is_image(image)
            {
                bodies.push(body(model, request, "image", "images", json!([image])));
                continue;
            }
            let kind = request.extra.get("input_type").and_then(Value::as_str).unwrap_or(INPUT_TYPE);
            bodies.extend(run.chunks(MAX_TEXTS).map(|part| body(model, request, kind, "texts", json!(part))));
        }
        Ok(bodies)
    }

    fn decode(&self, reply: &Reply<'_>) -> Result<Embedded, Malformed> {
        let body: Value = serde_json::from_slice(reply.body)?;
        // An object by type; a plain list from gateways that speak the older version.
        let embeddings = body["embeddings"].get("float").unwrap_or(&body["embeddings"]);
        let vectors = serde_json::from_value(embeddings.clone())?;
        let billed = &body["meta"]["billed_units"];
        let counts = [&billed["input_tokens"], &billed["image_tokens"]].map(count);
        let told = counts.iter().any(Option::is_some);
        Ok(Embedded {
            vectors,
            prompt_tokens: told.then(|| counts.into_iter().flatten().fold(0, u64::saturating_add)),
        })
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        error(status, body)
    }
}

fn is_image(text: &str) -> bool {
    text.starts_with("data:image/")
}

fn body(model: &str, request: &EmbeddingsRequest, kind: &str, field: &str, inputs: Value) -> Value {
    let mut body = Object::new();
    body.insert("model".to_owned(), model.into());
    body.insert("input_type".to_owned(), kind.into());
    body.insert("embedding_types".to_owned(), json!(["float"]));
    body.insert(field.to_owned(), inputs);
    if let Some(dimensions) = request.dimensions {
        body.insert("output_dimension".to_owned(), dimensions.into());
    }
    if let Some(truncate) = request.extra.get("truncate").filter(|truncate| truncate.is_string()) {
        body.insert("truncate".to_owned(), truncate.clone());
    }
    Value::Object(body)
}
