//! The Messages surface, for Anthropic's SDKs and Claude Code.

use http::Method;
use providers::Task;

use super::{Access, Answers, QueryRoute, Surface, by_model, lists, models};
use crate::dialect::{CountMessages, Messages};
use crate::shape::Shape;

pub(super) static MESSAGES: Surface = Surface {
    dialect: |_| &Messages,
    shape: Shape::Messages,
    key_headers: &["x-api-key"],
    key_parameter: None,
};

static COUNT: Surface = Surface {
    dialect: |_| &CountMessages,
    shape: Shape::Messages,
    key_headers: &["x-api-key"],
    key_parameter: None,
};

/// Claude Code asks, without a credential, whether somebody is there before its first call.
const fn alive(path: &'static str) -> QueryRoute {
    QueryRoute { method: Method::HEAD, path, task: None, access: Access::Nothing, answers: Answers::Alive }
}

pub(super) const ROUTES: &[QueryRoute] = &[
    by_model("/ai-gateway/anthropic/v1/messages", Task::Chat, &MESSAGES),
    by_model("/ai-gateway/anthropic/v1/messages/count_tokens", Task::Chat, &COUNT),
    models("/ai-gateway/anthropic/v1/models", lists::Style::Messages),
    alive("/ai-gateway/anthropic"),
    by_model("/anthropic/v1/messages", Task::Chat, &MESSAGES),
    by_model("/anthropic/v1/messages/count_tokens", Task::Chat, &COUNT),
    models("/anthropic/v1/models", lists::Style::Messages),
    alive("/anthropic"),
    by_model("/serving-endpoints/anthropic/v1/messages", Task::Chat, &MESSAGES),
    by_model("/serving-endpoints/anthropic/v1/messages/count_tokens", Task::Chat, &COUNT),
    models("/serving-endpoints/anthropic/v1/models", lists::Style::Messages),
    alive("/serving-endpoints/anthropic"),
];
