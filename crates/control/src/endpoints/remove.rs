//! `DELETE /api/2.0/serving-endpoints/{name}`.

use super::credentials;
use crate::access::no_such_endpoint;
use crate::refresh;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::secrets::references;

pub(super) async fn delete(call: Call) -> Result<Reply, Failure> {
    let control = &call.control;
    let _writing = control.inner.writing.lock().await;
    let name = call.path("name");
    let record = control.store().endpoint(name).await?.ok_or_else(|| no_such_endpoint(name))?;
    if !control.store().delete_endpoint(name).await? {
        return Err(no_such_endpoint(name).into());
    }
    refresh(control).await?;
    credentials::forget(control.store(), &references(&record.document.config)).await;
    tracing::info!(endpoint = name, by = %call.caller()?.name, "endpoint deleted");
    Ok(Reply::empty())
}
