//! Embeddings, in the three ways in which they are asked for.

use serde_json::{Value, json};

use super::method;
use crate::echo::{Tokens, text_of, tokens_of};
use crate::format::{Call, Refusal, Reply};
use crate::openai::vector;

const DEFAULT_DIMENSIONS: u64 = 8;
const MAX_DIMENSIONS: u64 = 3072;

pub(super) fn reply(call: &Call<'_>) -> Result<Reply, Refusal> {
    match method(call.path) {
        "predict" => predict(call),
        "embedContent" => {
            let config = call.body.get("embedContentConfig").unwrap_or(call.body);
            let (values, tokens) = embedded(call.body, config)?;
            Reply::json(
                &json!({"embedding": {"values": values}, "usageMetadata": {"promptTokenCount": tokens}}),
            )
        }
        _ => {
            let requests = inputs(call.body, "requests", 100)?;
            let embedding = |request: &Value| Ok(json!({"values": embedded(request, request)?.0}));
            let embeddings = requests.iter().map(embedding).collect::<Result<Vec<_>, Refusal>>()?;
            Reply::json(&json!({"embeddings": embeddings}))
        }
    }
}

fn inputs<'a>(body: &'a Value, key: &str, most: usize) -> Result<&'a [Value], Refusal> {
    let inputs = body.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if inputs.is_empty() || inputs.len() > most {
        return Err(Refusal::bad_request(format!("{key} must be 1 to {most}, got {}", inputs.len())));
    }
    Ok(inputs)
}

fn predict(call: &Call<'_>) -> Result<Reply, Refusal> {
    let most = if call.model.starts_with("gemini") { 1 } else { 250 };
    let instances = inputs(call.body, "instances", most)?;
    let dimensions = dimensions(call.body.get("parameters").unwrap_or(&Value::Null))?;
    let prediction = |instance: &Value| {
        let text = instance.get("content").and_then(Value::as_str);
        let text = text.ok_or_else(|| Refusal::bad_request("Required field instances.content is missing"))?;
        let tokens = tokens_of(text.chars().count());
        call.bill(Tokens::new(tokens, 0));
        let statistics = json!({"token_count": tokens, "truncated": false});
        Ok(json!({"embeddings": {"values": vector(text, dimensions), "statistics": statistics}}))
    };
    let predictions = instances.iter().map(prediction).collect::<Result<Vec<_>, Refusal>>()?;
    Reply::json(&json!({"predictions": predictions}))
}

fn embedded(request: &Value, config: &Value) -> Result<(Vec<f32>, usize), Refusal> {
    let content = request.pointer("/content/parts").unwrap_or(&Value::Null);
    let text = text_of(content);
    if text.is_empty() {
        return Err(Refusal::bad_request("content is empty"));
    }
    Ok((vector(&text, dimensions(config)?), tokens_of(text.chars().count())))
}

fn dimensions(settings: &Value) -> Result<usize, Refusal> {
    let wanted = settings.get("outputDimensionality").map_or(Some(DEFAULT_DIMENSIONS), Value::as_u64);
    let wanted = wanted.filter(|wanted| (1..=MAX_DIMENSIONS).contains(wanted));
    wanted
        .and_then(|wanted| usize::try_from(wanted).ok())
        .ok_or_else(|| Refusal::bad_request(format!("outputDimensionality must be 1 to {MAX_DIMENSIONS}")))
}
