//! Changes that are not of the config: each reads the record, changes one thing, writes and publishes.
//! None of them raises `config_version`.

use store::model::EndpointRecord;

use crate::access::no_such_endpoint;
use crate::reply::Failure;
use crate::request::Call;
use crate::{clock, refresh};

/// Applies `change` to the endpoint in the path, under the lock that all writes take.
pub(super) async fn change(
    call: &Call,
    change: impl FnOnce(&mut EndpointRecord) -> Result<(), Failure>,
) -> Result<EndpointRecord, Failure> {
    apply(call, change, false).await
}

/// As [`change`], for what a revision keeps.
pub(super) async fn revise(
    call: &Call,
    change: impl FnOnce(&mut EndpointRecord) -> Result<(), Failure>,
) -> Result<EndpointRecord, Failure> {
    apply(call, change, true).await
}

async fn apply(
    call: &Call,
    change: impl FnOnce(&mut EndpointRecord) -> Result<(), Failure>,
    revises: bool,
) -> Result<EndpointRecord, Failure> {
    let control = &call.control;
    let _writing = control.inner.writing.lock().await;
    let name = call.path("name");
    let mut record = control.store().endpoint(name).await?.ok_or_else(|| no_such_endpoint(name))?;
    change(&mut record)?;
    record.updated_at = clock::now_ms();
    if revises {
        control.store().revise_endpoint(&record, &call.caller()?.name).await?;
    } else {
        control.store().update_endpoint(&record).await?;
    }
    refresh(control).await?;
    Ok(record)
}
