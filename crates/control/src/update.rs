//! What happens to a config update.
//!
//! One at a time per endpoint. While one runs, the config in force serves. The new one is checked whole
//! first; asked to, its upstreams are called too. It is then swapped in by one pointer store, or it is not
//! at all: a failure leaves `UPDATE_FAILED`, the reason, and the old config serving.

use std::sync::Arc;
use std::time::Duration;

use policy::endpoint::{Compiled, Normalized, compile, normalize};
use policy::{Endpoint, Principal};
use serde_json::Value;
use store::model::EndpointRecord;
use store::{PendingUpdate, UpdateStatus};
use wire::endpoint::EndpointConfig;
use wire::error::{ApiError, ErrorCode};

use crate::credentials::{self, Plaintexts};
use crate::endpoints::ai_gateway;
use crate::publish::meta;
use crate::reply::Failure;
use crate::{Control, clock, refresh};

/// Between two attempts to write an outcome.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// Where a config comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A request: its plaintext credentials are taken out, and it may not name the server's own secrets.
    Caller,
    /// A revision that was in force before.
    Revision,
}

/// A config that passed every check, and is not in force yet.
pub(crate) struct Candidate {
    pub(crate) config: EndpointConfig,
    pub(crate) endpoint: Arc<Endpoint>,
    plaintexts: Plaintexts,
}

/// Checks a config whole: its fields, its secrets, that `caller` may read them, and that it compiles.
/// Nothing is written.
pub(crate) async fn check(
    control: &Control,
    caller: &Principal,
    mut config: EndpointConfig,
    record: &EndpointRecord,
    origin: Origin,
) -> Result<Candidate, Failure> {
    let plaintexts = match origin {
        Origin::Caller => Plaintexts::take(&mut config)?,
        Origin::Revision => Plaintexts::default(),
    };
    let defaults = &control.inner.config.defaults;
    let Normalized { config, .. } =
        normalize(config, defaults).map_err(|invalid| ApiError::invalid(invalid.to_string()))?;
    let values = credentials::resolve(control.store(), caller, &config, &plaintexts).await?;
    let Compiled { endpoint, .. } =
        compile(meta(record), &config, defaults, &|reference| values.get(reference).cloned())
            .map_err(|invalid| ApiError::invalid(invalid.to_string()))?;
    Ok(Candidate { config, endpoint, plaintexts })
}

impl Candidate {
    /// Keeps the credentials that came with it.
    pub(crate) async fn save_credentials(&self, control: &Control) -> Result<(), Failure> {
        Ok(self.plaintexts.save(control.store()).await?)
    }

    /// Calls each upstream once. Errors with the first that does not answer.
    pub(crate) async fn probe(&self, control: &Control) -> Result<(), String> {
        let probed = control.inner.probe.probe(Arc::clone(&self.endpoint)).await;
        match probed.into_iter().find_map(|p| Some((p.entity, p.problem?))) {
            None => Ok(()),
            Some((entity, problem)) => Err(format!("served entity {entity}: {problem}")),
        }
    }
}

/// Errors with 409 while an update of the endpoint runs.
pub(crate) fn refuse_second(record: &EndpointRecord) -> Result<(), ApiError> {
    match &record.document.update {
        Some(update) if update.status == UpdateStatus::InProgress => Err(ApiError::new(
            ErrorCode::ResourceConflict,
            format!("Endpoint {:?} is being updated: wait until that is done, or cancel it.", record.name),
        )),
        _ => Ok(()),
    }
}

/// Makes `config` the active one. The caller holds the lock of all writes.
pub(crate) async fn apply(
    control: &Control,
    record: &mut EndpointRecord,
    config: EndpointConfig,
    author: &str,
) -> Result<(), Failure> {
    let now = clock::now_ms();
    record.document.config = config;
    record.document.config_author = author.to_owned();
    record.document.config_created_at = now;
    record.document.update = None;
    record.config_version += 1;
    record.updated_at = now;
    control.store().revise_endpoint(record, author).await?;
    refresh(control).await?;
    tracing::info!(
        endpoint = record.name,
        config_version = record.config_version,
        by = author,
        "endpoint config replaced"
    );
    Ok(())
}

/// Writes the update down as running and probes in the background. The caller holds the lock of all
/// writes.
pub(crate) async fn start(
    control: &Control,
    record: &mut EndpointRecord,
    candidate: Candidate,
    auto_capture_config: Option<Value>,
    author: &str,
) -> Result<(), Failure> {
    let pending = PendingUpdate {
        id: uuid::Uuid::new_v4().simple().to_string(),
        status: UpdateStatus::InProgress,
        config: candidate.config.clone(),
        auto_capture_config,
        author: author.to_owned(),
        started_at: clock::now_ms(),
        reason: String::new(),
    };
    record.document.update = Some(pending.clone());
    control.store().revise_endpoint(record, author).await?;
    let (task_control, id) = (control.clone(), record.id.clone());
    control.inner.jobs.spawn(async move {
        let result = candidate.probe(&task_control).await;
        settle(&task_control, &id, &pending, &result).await;
    });
    Ok(())
}

/// Writes the outcome down, however often the store fails: an update that stays running blocks the next.
/// When the server stops first, the next start fails the update.
async fn settle(control: &Control, id: &str, pending: &PendingUpdate, result: &Result<(), String>) {
    let mut told = false;
    while let Err(failure) = finish(control, id, pending, result).await {
        if !std::mem::replace(&mut told, true) {
            tracing::error!(endpoint_id = id, error = %failure.0, "the outcome of an update cannot be written yet");
        }
        if control.inner.jobs.is_closed() {
            return;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

/// Applies or fails the update that `pending` began, unless it was cancelled or its endpoint deleted.
async fn finish(
    control: &Control,
    id: &str,
    pending: &PendingUpdate,
    result: &Result<(), String>,
) -> Result<(), Failure> {
    let _writing = control.inner.writing.lock().await;
    let found = control.store().endpoints().await?.into_iter().find(|e| e.id == id);
    let Some(mut record) = found.filter(|r| r.document.update.as_ref() == Some(pending)) else {
        return Ok(());
    };
    // The block may have been changed meanwhile, so that the table can no longer be.
    let captured = result.clone().and_then(|()| match pending.auto_capture_config.clone() {
        Some(asked) => ai_gateway::capture(&mut record.document.ai_gateway, asked).map_err(|e| e.message),
        None => Ok(()),
    });
    match captured {
        Ok(()) => apply(control, &mut record, pending.config.clone(), &pending.author).await,
        Err(reason) => end(control, &mut record, UpdateStatus::Failed, reason).await,
    }
}

/// Ends the running update without applying it. The caller holds the lock of all writes.
pub(crate) async fn end(
    control: &Control,
    record: &mut EndpointRecord,
    status: UpdateStatus,
    reason: String,
) -> Result<(), Failure> {
    tracing::warn!(endpoint = record.name, reason, "endpoint update not applied");
    if let Some(update) = &mut record.document.update {
        update.status = status;
        update.reason = reason;
    }
    record.updated_at = clock::now_ms();
    Ok(control.store().update_endpoint(record).await?)
}

/// Fails the updates that a stopped server left running.
pub(crate) async fn recover(control: &Control) -> Result<(), Failure> {
    let _writing = control.inner.writing.lock().await;
    for mut record in control.store().endpoints().await? {
        if refuse_second(&record).is_err() {
            let reason = "the server stopped while the update ran; send it again".to_owned();
            end(control, &mut record, UpdateStatus::Failed, reason).await?;
        }
    }
    Ok(())
}
