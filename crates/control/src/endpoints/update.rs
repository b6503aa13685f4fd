//! `PUT /api/2.0/serving-endpoints/{name}/config`: the whole config is replaced.

use wire::endpoint::{EndpointConfig, NewConfig};
use wire::error::ApiError;

use super::{ai_gateway, view};
use crate::access::no_such_endpoint;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::update::{self, Origin};

pub(super) async fn config(call: Call) -> Result<Reply, Failure> {
    let mut asked: NewConfig = call.json()?;
    let (validate, capture) = (asked.validate, asked.auto_capture_config.take());
    let config = read(asked)?;
    let (control, caller, name) = (&call.control, call.caller()?, call.path("name"));
    let _writing = control.inner.writing.lock().await;
    let mut record = control.store().endpoint(name).await?.ok_or_else(|| no_such_endpoint(name))?;
    update::refuse_second(&record)?;
    // In a copy first: with `validate` the table is what it was until the update is done.
    let mut block = record.document.ai_gateway.clone();
    if let Some(capture) = &capture {
        ai_gateway::capture(&mut block, capture.clone())?;
    }
    let candidate = update::check(control, caller, config, &record, Origin::Caller).await?;
    candidate.save_credentials(control).await?;
    if validate {
        update::start(control, &mut record, candidate, capture, &caller.name).await?;
    } else {
        record.document.ai_gateway = block;
        update::apply(control, &mut record, candidate.config, &caller.name).await?;
    }
    Reply::json(&view::detailed(&record, caller))
}

/// What of a config is one here: custom models are refused by name.
pub(super) fn read(asked: NewConfig) -> Result<EndpointConfig, ApiError> {
    if asked.served_models.is_some_and(|models| !models.is_empty()) {
        let message = "config.served_models: is for custom models, use served_entities";
        return Err(ApiError::invalid(message));
    }
    Ok(EndpointConfig { served_entities: asked.served_entities, traffic_config: asked.traffic_config })
}
