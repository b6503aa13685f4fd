//! The unified surface: OpenAI-shaped in and out, whatever the entity speaks.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::handler::Handler;
use axum::response::Response;
use axum::routing::post;
use http::Request;
use providers::Task;

use crate::Gateway;
use crate::pipeline::{Addressing, serve};

/// Where the OpenAI-style paths live: Databricks' own, and MLflow's of the AI Gateway with and without its
/// prefix.
const BASES: [&str; 3] = ["/serving-endpoints", "/ai-gateway/mlflow/v1", "/mlflow/v1"];

pub(super) fn routes() -> Router<Gateway> {
    let mut router = Router::new().route("/serving-endpoints/{name}/invocations", post(invocations));
    for base in BASES {
        for task in Task::ALL {
            router = router.route(&format!("{base}/{}", task.operation()), post(by_model(task)));
        }
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
