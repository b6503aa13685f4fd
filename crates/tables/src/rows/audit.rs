//! Rows of `system.access.audit`.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use journal::Audited;
use journal::audit::AuditPhase;
use serde::Serialize;
use serde_json::Value;

use super::{Row, Workspace, day, micros, serialized};

/// Of Databricks' records, whose columns these are.
const VERSION: &str = "2.0";

/// A management call: once before its effect, once after.
#[derive(Debug, Serialize)]
pub(crate) struct AuditRow {
    account_id: String,
    workspace_id: String,
    version: &'static str,
    event_time: i64,
    event_date: i32,
    source_ip_address: Option<String>,
    user_agent: String,
    user_identity: Identity,
    service_name: String,
    action_name: String,
    request_id: String,
    request_params: BTreeMap<String, String>,
    response: Option<Response>,
    audit_level: &'static str,
    event_id: String,
    phase: &'static str,
    method: String,
    path: String,
    object_before: Option<String>,
    object_after: Option<String>,
}

#[derive(Debug, Serialize)]
struct Identity {
    email: Option<String>,
}

#[derive(Debug, Serialize)]
struct Response {
    status_code: i32,
    error_message: Option<String>,
}

impl Row for AuditRow {
    fn day(&self) -> Option<i32> {
        Some(self.event_date)
    }

    fn batch(rows: &[Self], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        serialized(rows, schema)
    }
}

impl AuditRow {
    pub(super) fn new(audited: &Audited, workspace: &Workspace) -> Self {
        let record = &audited.record;
        let (phase, before, after) = match &record.phase {
            AuditPhase::Allowed { before } => ("allowed", Some(before), None),
            AuditPhase::Denied { .. } => ("denied", None, None),
            AuditPhase::Done { after, .. } => ("done", None, Some(after)),
        };
        let some = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
        Self {
            account_id: workspace.account_id.clone(),
            workspace_id: workspace.workspace_id.clone(),
            version: VERSION,
            event_time: micros(audited.at),
            event_date: day(audited.at),
            source_ip_address: record.peer.map(|ip| ip.to_string()),
            user_agent: record.user_agent.clone(),
            user_identity: Identity { email: record.principal.as_deref().map(str::to_owned) },
            service_name: service(&record.route).to_owned(),
            action_name: format!("{} {}", record.method, record.route),
            request_id: record.request_id.0.to_string(),
            request_params: params(&record.request),
            response: response(&record.phase),
            audit_level: "WORKSPACE_LEVEL",
            event_id: audited.event_id.clone(),
            phase,
            method: record.method.clone(),
            path: record.path.clone(),
            object_before: some(before),
            object_after: some(after),
        }
    }
}

fn response(phase: &AuditPhase) -> Option<Response> {
    let (status, error_message) = match phase {
        AuditPhase::Allowed { .. } => return None,
        AuditPhase::Denied { status, message } => (*status, Some(message.clone())),
        AuditPhase::Done { status, after } if *status >= 400 => (*status, error_message(after)),
        AuditPhase::Done { status, .. } => (*status, None),
    };
    let error_message = error_message.filter(|message| !message.is_empty());
    Some(Response { status_code: status.into(), error_message })
}

/// What a route is of: `serving-endpoints` of `/api/2.0/serving-endpoints/{name}`.
fn service(route: &str) -> &str {
    let mut parts = route.split('/').filter(|part| !part.is_empty());
    match parts.next() {
        Some("api") => parts.nth(1).unwrap_or_default(),
        first => first.unwrap_or_default(),
    }
}

/// Of an answer that is an error. What an object that stayed as it was holds under this name is none.
fn error_message(answer: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    // SCIM has a form of its own.
    let said = if answer.get("error_code").is_some() { answer.get("message") } else { answer.get("detail") };
    said?.as_str().map(str::to_owned)
}

/// The fields of a body, each as text.
fn params(request: &str) -> BTreeMap<String, String> {
    let Ok(Value::Object(fields)) = serde_json::from_str(request) else { return BTreeMap::new() };
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    fields.into_iter().map(|(name, value)| (name, text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_of_a_service() {
        assert_eq!(service("/api/2.0/serving-endpoints/{name}"), "serving-endpoints");
        assert_eq!(service("/oidc/v1/token"), "oidc");
        assert_eq!(params(r#"{"a":1,"b":"x"}"#).into_values().collect::<Vec<_>>(), ["1", "x"]);
        assert!(params("").is_empty());
    }

    #[test]
    fn what_was_wrong_is_told_where_the_answer_says_it() {
        let told = r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no endpoint \"x\""}"#;
        assert_eq!(error_message(told).unwrap(), "no endpoint \"x\"");
        assert_eq!(error_message(r#"{"detail":"no user 7","status":"404"}"#).unwrap(), "no user 7");
        assert_eq!(error_message(r#"{"name":"x","message":"of the object"}"#), None);
        assert_eq!(error_message("[longer than 64 KiB]"), None);
    }
}
