//! `PUT /api/2.0/serving-endpoints/{name}/config`: the whole config is replaced.

use wire::endpoint::{EndpointConfig, UpdateConfig};
use wire::error::ApiError;

use super::create::prepare;
use super::{credentials, view};
use crate::access::no_such_endpoint;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::secrets::references;
use crate::{clock, refresh};

pub(super) async fn config(call: Call) -> Result<Reply, Failure> {
    let asked: UpdateConfig = call.json()?;
    if asked.served_models.as_ref().is_some_and(|models| !models.is_empty()) {
        return Err(ApiError::invalid("served_models: is for custom models, use served_entities").into());
    }
    if asked.auto_capture_config.is_some() {
        let message = "auto_capture_config: is replaced by ai_gateway.inference_table_config";
        return Err(ApiError::invalid(message).into());
    }
    let config =
        EndpointConfig { served_entities: asked.served_entities, traffic_config: asked.traffic_config };
    let control = &call.control;
    let caller = call.caller()?;
    let _writing = control.inner.writing.lock().await;
    let name = call.path("name");
    let mut record = control.store().endpoint(name).await?.ok_or_else(|| no_such_endpoint(name))?;
    let before = references(&record.document.config);
    let plaintexts = prepare(control, caller, config, &mut record).await?;
    record.config_version += 1;
    record.updated_at = clock::now_ms();
    plaintexts.save(control.store()).await?;
    control.store().update_endpoint(&record).await?;
    refresh(control).await?;
    credentials::forget(control.store(), &before).await;
    tracing::info!(endpoint = name, config_version = record.config_version, by = %caller.name, "endpoint config replaced");
    Reply::json(&view::detailed(&record, caller))
}
