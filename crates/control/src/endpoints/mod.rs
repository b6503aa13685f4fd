//! `/api/2.0/serving-endpoints`. One file per action; the parent only lists them.

mod ai_gateway;
mod create;
mod credentials;
mod read;
mod remove;
mod update;
mod view;

use http::Method;
use policy::Level;

use crate::access::{Needs, Route};

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/api/2.0/serving-endpoints",
        needs: Needs::Admin,
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
];
