//! Lists of models: the endpoints that the caller may query, as each surface lists models.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use policy::{Level, Principal, Snapshot, permit};
use providers::Task;
use serde_json::{Value, json};

use super::generate::GENERATE;
use super::responses::RESPONSES;
use super::{Surface, messages};
use crate::Gateway;
use crate::pipeline::authenticate;

/// How a list looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    OpenAi,
    Messages,
    GenerateContent,
}

/// Stands for a time of release that is not known, as the format asks.
const UNKNOWN_DATE: &str = "1970-01-01T00:00:00Z";

pub(super) fn answer(gateway: &Gateway, style: Style, parts: &Parts) -> Response {
    let snapshot = gateway.inner.live.load();
    let surface = surface(style);
    match authenticate(&snapshot, surface, parts) {
        Ok(principal) => Json(list(style, &names(&snapshot, &principal, style))).into_response(),
        Err(error) => surface.shape.respond(&error.into()),
    }
}

fn surface(style: Style) -> &'static Surface {
    match style {
        Style::OpenAi => &RESPONSES,
        Style::Messages => &messages::MESSAGES,
        Style::GenerateContent => &GENERATE,
    }
}

/// In the order of the alphabet; of surfaces that chat alone those that chat.
fn names(snapshot: &Snapshot, principal: &Principal, style: Style) -> Vec<String> {
    let served = |task: Task| style == Style::OpenAi || task == Task::Chat;
    let endpoints = snapshot.endpoints.values();
    let endpoints = endpoints.filter(|e| served(e.task) && permit::level(principal, e) >= Some(Level::Query));
    let mut names: Vec<String> = endpoints.map(|endpoint| endpoint.name.to_string()).collect();
    names.sort_unstable();
    names
}

fn list(style: Style, names: &[String]) -> Value {
    let each = |model: fn(&str) -> Value| names.iter().map(|name| model(name)).collect::<Vec<Value>>();
    match style {
        Style::OpenAi => {
            let model = |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "system"});
            json!({"object": "list", "data": each(model)})
        }
        Style::Messages => {
            let model =
                |id: &str| json!({"type": "model", "id": id, "display_name": id, "created_at": UNKNOWN_DATE});
            json!({"data": each(model), "has_more": false, "first_id": names.first(), "last_id": names.last()})
        }
        Style::GenerateContent => {
            let methods = ["generateContent", "streamGenerateContent", "countTokens"];
            let models = names.iter().map(|name| {
                json!({"name": format!("models/{name}"), "displayName": name, "supportedGenerationMethods": methods})
            });
            json!({"models": models.collect::<Vec<Value>>()})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_surface_lists_models_in_its_own_way() {
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(list(Style::OpenAi, &names)["data"][1]["id"], "b");
        let messages = list(Style::Messages, &names);
        assert_eq!(
            (&messages["first_id"], &messages["last_id"], &messages["has_more"]),
            (&json!("a"), &json!("b"), &json!(false))
        );
        assert_eq!(list(Style::Messages, &[])["first_id"], Value::Null);
        assert_eq!(list(Style::GenerateContent, &names)["models"][0]["name"], "models/a");
    }
}
