//! `PUT /api/2.0/serving-endpoints/{name}/config`: the whole config is replaced.

use wire::endpoint::{EndpointConfig, UpdateConfig};
use wire::error::ApiError;

use super::view;
use crate::access::no_such_endpoint;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::update::{self, Origin};

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
    let (control, caller, name) = (&call.control, call.caller()?, call.path("name"));
    let _writing = control.inner.writing.lock().await;
    let mut record = control.store().endpoint(name).await?.ok_or_else(|| no_such_endpoint(name))?;
    update::refuse_second(&record)?;
    let candidate = update::check(control, caller, config, &record, Origin::Caller).await?;
    candidate.save_credentials(control).await?;
    if asked.validate {
        update::start(control, &mut record, candidate, &caller.name).await?;
    } else {
        update::apply(control, &mut record, candidate.config, &caller.name).await?;
    }
    Reply::json(&view::detailed(&record, caller))
}
