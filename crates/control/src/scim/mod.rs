//! SCIM: users, groups and service principals under `/api/2.0/preview/scim/v2`. The account-level names of
//! newer SDKs (`users_v2`, …) call the same paths.

mod filter;
mod groups;
mod me;
mod paging;
mod patch;
mod read;
mod resource;
mod service_principals;
mod users;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use wire::error::{ApiError, ErrorCode};
use wire::scim::{ERROR_SCHEMA, Error};

use crate::access::{Needs, Route};
use crate::people::People;
use crate::reply::Failure;
use groups::Groups;
use resource::Resource;
use service_principals::ServicePrincipals;
use users::Users;

/// All paths of SCIM begin so, and errors there have SCIM's form.
pub(crate) const BASE: &str = "/api/2.0/preview/scim/v2/";

/// The six routes of one kind of resource.
macro_rules! resource_routes {
    ($kind:ty, $all:literal, $one:literal) => {
        [
            Route {
                method: Method::GET,
                path: $all,
                needs: Needs::Principal,
                handler: |call| Box::pin(resource::list::<$kind>(call)),
            },
            Route {
                method: Method::POST,
                path: $all,
                needs: Needs::Admin,
                handler: |call| Box::pin(resource::create::<$kind>(call)),
            },
            Route {
                method: Method::GET,
                path: $one,
                needs: Needs::Principal,
                handler: |call| Box::pin(resource::get::<$kind>(call)),
            },
            Route {
                method: Method::PUT,
                path: $one,
                needs: Needs::Admin,
                handler: |call| Box::pin(resource::put::<$kind>(call)),
            },
            Route {
                method: Method::PATCH,
                path: $one,
                needs: Needs::Admin,
                handler: |call| Box::pin(resource::patch::<$kind>(call)),
            },
            Route {
                method: Method::DELETE,
                path: $one,
                needs: Needs::Admin,
                handler: |call| Box::pin(resource::delete::<$kind>(call)),
            },
        ]
    };
}

pub(crate) const USERS: &[Route] =
    &resource_routes!(Users, "/api/2.0/preview/scim/v2/Users", "/api/2.0/preview/scim/v2/Users/{id}");

pub(crate) const GROUPS: &[Route] =
    &resource_routes!(Groups, "/api/2.0/preview/scim/v2/Groups", "/api/2.0/preview/scim/v2/Groups/{id}");

pub(crate) const SERVICE_PRINCIPALS: &[Route] = &resource_routes!(
    ServicePrincipals,
    "/api/2.0/preview/scim/v2/ServicePrincipals",
    "/api/2.0/preview/scim/v2/ServicePrincipals/{id}"
);

pub(crate) const ME: &[Route] = &[Route {
    method: Method::GET,
    path: "/api/2.0/preview/scim/v2/Me",
    needs: Needs::Principal,
    handler: |call| Box::pin(me::me(call)),
}];

/// A user, a group or a service principal for the audit record.
pub(crate) fn audited(people: &People, id: &str) -> Result<Option<Value>, Failure> {
    let view = match (people.principal(id), people.group(id)) {
        (Some(principal), _) => users::to_value(&users::view(principal, people))?,
        (None, Some(group)) => Groups::view(group, people)?,
        (None, None) => return Ok(None),
    };
    Ok(Some(view))
}

/// An error in SCIM's form.
pub(crate) fn error(error: &ApiError) -> Response {
    let scim_type = match error.code {
        ErrorCode::ResourceAlreadyExists => "uniqueness",
        ErrorCode::InvalidParameterValue => "invalidValue",
        ErrorCode::BadRequest => "invalidSyntax",
        ErrorCode::InvalidState => "mutability",
        _ => "",
    };
    let body = Error {
        schemas: [ERROR_SCHEMA],
        detail: &error.message,
        status: error.status.to_string(),
        scim_type,
    };
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
