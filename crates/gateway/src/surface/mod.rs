//! The paths of the data plane. One file per family; the parent only collects and dispatches.

mod chat;
mod converse;
mod generate;
mod kept;
mod lists;
mod messages;
mod responses;
mod unified;

use std::pin::Pin;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on, post};
use http::{Method, Request, StatusCode};
use providers::Task;

use crate::Gateway;
use crate::dialect::Dialect;
use crate::pipeline::{Addressing, Ask, serve};
use crate::shape::Shape;

/// What clients of a kind speak, and how they are told of errors.
#[derive(Debug)]
pub(crate) struct Surface {
    pub(crate) dialect: fn(Task) -> &'static dyn Dialect,
    pub(crate) shape: Shape,
    /// Headers in which its clients send their token, where they send no `Authorization`.
    pub(crate) key_headers: &'static [&'static str],
    /// The parameter of the query that holds it, where no header does.
    pub(crate) key_parameter: Option<&'static str>,
}

/// What a caller needs for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `CAN_QUERY` on the endpoint.
    Query,
    /// Any token: what is shown is what its owner may query.
    Token,
    Nothing,
}

/// One path of the data plane.
#[derive(Clone, Debug)]
pub struct QueryRoute {
    pub method: Method,
    pub path: &'static str,
    /// The task that the path is of, the endpoint being the body's `model`; `None` where the endpoint is in
    /// the path and its own task decides, and where there is no endpoint.
    pub task: Option<Task>,
    pub access: Access,
    answers: Answers,
}

/// What a path does.
#[derive(Clone, Copy, Debug)]
enum Answers {
    /// Asks the endpoint that the path names.
    Named(&'static Surface),
    /// Asks the endpoint that the body names.
    ByModel(&'static Surface),
    /// Asks the endpoint that the path names, for what the path says.
    Generate,
    /// Asks the endpoint that the path names for a turn.
    Converse {
        stream: bool,
    },
    Models(lists::Style),
    /// A response that is kept, by the id in the path.
    Kept(kept::Part),
    /// A client looks whether somebody is there.
    Alive,
}

const fn by_model(path: &'static str, task: Task, surface: &'static Surface) -> QueryRoute {
    let answers = Answers::ByModel(surface);
    QueryRoute { method: Method::POST, path, task: Some(task), access: Access::Query, answers }
}

const fn models(path: &'static str, style: lists::Style) -> QueryRoute {
    let answers = Answers::Models(style);
    QueryRoute { method: Method::GET, path, task: None, access: Access::Token, answers }
}

const FAMILIES: [&[QueryRoute]; 6] =
    [unified::ROUTES, chat::ROUTES, messages::ROUTES, responses::LISTS, generate::ROUTES, converse::ROUTES];

/// Every path there is.
pub fn routes() -> impl Iterator<Item = &'static QueryRoute> {
    FAMILIES.into_iter().chain(responses::BASES).flatten()
}

/// The path of an endpoint whose name is the beginning of `…/responses/{id}`, which the router would prefer.
const SHADOWED: &str = "/serving-endpoints/responses/invocations";

/// All data-plane routes.
pub fn router(gateway: Gateway) -> Router {
    let mut router = Router::new();
    for route in routes() {
        if let Ok(method) = MethodFilter::try_from(route.method.clone()) {
            router = router.route(route.path, on(method, Answering(route)));
        }
        if let Answers::Named(_) = route.answers {
            router = router.route(SHADOWED, post(Answering(route)));
        }
    }
    router.with_state(gateway)
}

#[derive(Clone, Copy)]
struct Answering(&'static QueryRoute);

impl Handler<(), Gateway> for Answering {
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request<Body>, gateway: Gateway) -> Self::Future {
        Box::pin(answer(self.0, gateway, request))
    }
}

async fn answer(route: &'static QueryRoute, gateway: Gateway, request: Request<Body>) -> Response {
    match route.answers {
        Answers::Named(surface) => {
            let (name, request) = parameter(request).await;
            let addressing = Addressing::Path(name);
            serve(gateway, Ask { surface, addressing, task: route.task, streams: None }, request).await
        }
        Answers::ByModel(surface) => {
            let addressing = Addressing::Model;
            serve(gateway, Ask { surface, addressing, task: route.task, streams: None }, request).await
        }
        Answers::Generate => {
            let (call, request) = parameter(request).await;
            Box::pin(generate::answer(gateway, &call, request)).await
        }
        Answers::Converse { stream } => {
            let (name, request) = parameter(request).await;
            let (addressing, surface) = (Addressing::Path(name), &converse::CONVERSE);
            serve(gateway, Ask { surface, addressing, task: route.task, streams: Some(stream) }, request)
                .await
        }
        Answers::Models(style) => lists::answer(&gateway, style, &request.into_parts().0),
        Answers::Kept(part) => {
            let (id, request) = parameter(request).await;
            Box::pin(kept::answer(&gateway, part, &id, &request.into_parts().0)).await
        }
        Answers::Alive => StatusCode::OK.into_response(),
    }
}

/// The last parameter of the path. Escapes that are no UTF-8 name nothing.
async fn parameter(request: Request<Body>) -> (String, Request<Body>) {
    if request.uri().path() == SHADOWED {
        return ("responses".to_owned(), request);
    }
    let (mut parts, body) = request.into_parts();
    let read = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, &()).await;
    let last = read.ok().and_then(|Path(mut all)| all.pop()).map(|(_, value)| value);
    (last.unwrap_or_else(|| String::from('\u{fffd}')), Request::from_parts(parts, body))
}
