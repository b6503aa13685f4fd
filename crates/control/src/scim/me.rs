//! `GET /api/2.0/preview/scim/v2/Me`.

use http::HeaderValue;
use wire::error::ApiError;

use super::users::view;
use crate::people::People;
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(super) async fn me(call: Call) -> Result<Reply, Failure> {
    let caller = call.caller()?;
    let people = People::load(call.control.store()).await?;
    let record = people.principal(&caller.id);
    let record =
        record.ok_or_else(|| ApiError::not_found(format!("{} was deleted just now", caller.name)))?;
    let mut view = view(record, &people);
    // A service principal is shown as a user here, by its application id.
    view.user_name = Some(record.name.clone());
    // Read by `get_workspace_id()` and the CLI, as an integer.
    Ok(Reply::json(&view)?.header("x-databricks-org-id", HeaderValue::from(call.control.inner.workspace_id)))
}
