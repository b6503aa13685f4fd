//! The paths of the data plane. One file per family; the parent only collects.

mod unified;

use axum::Router;

use crate::Gateway;

/// All data-plane routes.
pub fn router(gateway: Gateway) -> Router {
    unified::routes().with_state(gateway)
}
