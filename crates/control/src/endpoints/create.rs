//! `POST /api/2.0/serving-endpoints`.

use store::model::EndpointRecord;
use store::{EndpointDocument, StoreError};
use wire::endpoint::{CreateEndpoint, EndpointConfig, Tag};
use wire::error::{ApiError, ErrorCode};

use super::{ai_gateway, permissions, update as update_config, view};
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::update::{self, Origin};
use crate::{clock, credentials, refresh};
use policy::Principal;

const MAX_TAGS: usize = 20;

pub(super) async fn create(call: Call) -> Result<Reply, Failure> {
    let mut asked: CreateEndpoint = call.json()?;
    check_name(&asked.name)?;
    let (config, validate) = take_config(&mut asked)?;
    check(&asked)?;
    let control = &call.control;
    asked.ai_gateway.as_ref().map_or(Ok(()), |block| ai_gateway::check_guardrails(control, block))?;
    let caller = call.caller()?;
    let judges = |block| ai_gateway::check_judges(control, caller, &asked.name, block);
    asked.ai_gateway.as_ref().map_or(Ok(()), judges)?;
    let _writing = control.inner.writing.lock().await;
    if control.store().endpoint(&asked.name).await?.is_some() {
        return Err(exists(&asked.name).into());
    }
    let mut record = record(&asked, caller);
    let candidate = update::check(control, caller, config, &record, Origin::Caller).await?;
    if validate {
        // There is no config yet that could serve meanwhile, so that the caller waits for the answer.
        candidate
            .probe(control)
            .await
            .map_err(|problem| ApiError::invalid(format!("validate: {problem}")))?;
    }
    candidate.save_credentials(control).await?;
    record.document.config = candidate.config;
    match control.store().create_endpoint(&record).await {
        Ok(()) => {}
        Err(error) => {
            credentials::forget(control.store(), &crate::secrets::references(&record.document.config)).await;
            let taken = matches!(error, StoreError::Exists);
            return Err(if taken { exists(&record.name).into() } else { error.into() });
        }
    }
    refresh(control).await?;
    tracing::info!(endpoint = record.name, by = %caller.name, "endpoint created");
    Reply::json(&view::detailed(&record, caller))
}

/// The config, and whether its upstreams are to be called first; what came in an older place is put where it
/// belongs.
fn take_config(asked: &mut CreateEndpoint) -> Result<(EndpointConfig, bool), ApiError> {
    let Some(mut config) = asked.config.take() else {
        return Err(ApiError::invalid("config: is required for endpoints of external models"));
    };
    if let Some(limits) = asked.rate_limits.take().filter(|limits| !limits.is_empty()) {
        let block = asked.ai_gateway.get_or_insert_default();
        if block.rate_limits.is_some() {
            let message = "rate_limits: stands beside ai_gateway.rate_limits, set the latter alone";
            return Err(ApiError::invalid(message));
        }
        block.rate_limits = Some(limits);
    }
    if let Some(capture) = config.auto_capture_config.take() {
        ai_gateway::capture(&mut asked.ai_gateway, capture)?;
    }
    let validate = asked.validate || config.validate;
    Ok((update_config::read(config)?, validate))
}

fn record(asked: &CreateEndpoint, caller: &Principal) -> EndpointRecord {
    let now = clock::now_ms();
    EndpointRecord {
        id: uuid::Uuid::new_v4().simple().to_string(),
        name: asked.name.clone(),
        creator: caller.name.to_string(),
        created_at: now,
        updated_at: now,
        config_version: 1,
        document: EndpointDocument {
            description: asked.description.clone().unwrap_or_default(),
            tags: asked.tags.clone(),
            ai_gateway: asked.ai_gateway.clone(),
            email_notifications: asked.email_notifications.clone(),
            budget_policy_id: asked.budget_policy_id.clone(),
            usage_policy_id: asked.usage_policy_id.clone(),
            config_author: caller.name.to_string(),
            config_created_at: now,
            ..EndpointDocument::default()
        },
        grants: vec![permissions::owner(caller)],
    }
}

fn check(asked: &CreateEndpoint) -> Result<(), ApiError> {
    if asked.route_optimized == Some(true) {
        return Err(ApiError::invalid("route_optimized: external models cannot be route-optimized"));
    }
    if asked.telemetry_config.is_some() {
        return Err(ApiError::invalid("telemetry_config: is not supported for external models"));
    }
    check_tags(&asked.tags)?;
    asked.ai_gateway.as_ref().map_or(Ok(()), ai_gateway::check)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !(1..=63).contains(&name.len()) || !name.bytes().all(legal) {
        let shown: String = name.chars().take(100).collect();
        return Err(ApiError::invalid(format!(
            "name: {shown:?} must be 1 to 63 letters, digits, `-` or `_`"
        )));
    }
    // `…/serving-endpoints/pt` is a route of its own: an endpoint of that name could not be read or deleted.
    if name == "pt" {
        return Err(ApiError::invalid("name: \"pt\" is a path of the API, choose another"));
    }
    if name.starts_with("databricks-") {
        return Err(ApiError::invalid(format!("name: {name:?} starts with databricks-, which is reserved")));
    }
    Ok(())
}

pub(super) fn check_tags(tags: &[Tag]) -> Result<(), ApiError> {
    if tags.len() > MAX_TAGS {
        return Err(ApiError::invalid(format!(
            "tags: {} are too many, at most {MAX_TAGS} are allowed",
            tags.len()
        )));
    }
    match tags.iter().find(|tag| tag.key.is_empty()) {
        Some(_) => Err(ApiError::invalid("tags: a tag needs a key")),
        None => Ok(()),
    }
}

fn exists(name: &str) -> ApiError {
    ApiError::new(ErrorCode::ResourceAlreadyExists, format!("Endpoint with name {name:?} already exists."))
}
