//! How an endpoint looks from outside. References to secrets are echoed as they came; the server's own
//! references, which stand for plaintext credentials, are not shown.

use policy::{Principal, permit};
use providers::SecretRef;
use providers::fields::Kind;
use serde_json::Value;
use store::model::{EndpointRecord, GrantRecord, GranteeKind};
use store::{PendingUpdate, UpdateStatus};
use wire::Object;
use wire::endpoint::{
    ConfigOut, DeploymentState, EndpointConfig, EndpointDetailed, EndpointState, ExternalModel, ServedEntity,
    ServedEntityOut,
};
use wire::error::ApiError;

use crate::publish::meta;
use crate::reply::Failure;

pub(super) fn detailed(record: &EndpointRecord, caller: &Principal) -> EndpointDetailed {
    let document = &record.document;
    EndpointDetailed {
        name: record.name.clone(),
        id: record.id.clone(),
        creator: record.creator.clone(),
        creation_timestamp: record.created_at,
        last_updated_timestamp: record.updated_at,
        state: EndpointState { ready: "READY", config_update: config_update(document.update.as_ref()) },
        config: Some(config(record)),
        pending_config: document.update.as_ref().and_then(|update| pending(record, update)),
        ai_gateway: document.ai_gateway.clone(),
        tags: document.tags.clone(),
        task: task(record),
        permission_level: permit::level_of(caller, &meta(record).grants).map(|level| level.as_str()),
        route_optimized: false,
        description: document.description.clone(),
        email_notifications: document.email_notifications.clone(),
        budget_policy_id: document.budget_policy_id.clone(),
        usage_policy_id: document.usage_policy_id.clone(),
        endpoint_type: "EXTERNAL_MODEL",
        creator_kind: creator_kind(record),
    }
}

/// The shorter form of a list: of the config, the entities' models alone.
pub(super) fn listed(record: &EndpointRecord, caller: &Principal) -> Result<Object, Failure> {
    let full =
        serde_json::to_value(detailed(record, caller)).map_err(|e| ApiError::internal(e.to_string()))?;
    let Value::Object(mut item) = full else { return Ok(Object::new()) };
    let entities = item.get_mut("config").and_then(|c| c.get_mut("served_entities")).map(Value::take);
    let mut entities = entities.unwrap_or_default();
    for entity in entities.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        entity.retain(|key, _| matches!(key.as_str(), "name" | "external_model"));
    }
    item.insert("config".to_owned(), serde_json::json!({"served_entities": entities}));
    item.remove("permission_level");
    Ok(item)
}

/// As the creator's own grant has it; a creator who is gone has none.
fn creator_kind(record: &EndpointRecord) -> &'static str {
    let own = |g: &GrantRecord| g.grantee == record.creator && g.kind == GranteeKind::ServicePrincipal;
    if record.grants.iter().any(own) { "ServicePrincipal" } else { "User" }
}

fn task(record: &EndpointRecord) -> String {
    let mut models = record.document.config.served_entities.iter().filter_map(|e| e.external_model.as_ref());
    models.next().map(|m| m.task.clone()).unwrap_or_default()
}

fn config_update(update: Option<&PendingUpdate>) -> &'static str {
    match update.map(|u| u.status) {
        None => "NOT_UPDATING",
        Some(UpdateStatus::InProgress) => "IN_PROGRESS",
        Some(UpdateStatus::Failed) => "UPDATE_FAILED",
        Some(UpdateStatus::Canceled) => "UPDATE_CANCELED",
    }
}

fn config(record: &EndpointRecord) -> ConfigOut {
    let document = &record.document;
    let ready = DeploymentState { deployment: "DEPLOYMENT_READY", deployment_state_message: String::new() };
    ConfigOut {
        served_entities: entities(
            &document.config,
            &document.config_author,
            document.config_created_at,
            &ready,
        ),
        traffic_config: document.config.traffic_config.clone().unwrap_or_default(),
        config_version: record.config_version,
        start_time: None,
    }
}

/// Shown while an update runs, and after one that failed: what was asked, and why it is not in force.
fn pending(record: &EndpointRecord, update: &PendingUpdate) -> Option<ConfigOut> {
    let deployment = match update.status {
        UpdateStatus::InProgress => "DEPLOYMENT_CREATING",
        UpdateStatus::Failed => "DEPLOYMENT_FAILED",
        UpdateStatus::Canceled => return None,
    };
    let state = DeploymentState { deployment, deployment_state_message: update.reason.clone() };
    Some(ConfigOut {
        served_entities: entities(&update.config, &update.author, update.started_at, &state),
        traffic_config: update.config.traffic_config.clone().unwrap_or_default(),
        config_version: record.config_version + 1,
        start_time: Some(update.started_at),
    })
}

fn entities(
    config: &EndpointConfig,
    creator: &str,
    created: i64,
    state: &DeploymentState,
) -> Vec<ServedEntityOut> {
    let out = |entity: ServedEntity| ServedEntityOut {
        entity,
        creator: creator.to_owned(),
        creation_timestamp: created,
        state: state.clone(),
    };
    shown_config(config).served_entities.into_iter().map(out).collect()
}

/// A config without the server's own references.
pub(super) fn shown_config(config: &EndpointConfig) -> EndpointConfig {
    let mut config = config.clone();
    for model in config.served_entities.iter_mut().filter_map(|e| e.external_model.as_mut()) {
        *model = shown(model);
    }
    config
}

fn shown(model: &ExternalModel) -> ExternalModel {
    let mut model = model.clone();
    let Some(registration) = providers::find(&model.provider) else { return model };
    let Some(block) = model.config.get_mut(registration.config_field).and_then(Value::as_object_mut) else {
        return model;
    };
    for field in registration.fields.iter().filter(|f| f.kind == Kind::Secret) {
        hide_internal(block, field.path);
    }
    model
}

fn hide_internal(block: &mut Object, path: &str) {
    if let Some((outer, inner)) = path.split_once('.') {
        if let Some(holder) = block.get_mut(outer).and_then(Value::as_object_mut) {
            hide_internal(holder, inner);
        }
        return;
    }
    let internal = |v: &Value| matches!(v.as_str().and_then(SecretRef::parse), Some(SecretRef::Internal(_)));
    if block.get(path).is_some_and(internal) {
        block.remove(path);
    }
}
