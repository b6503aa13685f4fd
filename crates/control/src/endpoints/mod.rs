//! `/api/2.0/serving-endpoints`. One file per action; the parent only lists them.

pub(crate) mod ai_gateway;
mod change;
mod create;
pub(crate) mod explain;
mod export;
mod models;
pub(crate) mod permissions;
mod read;
mod refused;
mod remove;
mod revisions;
mod tags;
mod update;
mod view;

use http::Method;
use policy::Level;
use serde_json::{Value, json};
use store::model::EndpointRecord;

use crate::access::{Needs, Route};

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/api/2.0/serving-endpoints",
        needs: Needs::Create,
        handler: |call| Box::pin(create::create(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/serving-endpoints",
        needs: Needs::Principal,
        handler: |call| Box::pin(read::list(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/serving-endpoints/{name}",
        needs: Needs::Endpoint(Level::View),
        handler: |call| Box::pin(read::get(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/2.0/serving-endpoints/{name}/config",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(update::config(call)),
    },
    Route {
        method: Method::DELETE,
        path: "/api/2.0/serving-endpoints/{name}",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(remove::delete(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/2.0/serving-endpoints/{name}/ai-gateway",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(ai_gateway::put(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/2.0/serving-endpoints/{name}/rate-limits",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(ai_gateway::put_rate_limits(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/2.0/serving-endpoints/{name}/tags",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(tags::tags(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/2.0/serving-endpoints/{name}/notifications",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(tags::notifications(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/2.0/serving-endpoints/{name}/telemetry-config",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(refused::telemetry(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/serving-endpoints/{name}/metrics",
        needs: Needs::Endpoint(Level::View),
        handler: |call| Box::pin(export::metrics(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/serving-endpoints/{name}/openapi",
        needs: Needs::Endpoint(Level::View),
        handler: |call| Box::pin(export::openapi(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/serving-endpoints/{name}/served-models/{entity}/logs",
        needs: Needs::Endpoint(Level::View),
        handler: |call| Box::pin(export::logs(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/serving-endpoints/{name}/served-models/{entity}/build-logs",
        needs: Needs::Endpoint(Level::View),
        handler: |call| Box::pin(export::logs(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/serving-endpoints/pt",
        needs: Needs::Admin,
        handler: |call| Box::pin(refused::provisioned_throughput(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/2.0/serving-endpoints/pt/{name}/config",
        needs: Needs::Admin,
        handler: |call| Box::pin(refused::provisioned_throughput(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/serving-endpoints:foundation-models",
        needs: Needs::Principal,
        handler: |call| Box::pin(models::foundation_models(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.1/unity-catalog/models",
        needs: Needs::Principal,
        handler: |call| Box::pin(models::registered(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.1/unity-catalog/model-services",
        needs: Needs::Principal,
        handler: |call| Box::pin(models::services(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/ai-gateway/v2/endpoints",
        needs: Needs::Principal,
        handler: |call| Box::pin(models::gateway_endpoints(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/2.0/external-function",
        needs: Needs::Principal,
        handler: |call| Box::pin(refused::external_function(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/permissions/serving-endpoints/{id}",
        needs: Needs::EndpointById(Level::View),
        handler: |call| Box::pin(permissions::get(call)),
    },
    Route {
        method: Method::PUT,
        path: "/api/2.0/permissions/serving-endpoints/{id}",
        needs: Needs::EndpointById(Level::Manage),
        handler: |call| Box::pin(permissions::put(call)),
    },
    Route {
        method: Method::PATCH,
        path: "/api/2.0/permissions/serving-endpoints/{id}",
        needs: Needs::EndpointById(Level::Manage),
        handler: |call| Box::pin(permissions::patch(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.0/permissions/serving-endpoints/{id}/permissionLevels",
        needs: Needs::EndpointById(Level::View),
        handler: |call| Box::pin(permissions::levels(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/tollgate/v1/endpoints/{name}/revisions",
        needs: Needs::Endpoint(Level::View),
        handler: |call| Box::pin(revisions::list(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/tollgate/v1/endpoints/{name}/revisions/{number}",
        needs: Needs::Endpoint(Level::View),
        handler: |call| Box::pin(revisions::get(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/tollgate/v1/endpoints/{name}/rollback",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(revisions::rollback(call)),
    },
    Route {
        method: Method::POST,
        path: "/api/tollgate/v1/endpoints/{name}/cancel-update",
        needs: Needs::Endpoint(Level::Manage),
        handler: |call| Box::pin(revisions::cancel(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/tollgate/v1/endpoints/{name}/circuits",
        needs: Needs::Endpoint(Level::View),
        handler: |call| Box::pin(explain::circuits(call)),
    },
    Route {
        method: Method::POST,
        path: explain::PATH,
        needs: Needs::Principal,
        handler: |call| Box::pin(explain::explain(call)),
    },
];

/// An endpoint for the audit record, without the server's own references.
pub(crate) fn audited(record: &EndpointRecord) -> Value {
    let grants =
        record.grants.iter().map(|g| json!({"kind": g.kind.as_str(), "to": g.grantee, "level": g.level}));
    let document = &record.document;
    let update = document
        .update
        .as_ref()
        .map(|u| json!({"status": u.status, "config": view::shown_config(&u.config)}));
    json!({
        "name": record.name,
        "id": record.id,
        "config_version": record.config_version,
        "config": view::shown_config(&document.config),
        "pending_update": update,
        "ai_gateway": document.ai_gateway,
        "tags": document.tags,
        "email_notifications": document.email_notifications,
        "grants": grants.collect::<Vec<_>>(),
    })
}
