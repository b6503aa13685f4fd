//! Routes of Databricks that make no sense for external models: they answer, and say why not.

use wire::error::{ApiError, ErrorCode};

use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(super) async fn telemetry(_call: Call) -> Result<Reply, Failure> {
    Err(ApiError::invalid("telemetry_config: is not supported for endpoints of external models").into())
}

pub(super) async fn provisioned_throughput(_call: Call) -> Result<Reply, Failure> {
    let message = "this server hosts no models of its own: create an endpoint with an external_model, of the provider \
                   custom for an engine on your machines";
    Err(ApiError::invalid(message).into())
}

pub(super) async fn external_function(_call: Call) -> Result<Reply, Failure> {
    let message = "connections to other services are not supported; serving endpoints are";
    Err(ApiError::new(ErrorCode::NotImplemented, message).into())
}
