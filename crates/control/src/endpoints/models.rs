//! The endpoints that the caller may query, where clients look for models: as Databricks' own models, and as
//! models of Unity Catalog.

use policy::{Level, permit};
use serde_json::{Value, json};
use store::model::EndpointRecord;

use super::read::records;
use crate::publish::meta;
use crate::reply::{Failure, Reply};
use crate::request::Call;

/// The formats in which a chat endpoint can be asked, whatever its provider speaks.
const CHAT: [&str; 4] = [
    "mlflow/v1/chat/completions",
    "openai/v1/responses",
    "anthropic/v1/messages",
    "gemini/v1/generateContent",
];

pub(super) async fn foundation_models(call: Call) -> Result<Reply, Failure> {
    let endpoints: Vec<Value> = queryable(&call).await?.iter().map(foundation_model).collect();
    Reply::json(&json!({ "endpoints": endpoints }))
}

fn foundation_model(record: &EndpointRecord) -> Value {
    let name = record.name.as_str();
    let model = json!({"name": name, "display_name": name, "description": record.document.description,
        "ai_gateway_v2_supported": true, "api_types": api_types(record)});
    json!({"name": name, "config": {"served_entities": [{"name": name, "foundation_model": model}]}})
}

fn api_types(record: &EndpointRecord) -> Vec<&'static str> {
    let mut models = record.document.config.served_entities.iter().filter_map(|e| e.external_model.as_ref());
    match models.next().map(|model| model.task.as_str()) {
        Some("llm/v1/chat") => CHAT.to_vec(),
        Some("llm/v1/embeddings") => vec!["mlflow/v1/embeddings"],
        _ => Vec::new(),
    }
}

/// An endpoint is in no catalog: its name is the whole name.
pub(super) async fn registered(call: Call) -> Result<Reply, Failure> {
    let model =
        |record: &EndpointRecord| json!({"name": record.name, "full_name": record.name, "id": record.id});
    let models: Vec<Value> = queryable(&call).await?.iter().map(model).collect();
    Reply::json(&json!({ "registered_models": models }))
}

/// There are none; clients ask before they fall back to serving endpoints.
pub(super) async fn services(_call: Call) -> Result<Reply, Failure> {
    Reply::json(&json!({"model_services": []}))
}

/// There are none; clients ask before they fall back to serving endpoints.
pub(super) async fn gateway_endpoints(_call: Call) -> Result<Reply, Failure> {
    Reply::json(&json!({"endpoints": []}))
}

async fn queryable(call: &Call) -> Result<Vec<EndpointRecord>, Failure> {
    let caller = call.caller()?;
    let mut endpoints = records(call).await?;
    endpoints.retain(|record| permit::level_of(caller, &meta(record).grants) >= Some(Level::Query));
    Ok(endpoints)
}
