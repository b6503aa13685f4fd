//! The Responses surface, for OpenAI's SDKs and Codex.

use http::Method;
use providers::Task;

use super::{Access, Answers, QueryRoute, Surface, by_model, lists, models};
use crate::dialect::Responses;
use crate::shape::Shape;

pub(super) static RESPONSES: Surface =
    Surface { dialect: |_| &Responses, shape: Shape::OpenAi, key_headers: &[], key_parameter: None };

const fn kept(method: Method, path: &'static str) -> QueryRoute {
    QueryRoute { method, path, task: None, access: Access::Token, answers: Answers::Kept }
}

pub(super) const ROUTES: &[QueryRoute] = &[
    by_model("/serving-endpoints/responses", Task::Chat, &RESPONSES),
    kept(Method::GET, "/serving-endpoints/responses/{id}"),
    kept(Method::DELETE, "/serving-endpoints/responses/{id}"),
    kept(Method::GET, "/serving-endpoints/responses/{id}/input_items"),
    by_model("/ai-gateway/openai/v1/responses", Task::Chat, &RESPONSES),
    kept(Method::GET, "/ai-gateway/openai/v1/responses/{id}"),
    kept(Method::DELETE, "/ai-gateway/openai/v1/responses/{id}"),
    by_model("/openai/v1/responses", Task::Chat, &RESPONSES),
    kept(Method::GET, "/openai/v1/responses/{id}"),
    kept(Method::DELETE, "/openai/v1/responses/{id}"),
    by_model("/ai-gateway/codex/v1/responses", Task::Chat, &RESPONSES),
    models("/ai-gateway/codex/v1/models", lists::Style::OpenAi),
    by_model("/codex/v1/responses", Task::Chat, &RESPONSES),
    models("/codex/v1/models", lists::Style::OpenAi),
    by_model("/ai-gateway/mlflow/v1/responses", Task::Chat, &RESPONSES),
    by_model("/mlflow/v1/responses", Task::Chat, &RESPONSES),
];
