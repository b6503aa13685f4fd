//! What SDKs ask before they log in. A server that answers 5xx here makes them hang for minutes.

use http::Method;
use serde_json::json;

use crate::access::{Needs, Route};
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(crate) const ROUTES: &[Route] = &[Route {
    method: Method::GET,
    path: "/.well-known/databricks-config",
    needs: Needs::Nobody,
    handler: |call| Box::pin(databricks_config(call)),
}];

async fn databricks_config(call: Call) -> Result<Reply, Failure> {
    let workspace_id = call.control.inner.workspace_id;
    Reply::json(&json!({
        "oidc_endpoint": format!("{}/oidc", call.base_url),
        "workspace_id": workspace_id.to_string(),
        "account_id": account_id(workspace_id),
        "cloud": "AWS",
    }))
}

/// A UUID that is this installation's own.
pub(crate) fn account_id(workspace_id: i64) -> String {
    uuid::Builder::from_u128(workspace_id.unsigned_abs().into())
        .with_variant(uuid::Variant::RFC4122)
        .with_version(uuid::Version::Custom)
        .into_uuid()
        .to_string()
}
