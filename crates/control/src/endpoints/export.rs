//! What can be read of an endpoint besides its config: metrics, its OpenAPI document, logs.

use std::fmt::Write;

use policy::runtime::{LATENCY_BOUNDS_MS, Minute};
use providers::Task;
use serde_json::{Value, json};
use store::model::EndpointRecord;
use wire::error::ApiError;

use super::read::{served, stored};
use crate::clock;
use crate::reply::{Failure, Reply};
use crate::request::Call;

/// Databricks' names: in spite of `_total`, all are gauges over the last minute, stamped in milliseconds.
pub(super) async fn metrics(call: Call) -> Result<Reply, Failure> {
    let record = stored(&call).await?;
    let minute = call.control.runtime().minute(&record.id);
    Ok(Reply::text(exposition(&record.name, &minute, clock::now_ms())))
}

fn exposition(endpoint: &str, minute: &Minute, now: i64) -> String {
    let mut out = String::new();
    let mut line = |name: &str, labels: &str, value: f64| {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "{name}{{endpoint_name=\"{endpoint}\"{labels}}} {value} {now}");
    };
    for (name, value) in [
        ("provisioned_concurrent_requests_total", minute.in_flight),
        ("request_count_total", minute.requests),
        ("request_4xx_count_total", minute.client_errors),
        ("request_5xx_count_total", minute.server_errors),
    ] {
        line(name, "", value as f64);
    }
    let mut below = 0;
    for (bound, count) in LATENCY_BOUNDS_MS.iter().zip(&minute.latency) {
        below += count;
        line("request_latency_ms_bucket", &format!(",le=\"{bound}\""), below as f64);
    }
    line("request_latency_ms_bucket", ",le=\"+Inf\"", minute.requests as f64);
    line("request_latency_ms_sum", "", minute.latency_sum_ms);
    line("request_latency_ms_count", "", minute.requests as f64);
    out
}

pub(super) async fn openapi(call: Call) -> Result<Reply, Failure> {
    let record = served(&call).await?;
    let models = record.document.config.served_entities.iter().filter_map(|e| e.external_model.as_ref());
    let task = models.filter_map(|m| Task::parse(&m.task)).next().unwrap_or(Task::Chat);
    Reply::json(&document(&record, task, &call.base_url))
}

fn document(record: &EndpointRecord, task: Task, server: &str) -> Value {
    let (field, schema) = match task {
        Task::Chat => ("messages", json!({"type": "array", "minItems": 1, "items": {"type": "object"}})),
        Task::Completions => ("prompt", json!({"type": ["string", "array"]})),
        Task::Embeddings => ("input", json!({"type": ["string", "array"]})),
    };
    let request = json!({"type": "object", "required": [field], "properties": {field: schema}});
    let operation = json!({
        "summary": format!("query the endpoint ({})", task.as_str()),
        "requestBody": {"required": true, "content": {"application/json": {"schema": request}}},
        "responses": {"200": {"description": "the answer", "content": {"application/json": {"schema": {"type": "object"}}}}},
    });
    let path = format!("/serving-endpoints/{}/invocations", record.name);
    json!({
        "openapi": "3.1.0",
        "info": {"title": record.name, "version": record.config_version.to_string()},
        "servers": [{"url": server}],
        "paths": {path: {"post": operation}},
    })
}

/// External models run elsewhere: there is nothing to show, and clients want the field all the same.
pub(super) async fn logs(call: Call) -> Result<Reply, Failure> {
    let record = stored(&call).await?;
    let entity = call.path("entity");
    let known = |e: &wire::endpoint::ServedEntity| e.name.as_deref() == Some(entity);
    if !record.document.config.served_entities.iter().any(known) {
        let message = format!("endpoint {:?} has no served entity {entity:?}", record.name);
        return Err(ApiError::not_found(message).into());
    }
    Reply::json(&json!({"logs": ""}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_every_line_is_stamped() {
        let minute =
            Minute { requests: 3, latency: vec![1, 0, 1], latency_sum_ms: 60.5, ..Minute::default() };
        let text = exposition("e", &minute, 42);
        assert!(text.contains("request_count_total{endpoint_name=\"e\"} 3 42\n"));
        assert!(text.contains(",le=\"5\"} 1 42\n") && text.contains(",le=\"+Inf\"} 3 42\n"), "{text}");
        assert!(text.lines().all(|line| line.ends_with(" 42")));
    }
}
