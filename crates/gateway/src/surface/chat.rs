//! OpenAI's own paths: the unified format with OpenAI's errors and its habits in streams.

use providers::Task;

use super::{QueryRoute, Surface, by_model, lists, models};
use crate::dialect;
use crate::shape::Shape;

static OPENAI: Surface =
    Surface { dialect: dialect::openai, shape: Shape::OpenAi, key_headers: &[], key_parameter: None };

pub(super) const ROUTES: &[QueryRoute] = &[
    by_model("/ai-gateway/openai/v1/chat/completions", Task::Chat, &OPENAI),
    by_model("/ai-gateway/openai/v1/completions", Task::Completions, &OPENAI),
    by_model("/ai-gateway/openai/v1/embeddings", Task::Embeddings, &OPENAI),
    models("/ai-gateway/openai/v1/models", lists::Style::OpenAi),
    by_model("/openai/v1/chat/completions", Task::Chat, &OPENAI),
    by_model("/openai/v1/completions", Task::Completions, &OPENAI),
    by_model("/openai/v1/embeddings", Task::Embeddings, &OPENAI),
    models("/openai/v1/models", lists::Style::OpenAi),
    by_model("/ai-gateway/cursor/v1/chat/completions", Task::Chat, &OPENAI),
    models("/ai-gateway/cursor/v1/models", lists::Style::OpenAi),
    by_model("/cursor/v1/chat/completions", Task::Chat, &OPENAI),
    models("/cursor/v1/models", lists::Style::OpenAi),
];
