//! The unified surface: OpenAI-shaped in and out, whatever the entity speaks.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::handler::Handler;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use http::{Method, Request};
use providers::Task;

use super::QueryRoute;
use crate::Gateway;
use crate::pipeline::{Addressing, serve};

const fn by_path(path: &'static str) -> QueryRoute {
    QueryRoute { method: Method::POST, path, task: None }
}

const fn by_body(path: &'static str, task: Task) -> QueryRoute {
    QueryRoute { method: Method::POST, path, task: Some(task) }
}

/// Databricks' own paths, and MLflow's of the AI Gateway with and without its prefix.
pub(super) const ROUTES: &[QueryRoute] = &[
    by_path("/serving-endpoints/{name}/invocations"),
    by_body("/serving-endpoints/chat/completions", Task::Chat),
    by_body("/serving-endpoints/completions", Task::Completions),
    by_body("/serving-endpoints/embeddings", Task::Embeddings),
    by_body("/ai-gateway/mlflow/v1/chat/completions", Task::Chat),
    by_body("/ai-gateway/mlflow/v1/completions", Task::Completions),
    by_body("/ai-gateway/mlflow/v1/embeddings", Task::Embeddings),
    by_body("/mlflow/v1/chat/completions", Task::Chat),
    by_body("/mlflow/v1/completions", Task::Completions),
    by_body("/mlflow/v1/embeddings", Task::Embeddings),
];

pub(super) fn routes() -> Router<Gateway> {
    let mut router = Router::new();
    for route in ROUTES {
        let Ok(method) = MethodFilter::try_from(route.method.clone()) else { continue };
        router = match route.task {
            None => router.route(route.path, on(method, invocations)),
            Some(task) => router.route(route.path, on(method, by_model(task))),
        };
    }
    router
}

async fn invocations(
    State(gateway): State<Gateway>,
    name: Result<Path<String>, PathRejection>,
    request: Request<Body>,
) -> Response {
    // Escapes that are no UTF-8 name nothing.
    let name = name.map_or_else(|_| String::from('\u{fffd}'), |Path(name)| name);
    serve(gateway, Addressing::Path(name), request).await
}

fn by_model(task: Task) -> impl Handler<(State<Gateway>, Request<Body>), Gateway> {
    ByModel(task)
}

#[derive(Clone, Copy)]
struct ByModel(Task);

impl Handler<(State<Gateway>, Request<Body>), Gateway> for ByModel {
    type Future = std::pin::Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request<Body>, gateway: Gateway) -> Self::Future {
        Box::pin(serve(gateway, Addressing::Model(self.0), request))
    }
}
