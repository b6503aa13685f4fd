//! `/api/2.0/workspace` and `/api/2.0/workspace-files`: the files and folders that `databricks bundle deploy`
//! keeps its lock, its state and the bundle's files in. Nothing of them is ever run.

mod change;
mod export;
mod import;
mod path;
mod permissions;
mod reach;
mod status;

use http::Method;
use serde_json::{Value, json};
use store::Store;
use store::model::ObjectRecord;

use crate::access::{Needs, Route};
use crate::reply::Failure;

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/api/2.0/workspace/get-status",
        needs: Needs::Folder,
        handler: |call| Box::pin(status::get_status(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/workspace/list",
        needs: Needs::Folder,
        handler: |call| Box::pin(status::list(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/workspace/mkdirs",
        needs: Needs::Folder,
        handler: |call| Box::pin(change::mkdirs(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/workspace/delete",
        needs: Needs::Folder,
        handler: |call| Box::pin(change::delete(call)),
    },
    Route {
        method: Method::POST,
        path: import::IMPORT,
        needs: Needs::Folder,
        handler: |call| Box::pin(import::import(call)),
    },
    Route {
        method: Method::POST,
        path: import::IMPORT_FILE,
        needs: Needs::Folder,
        handler: |call| Box::pin(import::import_file(call)),
    },
    Route {
        method: Method::GET,
        path: export::EXPORT,
        needs: Needs::Folder,
        handler: |call| Box::pin(export::export(call)),
    },
    Route {
        method: Method::GET,
        path: export::EXPORT_FILE,
        needs: Needs::Folder,
        handler: |call| Box::pin(export::export_file(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/permissions/directories/{id}",
        needs: Needs::Folder,
        handler: |call| Box::pin(permissions::get(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/2.0/permissions/directories/{id}",
        needs: Needs::Folder,
        handler: |call| Box::pin(permissions::put(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/2.0/permissions/directories/{id}",
        needs: Needs::Folder,
        handler: |call| Box::pin(permissions::patch(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/permissions/directories/{id}/permissionLevels",
        needs: Needs::Folder,
        handler: |call| Box::pin(permissions::levels(call)),
    },
];

/// Longest body of a route, in bytes, where it may be longer than others'.
pub(crate) fn longest_body(path: &str) -> Option<usize> {
    match path {
        import::IMPORT_FILE => Some(import::MAX_FILE),
        // In base64, and with room for the other fields.
        import::IMPORT => Some(import::MAX_FILE / 3 * 4 + (64 << 10)),
        _ => None,
    }
}

/// Whether the body of a call is a file and nothing else.
pub(crate) fn takes_a_file(path: &str) -> bool {
    path == import::IMPORT_FILE
}

/// Whether the answer of a call is a file, or has one in it.
pub(crate) fn gives_a_file(path: &str) -> bool {
    matches!(path, export::EXPORT | export::EXPORT_FILE)
}

/// The path as it is stored, of a call's subject; `None` where it is no path.
pub(crate) fn stored_path(asked: &str) -> Option<String> {
    path::WorkspacePath::parse(asked).ok().map(|path| path.as_str().to_owned())
}

/// What is at a path and who may do what with it, for the audit trail: no content.
pub(crate) async fn audited(store: &dyn Store, path: &str) -> Result<Option<Value>, Failure> {
    match store.workspace_object(path).await? {
        Some(object) => shown(store, &object).await.map(Some),
        None => Ok(None),
    }
}

/// The same of a folder by its id.
pub(crate) async fn audited_folder(store: &dyn Store, id: &str) -> Result<Option<Value>, Failure> {
    match store.workspace_object_of(id).await? {
        Some(object) => shown(store, &object).await.map(Some),
        None => Ok(None),
    }
}

async fn shown(store: &dyn Store, object: &ObjectRecord) -> Result<Value, Failure> {
    let grants = store.folder_grants(&object.path).await?;
    let own = grants.iter().filter(|(id, _)| *id == object.id);
    let grants: Vec<Value> =
        own.map(|(_, grant)| json!({"grantee": grant.grantee, "permission_level": grant.level})).collect();
    Ok(
        json!({"path": object.path, "object_type": object.kind.as_str(), "object_id": object.id, "size": object.size,
        "modified_at": object.modified_at, "grants": grants}),
    )
}
