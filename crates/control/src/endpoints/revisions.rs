//! `/api/tollgate/v1/endpoints/{name}/…`: revisions, rollback, cancel. Databricks has no public routes
//! for these.

use serde::Deserialize;
use serde_json::{Value, json};
use store::UpdateStatus;
use store::model::{EndpointRecord, RevisionRecord};
use wire::error::{ApiError, ErrorCode};

use super::read::stored;
use super::{ai_gateway, view};
use crate::publish::caught_up;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::update::{self, Origin};
use crate::{clock, refresh};

/// Changes that one revision shows of its difference to the one before.
const MAX_CHANGES: usize = 100;

pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let record = stored(&call).await?;
    let revisions = call.control.store().revisions(&record.id).await?;
    caught_up(&call.control).await?;
    let mut out = Vec::with_capacity(revisions.len());
    let mut before: Option<Value> = None;
    for revision in &revisions {
        let now = shown(revision);
        let mut changes = Vec::new();
        if let Some(before) = &before {
            compare("", before, &now, &mut changes);
        }
        changes.truncate(MAX_CHANGES);
        let mut item = head(revision);
        item["changes"] = changes.into();
        out.push(item);
        before = Some(now);
    }
    Reply::json(&json!({"revisions": out}))
}

pub(super) async fn get(call: Call) -> Result<Reply, Failure> {
    let record = stored(&call).await?;
    let revision = find(&call, &record, call.path("number").parse().unwrap_or(0)).await?;
    caught_up(&call.control).await?;
    let mut item = head(&revision);
    if let (Some(item), Value::Object(state)) = (item.as_object_mut(), shown(&revision)) {
        item.extend(state);
    }
    Reply::json(&item)
}

#[derive(Deserialize)]
struct Rollback {
    #[serde(default)]
    revision: i64,
}

/// Puts a revision's config and `ai_gateway` block back in force, as a new revision.
pub(super) async fn rollback(call: Call) -> Result<Reply, Failure> {
    let Rollback { revision } = call.json()?;
    let (control, caller) = (&call.control, call.caller()?);
    let _writing = control.inner.writing.lock().await;
    let mut record = stored(&call).await?;
    update::refuse_second(&record)?;
    let target = find(&call, &record, revision).await?.document;
    if let Some(block) = &target.ai_gateway {
        // Who judged then may be gone.
        ai_gateway::check_guardrails(control, block)?;
        ai_gateway::check_table_stays(record.document.ai_gateway.as_ref(), block)?;
        ai_gateway::check_judges(control, caller, &record.name, block)?;
    }
    record.document.ai_gateway = target.ai_gateway;
    if target.config == record.document.config {
        record.updated_at = clock::now_ms();
        control.store().revise_endpoint(&record, &caller.name).await?;
        refresh(control).await?;
    } else {
        // Its secrets may be gone, or no longer the caller's to use.
        let candidate = update::check(control, caller, target.config, &record, Origin::Revision).await?;
        update::apply(control, &mut record, candidate.config, &caller.name).await?;
    }
    tracing::info!(endpoint = record.name, revision, by = %caller.name, "endpoint rolled back");
    Reply::json(&view::detailed(&record, caller))
}

/// Ends a running update; the config in force stays.
pub(super) async fn cancel(call: Call) -> Result<Reply, Failure> {
    let (control, caller) = (&call.control, call.caller()?);
    let _writing = control.inner.writing.lock().await;
    let mut record = stored(&call).await?;
    if update::refuse_second(&record).is_ok() {
        let message = format!("Endpoint {:?} is not being updated.", record.name);
        return Err(ApiError::new(ErrorCode::InvalidState, message).into());
    }
    update::end(control, &mut record, UpdateStatus::Canceled, format!("cancelled by {}", caller.name))
        .await?;
    Reply::json(&view::detailed(&record, caller))
}

async fn find(call: &Call, record: &EndpointRecord, number: i64) -> Result<RevisionRecord, Failure> {
    let revisions = call.control.store().revisions(&record.id).await?;
    let last = revisions.last().map_or(0, |r| r.number);
    let found = revisions.into_iter().find(|r| r.number == number);
    found.ok_or_else(|| {
        let name = &record.name;
        ApiError::not_found(format!(
            "endpoint {name:?} has no revision {number}, its revisions are 1 to {last}"
        ))
        .into()
    })
}

fn head(revision: &RevisionRecord) -> Value {
    json!({
        "revision": revision.number,
        "config_version": revision.config_version,
        "author": revision.author,
        "created_at": revision.created_at,
    })
}

/// The state without the server's own references.
fn shown(revision: &RevisionRecord) -> Value {
    let document = &revision.document;
    json!({"config": view::shown_config(&document.config), "ai_gateway": document.ai_gateway})
}

/// Paths whose values differ, with both.
fn compare(path: &str, before: &Value, after: &Value, out: &mut Vec<Value>) {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let null = &Value::Null;
                compare(&at(key), a.get(key).unwrap_or(null), b.get(key).unwrap_or(null), out);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for index in 0..a.len().max(b.len()) {
                let null = &Value::Null;
                let path = format!("{path}[{index}]");
                compare(&path, a.get(index).unwrap_or(null), b.get(index).unwrap_or(null), out);
            }
        }
        _ if before != after => out.push(json!({"path": path, "before": before, "after": after})),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_paths() {
        let mut out = Vec::new();
        let before = json!({"a": [{"x": 1}, 2], "b": 1});
        compare("", &before, &json!({"a": [{"x": 3}], "c": true, "b": 1}), &mut out);
        let paths: Vec<&str> = out.iter().filter_map(|c| c["path"].as_str()).collect();
        assert_eq!(paths, ["a[0].x", "a[1]", "c"]);
        assert_eq!((&out[0]["before"], &out[0]["after"]), (&json!(1), &json!(3)));
    }
}
