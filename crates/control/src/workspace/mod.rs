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

use crate::access::{Needs, Route};

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
        path: "/api/2.0/workspace/import",
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
        path: "/api/2.0/workspace/export",
        needs: Needs::Folder,
        handler: |call| Box::pin(export::export(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/workspace-files/{*path}",
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
        "/api/2.0/workspace/import" => Some(import::MAX_FILE / 3 * 4 + (64 << 10)),
        _ => None,
    }
}

/// Whether the body of a call is a file and nothing else.
pub(crate) fn takes_a_file(path: &str) -> bool {
    path == import::IMPORT_FILE
}
