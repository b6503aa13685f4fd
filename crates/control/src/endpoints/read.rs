//! Reading endpoints.

use policy::permit;
use serde_json::json;

use super::view;
use crate::access::no_such_endpoint;
use crate::publish::meta;
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(super) async fn get(call: Call) -> Result<Reply, Failure> {
    let name = call.path("name");
    let record = call.control.store().endpoint(name).await?.ok_or_else(|| no_such_endpoint(name))?;
    Reply::json(&view::detailed(&record, call.caller()?))
}

/// Only those the caller may view.
pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let caller = call.caller()?;
    let mut endpoints = Vec::new();
    for record in call.control.store().endpoints().await? {
        if permit::level_of(caller, &meta(&record).grants).is_some() {
            endpoints.push(view::listed(&record, caller)?);
        }
    }
    Reply::json(&json!({"endpoints": endpoints}))
}
