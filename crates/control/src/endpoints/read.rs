//! Reading endpoints: what is told of one is what serves.

use policy::permit;
use serde_json::json;
use store::model::EndpointRecord;

use super::view;
use crate::access::no_such_endpoint;
use crate::publish::{caught_up, meta};
use crate::reply::{Failure, Reply};
use crate::request::Call;

/// The endpoint in the path, as it is stored: for those who do not tell of its config.
pub(super) async fn stored(call: &Call) -> Result<EndpointRecord, Failure> {
    let name = call.path("name");
    Ok(call.control.store().endpoint(name).await?.ok_or_else(|| no_such_endpoint(name))?)
}

/// The endpoint in the path, as it is stored and served.
pub(super) async fn served(call: &Call) -> Result<EndpointRecord, Failure> {
    let found = stored(call).await;
    // One that was deleted serves until then too.
    caught_up(&call.control).await?;
    found
}

/// All endpoints, as they are stored and served.
pub(super) async fn records(call: &Call) -> Result<Vec<EndpointRecord>, Failure> {
    let found = call.control.store().endpoints().await?;
    caught_up(&call.control).await?;
    Ok(found)
}

pub(super) async fn get(call: Call) -> Result<Reply, Failure> {
    let record = served(&call).await?;
    Reply::json(&view::detailed(&record, call.caller()?))
}

/// Only those the caller may view.
pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let caller = call.caller()?;
    let mut endpoints = Vec::new();
    for record in records(&call).await? {
        if permit::level_of(caller, &meta(&record).grants).is_some() {
            endpoints.push(view::listed(&record, caller)?);
        }
    }
    Reply::json(&json!({"endpoints": endpoints}))
}
