//! `GET /api/2.0/preview/scim/v2/Me`.

use http::{HeaderValue, Method};
use wire::scim::{Email, GroupRef, Name, USER_SCHEMA, User};

use crate::access::{Needs, Route};
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(crate) const ROUTES: &[Route] = &[Route {
    method: Method::GET,
    path: "/api/2.0/preview/scim/v2/Me",
    needs: Needs::Principal,
    handler: |call| Box::pin(me(call)),
}];

async fn me(call: Call) -> Result<Reply, Failure> {
    let caller = call.caller()?;
    let all = call.control.store().groups().await?;
    let groups = caller.groups.iter().filter_map(|name| all.iter().find(|g| g.name == name.as_ref()));
    let user = User {
        schemas: vec![USER_SCHEMA],
        id: caller.id.to_string(),
        user_name: caller.name.to_string(),
        display_name: caller.display_name.to_string(),
        active: true,
        emails: vec![Email { value: caller.name.to_string(), kind: "work", primary: true }],
        name: Name { given_name: caller.display_name.to_string() },
        groups: groups
            .map(|g| GroupRef { display: g.name.clone(), value: g.id.clone(), kind: "direct" })
            .collect(),
    };
    // Read by `get_workspace_id()` and the CLI, as an integer.
    Ok(Reply::json(&user)?.header("x-databricks-org-id", HeaderValue::from(call.control.inner.workspace_id)))
}
