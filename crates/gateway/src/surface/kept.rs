//! Responses by their id. None is kept here.

use axum::response::Response;
use http::request::Parts;
use wire::error::ApiError;

use super::responses::RESPONSES;
use crate::Gateway;
use crate::pipeline::authenticate;

pub(super) fn answer(gateway: &Gateway, parts: &Parts) -> Response {
    let snapshot = gateway.inner.live.load();
    let error = authenticate(&snapshot, &RESPONSES, parts).err().unwrap_or_else(|| {
        ApiError::not_found(
            "no responses are kept here: send the whole conversation as input, with store set to false",
        )
    });
    RESPONSES.shape.respond(&error.into())
}
