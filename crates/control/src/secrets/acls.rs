//! Who may do what with a scope.

use http::Method;
use store::model::{AclEntry, ScopePermission};
use wire::error::ApiError;
use wire::secrets::{AclItem, AclList, AclRef, PutAcl};

use crate::access::{Needs, Route};
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/api/2.0/secrets/acls/put",
        needs: Needs::Scope(ScopePermission::Manage),
        handler: |call| Box::pin(put(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/secrets/acls/get",
        needs: Needs::Scope(ScopePermission::Manage),
        handler: |call| Box::pin(get(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/secrets/acls/list",
        needs: Needs::Scope(ScopePermission::Manage),
        handler: |call| Box::pin(list(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/secrets/acls/delete",
        needs: Needs::Scope(ScopePermission::Manage),
        handler: |call| Box::pin(delete(call)),
    },
];

async fn put(call: Call) -> Result<Reply, Failure> {
    let PutAcl { scope, principal, permission } = call.json()?;
    let Some(permission) = ScopePermission::parse(&permission) else {
        let message = format!("permission is {permission:?}, it must be READ, WRITE or MANAGE");
        return Err(ApiError::invalid(message).into());
    };
    if principal.is_empty() {
        return Err(ApiError::invalid("principal is required").into());
    }
    call.control.store().put_acl(&scope, &principal, permission).await?;
    Ok(Reply::empty())
}

async fn get(call: Call) -> Result<Reply, Failure> {
    let (scope, principal) = (call.query("scope")?, call.query("principal")?);
    let acls = call.control.store().acls(scope).await?;
    match acls.into_iter().find(|entry| entry.principal == principal) {
        Some(entry) => Reply::json(&item(entry)),
        None => Err(no_such_acl(scope, principal).into()),
    }
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let scope = call.query("scope")?;
    let acls = call.control.store().acls(scope).await?;
    Reply::json(&AclList { items: acls.into_iter().map(item).collect() })
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let AclRef { scope, principal } = call.json()?;
    if !call.control.store().delete_acl(&scope, &principal).await? {
        return Err(no_such_acl(&scope, &principal).into());
    }
    Ok(Reply::empty())
}

fn item(entry: AclEntry) -> AclItem {
    AclItem { principal: entry.principal, permission: entry.permission.as_str() }
}

fn no_such_acl(scope: &str, principal: &str) -> ApiError {
    ApiError::not_found(format!("Secret ACL for principal {principal:?} does not exist in scope {scope:?}"))
}
