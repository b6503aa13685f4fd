//! The unified surface: OpenAI-shaped in and out, whatever the entity speaks.

use http::Method;
use providers::Task;

use super::{Access, Answers, QueryRoute, Surface, by_model, lists, models};
use crate::dialect;
use crate::shape::Shape;

static UNIFIED: Surface =
    Surface { dialect: dialect::unified, shape: Shape::Unified, key_headers: &[], key_parameter: None };

/// Databricks' own paths, and MLflow's of the AI Gateway with and without its prefix.
pub(super) const ROUTES: &[QueryRoute] = &[
    QueryRoute {
        method: Method::POST,
        path: "/serving-endpoints/{name}/invocations",
        task: None,
        access: Access::Query,
        answers: Answers::Named(&UNIFIED),
    },
    by_model("/serving-endpoints/chat/completions", Task::Chat, &UNIFIED),
    by_model("/serving-endpoints/completions", Task::Completions, &UNIFIED),
    by_model("/serving-endpoints/embeddings", Task::Embeddings, &UNIFIED),
    by_model("/ai-gateway/mlflow/v1/chat/completions", Task::Chat, &UNIFIED),
    by_model("/ai-gateway/mlflow/v1/completions", Task::Completions, &UNIFIED),
    by_model("/ai-gateway/mlflow/v1/embeddings", Task::Embeddings, &UNIFIED),
    by_model("/mlflow/v1/chat/completions", Task::Chat, &UNIFIED),
    by_model("/mlflow/v1/completions", Task::Completions, &UNIFIED),
    by_model("/mlflow/v1/embeddings", Task::Embeddings, &UNIFIED),
    models("/serving-endpoints/models", lists::Style::OpenAi),
    models("/ai-gateway/mlflow/v1/models", lists::Style::OpenAi),
    models("/mlflow/v1/models", lists::Style::OpenAi),
];
