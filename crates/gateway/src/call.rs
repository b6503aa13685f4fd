//! One request, read and taken apart.

use std::sync::Arc;

use http::{HeaderMap, Method};
use journal::RequestId;
use journal::trace::TraceContext;
use policy::{Endpoint, IdKey, Principal};
use providers::Task;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use wire::Object;
use wire::error::ApiError;
use wire::raw::RawObject;

use crate::attended::Presence;
use crate::dialect::Dialect;
use crate::estimate::Lengths;
use crate::{stored, tags};

/// What moves through the pipeline.
pub(crate) struct Call<'a> {
    pub(crate) request_id: RequestId,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) principal: Arc<Principal>,
    /// The body for the upstream: ours and Databricks' own fields are off.
    pub(crate) body: RawObject<'a>,
    pub(crate) stream: bool,
    /// The format the client speaks.
    pub(crate) dialect: &'static dyn Dialect,
    /// The caller's own, its credential among them: only those that a provider names go on.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: Option<&'a str>,
    pub(crate) trace: Option<TraceContext>,
    /// The only entity that can take it, where it goes on from what that one keeps.
    pub(crate) pinned: Option<usize>,
    /// What is asked of something that is kept, where it is not a model that is asked.
    pub(crate) kept: Option<Kept>,
    pub(crate) id_key: Option<IdKey>,
    /// Of what is asked; 0 where that is free.
    pub(crate) characters: u64,
    /// Where its answer may be read on when its client leaves.
    pub(crate) presence: Option<Presence>,
}

/// A call about something that an entity keeps.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) method: Method,
    /// What stands behind the address of the format.
    pub(crate) path: String,
    /// Parameters of the query, with the entity's own ids.
    pub(crate) query: String,
}

/// A request as it came.
pub(crate) struct Asked<'a> {
    pub(crate) dialect: &'static dyn Dialect,
    /// Where it is not the body that says so.
    pub(crate) streams: Option<bool>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: Option<&'a str>,
    pub(crate) body: RawObject<'a>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) id_key: Option<IdKey>,
    /// Of what is asked, where somebody counted them: a long prompt is read for that once.
    pub(crate) characters: Option<u64>,
    /// Where its answer may be read on when its client leaves.
    pub(crate) presence: Option<Presence>,
}

impl<'a> Asked<'a> {
    /// What no client sent: nothing but a body. `headers` are none.
    pub(crate) fn of_our_own(
        dialect: &'static dyn Dialect,
        headers: &'a HeaderMap,
        body: RawObject<'a>,
    ) -> Self {
        Self {
            dialect,
            streams: None,
            headers,
            query: None,
            body,
            trace: None,
            id_key: None,
            characters: None,
            presence: None,
        }
    }
}

/// Fields that no upstream may see.
const OURS: [&str; 3] = ["client_request_id", "usage_context", "databricks_options"];

/// Fields that only custom Databricks models take.
const TABULAR: [&str; 4] = ["dataframe_split", "dataframe_records", "instances", "inputs"];

impl<'a> Call<'a> {
    pub(crate) fn read(
        request_id: RequestId,
        endpoint: Arc<Endpoint>,
        principal: Arc<Principal>,
        asked: Asked<'a>,
    ) -> Result<Self, ApiError> {
        let Asked { dialect, streams, headers, query, mut body, trace, id_key, characters, presence } = asked;
        if let Some(field) = TABULAR.iter().find(|f| body.contains(f)) {
            let task = endpoint.task.as_str();
            return Err(ApiError::bad_request(format!(
                "{field} is for custom models; this endpoint's task is {task}"
            )));
        }
        match dialect.passage() {
            None => check_input(&body, endpoint.task)?,
            Some(passage) => check_needs(&body, passage.needs)?,
        }
        let stream = match streams {
            Some(streams) => streams,
            None => field(&body, "stream")?.unwrap_or(false),
        };
        if stream && endpoint.task == Task::Embeddings {
            return Err(ApiError::bad_request("stream: embeddings cannot be streamed"));
        }
        // They are on record already, as far as they can be read.
        if let Some(id) = field::<String>(&body, "client_request_id")? {
            tags::check_id("client_request_id", &id)?;
        }
        tags::check("usage_context", &field(&body, "usage_context")?.unwrap_or_default())?;
        OURS.iter().for_each(|ours| drop(body.remove(ours)));
        merge_extra_params(&mut body)?;
        tags::check_request_tags(headers)?;
        let characters = match characters {
            Some(characters) => characters,
            None if dialect.is_free() => 0,
            None => Lengths::of_request(&body).prompt,
        };
        let pinned = stored::pinned(id_key.as_ref(), &endpoint, dialect, &body)?;
        Ok(Self {
            request_id,
            endpoint,
            principal,
            body,
            stream,
            dialect,
            headers,
            query,
            trace,
            pinned,
            kept: None,
            id_key,
            characters,
            presence,
        })
    }
}

impl Call<'_> {
    /// Whether its client has left, so that nothing may begin any more.
    pub(crate) fn is_left(&self) -> bool {
        self.presence.as_ref().is_some_and(Presence::has_left)
    }

    /// Of the request, before there is an answer.
    pub(crate) fn lengths(&self) -> Lengths {
        Lengths { prompt: self.characters, answer: 0 }
    }

    /// How many inputs a request for embeddings has; `None` when it is one text, or cannot be read.
    pub(crate) fn inputs(&self) -> Option<usize> {
        let inputs: Vec<&RawValue> = self.body.get("input").ok().flatten()?;
        // A list of numbers is one input of that many tokens.
        let first = inputs.first()?.get();
        first.starts_with(['"', '[']).then_some(inputs.len())
    }
}

fn field<T: serde::de::DeserializeOwned>(body: &RawObject<'_>, name: &str) -> Result<Option<T>, ApiError> {
    body.get(name).map_err(|e| ApiError::bad_request(format!("{name}: {e}")))
}

/// The one field without which the task makes no sense.
fn check_input(body: &RawObject<'_>, task: Task) -> Result<(), ApiError> {
    let (name, other) = match task {
        Task::Chat => ("messages", "chat"),
        Task::Completions => ("prompt", "completions"),
        Task::Embeddings => ("input", "embeddings"),
    };
    let Some(raw) = body.raw(name).map(|raw| raw.get()).filter(|raw| *raw != "null") else {
        return Err(ApiError::bad_request(format!("{name} is required: this endpoint's task is {other}")));
    };
    let list = raw.starts_with('[');
    if task == Task::Chat && (!list || raw[1..].trim_start().starts_with(']')) {
        return Err(ApiError::bad_request("messages must be a list of at least one message"));
    }
    Ok(())
}

/// As [`check_input`], in a format that may have the input in several places.
fn check_needs(body: &RawObject<'_>, needs: &[&str]) -> Result<(), ApiError> {
    if needs.iter().any(|name| body.raw(name).is_some_and(|raw| raw.get() != "null")) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{} is required", needs.first().unwrap_or(&"input"))))
}

/// `extra_params` of databricks-sdk is a map of strings; the provider wants the values they spell. They
/// neither override a field nor bring back one that was taken off.
fn merge_extra_params(body: &mut RawObject<'_>) -> Result<(), ApiError> {
    let extra: Option<Object> = field(body, "extra_params")?;
    body.remove("extra_params");
    for (name, value) in extra.into_iter().flatten() {
        let reserved = ["model", "stream", "extra_params"].contains(&name.as_str());
        if reserved || OURS.contains(&name.as_str()) || body.contains(&name) {
            continue;
        }
        let value = match value {
            Value::String(text) => spelled(text),
            other => other,
        };
        let raw =
            to_raw_value(&value).map_err(|e| ApiError::bad_request(format!("extra_params.{name}: {e}")))?;
        body.set_raw(Cow::Owned(name), Cow::Owned(raw));
    }
    Ok(())
}

fn spelled(text: String) -> Value {
    match serde_json::from_str::<Value>(&text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_params_become_the_values_they_spell_and_never_override() {
        let mut body = RawObject::parse(
            br#"{"top_k":1,"extra_params":{"top_p":"0.9","top_k":"7","flag":"true","s":"x","model":"evil",
            "client_request_id":"c","usage_context":"u","databricks_options":"d","extra_params":"e"}}"#,
        )
        .unwrap();
        merge_extra_params(&mut body).unwrap();
        assert_eq!(body.to_vec().unwrap(), br#"{"top_k":1,"top_p":0.9,"flag":true,"s":"x"}"#);
    }

    #[test]
    fn the_task_needs_its_input() {
        let check = |text: &str, task| check_input(&RawObject::parse(text.as_bytes()).unwrap(), task).is_ok();
        assert!(check(r#"{"messages":[{}]}"#, Task::Chat));
        assert!(!check(r#"{"messages":[ ]}"#, Task::Chat));
        assert!(!check(r#"{"messages":null}"#, Task::Chat));
        assert!(!check(r#"{"prompt":"x"}"#, Task::Chat));
        assert!(check(r#"{"input":"x"}"#, Task::Embeddings));
        assert!(!check(r#"{"messages":[{}]}"#, Task::Embeddings));
        let needs =
            |text: &str| check_needs(&RawObject::parse(text.as_bytes()).unwrap(), &["input", "prompt"]);
        assert!(needs(r#"{"prompt":{}}"#).is_ok());
        assert!(needs(r#"{"input":null}"#).unwrap_err().message.starts_with("input"));
    }
}
