//! The Responses surface, for OpenAI's SDKs and Codex.

use http::Method;
use providers::Task;

use super::kept::Part;
use super::{Access, Answers, QueryRoute, Surface, by_model, lists, models};
use crate::dialect::Responses;
use crate::shape::Shape;

pub(super) static RESPONSES: Surface =
    Surface { dialect: |_| &Responses, shape: Shape::OpenAi, key_headers: &[], key_parameter: None };

const fn kept(method: Method, part: Part, path: &'static str) -> QueryRoute {
    QueryRoute { method, path, task: None, access: Access::Token, answers: Answers::Kept(part) }
}

/// A base at which responses are made, and what is asked of one that is kept.
macro_rules! responses {
    ($base:literal) => {
        &[
            by_model(concat!($base, "/responses"), Task::Chat, &RESPONSES),
            kept(Method::GET, Part::Itself, concat!($base, "/responses/{id}")),
            kept(Method::DELETE, Part::Itself, concat!($base, "/responses/{id}")),
            kept(Method::GET, Part::InputItems, concat!($base, "/responses/{id}/input_items")),
            kept(Method::POST, Part::Cancel, concat!($base, "/responses/{id}/cancel")),
        ]
    };
}

pub(super) const BASES: [&[QueryRoute]; 7] = [
    responses!("/serving-endpoints"),
    responses!("/ai-gateway/openai/v1"),
    responses!("/openai/v1"),
    responses!("/ai-gateway/codex/v1"),
    responses!("/codex/v1"),
    responses!("/ai-gateway/mlflow/v1"),
    responses!("/mlflow/v1"),
];

pub(super) const LISTS: &[QueryRoute] = &[
    models("/ai-gateway/codex/v1/models", lists::Style::OpenAi),
    models("/codex/v1/models", lists::Style::OpenAi),
];
