//! The paths of the data plane. One file per family; the parent only collects.

mod unified;

use axum::Router;
use http::Method;
use providers::Task;

use crate::Gateway;

/// One path of the data plane. All need `CAN_QUERY` on the endpoint.
#[derive(Clone, Debug)]
pub struct QueryRoute {
    pub method: Method,
    pub path: &'static str,
    /// The task that the path is of, the endpoint being the body's `model`; `None` where the endpoint is in
    /// the path and its own task decides.
    pub task: Option<Task>,
}

/// Every path there is.
pub fn routes() -> impl Iterator<Item = &'static QueryRoute> {
    unified::ROUTES.iter()
}

/// All data-plane routes.
pub fn router(gateway: Gateway) -> Router {
    unified::routes().with_state(gateway)
}
