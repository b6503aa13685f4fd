//! Secret scopes.

use http::Method;
use store::StoreError;
use store::model::{NewScope, ScopePermission};
use wire::error::{ApiError, ErrorCode};
use wire::secrets::{CreateScope, Scope, ScopeList, ScopeRef};

use super::{check_name, permission};
use crate::access::{Needs, Route};
use crate::refresh;
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/api/2.0/secrets/scopes/create",
        needs: Needs::Principal,
        handler: |call| Box::pin(create(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/secrets/scopes/delete",
        needs: Needs::Scope(ScopePermission::Manage),
        handler: |call| Box::pin(delete(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/secrets/scopes/list",
        needs: Needs::Principal,
        handler: |call| Box::pin(list(call)),
    },
];

async fn create(call: Call) -> Result<Reply, Failure> {
    let asked: CreateScope = call.json()?;
    check_name("scope", &asked.scope)?;
    if asked.scope_backend_type.as_deref().is_some_and(|t| t != "DATABRICKS") {
        let message = "scope_backend_type: only DATABRICKS, secrets kept by this server, is supported";
        return Err(ApiError::invalid(message).into());
    }
    let caller = call.caller()?;
    let mut managers = vec![caller.name.as_ref()];
    match asked.initial_manage_principal.as_deref() {
        None | Some("") => {}
        Some("users") => managers.push("users"),
        Some(other) => {
            let message = format!("initial_manage_principal is {other:?}, only \"users\" is allowed");
            return Err(ApiError::invalid(message).into());
        }
    }
    let scope = NewScope { name: &asked.scope, hidden: false, managers: &managers };
    match call.control.store().create_scope(scope).await {
        Ok(()) => Ok(Reply::empty()),
        // 400, not 409: the CLI and the SDKs go by it.
        Err(StoreError::Exists) => {
            let message = format!("Scope {} already exists!", asked.scope);
            Err(ApiError::new(ErrorCode::ResourceAlreadyExists, message).with_status(400).into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete(call: Call) -> Result<Reply, Failure> {
    let ScopeRef { scope } = call.json()?;
    call.control.store().delete_scope(&scope).await?;
    refresh(&call.control).await?;
    Ok(Reply::empty())
}

async fn list(call: Call) -> Result<Reply, Failure> {
    let caller = call.caller()?;
    let store = call.control.store();
    let mut scopes = Vec::new();
    for scope in store.scopes().await? {
        if permission(store, caller, &scope.name).await?.is_some() {
            scopes.push(Scope { name: scope.name, backend_type: "DATABRICKS" });
        }
    }
    Reply::json(&ScopeList { scopes })
}
