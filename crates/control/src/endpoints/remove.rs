//! `DELETE /api/2.0/serving-endpoints/{name}`.

use crate::access::no_such_endpoint;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::secrets::references;
use crate::{credentials, refresh};

pub(super) async fn delete(call: Call) -> Result<Reply, Failure> {
    let control = &call.control;
    let _writing = control.inner.writing.lock().await;
    let name = call.path("name");
    let record = control.store().endpoint(name).await?.ok_or_else(|| no_such_endpoint(name))?;
    // Credentials that came as plaintext stay as long as a revision names them.
    let revisions = control.store().revisions(&record.id).await?;
    let mut credentials = references(&record.document.config);
    credentials.extend(record.document.update.iter().flat_map(|u| references(&u.config)));
    credentials.extend(revisions.iter().flat_map(|r| references(&r.document.config)));
    if !control.store().delete_endpoint(name).await? {
        return Err(no_such_endpoint(name).into());
    }
    refresh(control).await?;
    credentials::forget(control.store(), &credentials).await;
    tracing::info!(endpoint = name, by = %call.caller()?.name, "endpoint deleted");
    Ok(Reply::empty())
}
