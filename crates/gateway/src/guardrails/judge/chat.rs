//! A chat endpoint of this server, asked in the server's own name, on record as a call of whoever is judged.

use std::sync::Arc;

use http::HeaderMap;
use journal::Outcome;
use providers::Task;
use serde_json::{Value, json};
use wire::chat::ChatResponse;
use wire::raw::RawObject;
use wire::usage::Usage;

use crate::call::{Asked, Call};
use crate::guardrails::examine::Examiner;
use crate::probe::{nobody, request_id};
use crate::record::{Open, Waiting};
use crate::upstream::SuccessBody;
use crate::{attempts, dialect};

/// A verdict is short.
const MAX_TOKENS: u64 = 256;

/// What it says. Errors with why it says nothing.
pub(super) async fn ask(
    examiner: &Examiner<'_>,
    name: &str,
    messages: Value,
) -> Result<(String, Usage), String> {
    let endpoint = examiner.snapshot.endpoints.get(name).cloned();
    let endpoint = endpoint.ok_or_else(|| format!("the endpoint {name:?} that judges does not exist"))?;
    if endpoint.task != Task::Chat {
        return Err(format!("the endpoint {name:?} that judges is none of chat"));
    }
    let body = json!({"messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0.0}).to_string();
    let body = RawObject::parse(body.as_bytes()).map_err(|e| e.to_string())?;
    let id = request_id();
    let mut open = examiner.open.made_for(&id, &endpoint, &body).map_err(|full| full.to_string())?;
    if let Some(durable) = open.durable() {
        durable.await;
    }
    let headers = HeaderMap::new();
    let asked = Asked {
        streams: Some(false),
        characters: open.characters(),
        ..Asked::of_our_own(dialect::unified(Task::Chat), &headers, body)
    };
    let call = Call::read(id, Arc::clone(&endpoint), nobody(), asked).map_err(|error| error.message)?;
    let mut waiting = Waiting::new(&mut open, &call);
    let answered = Box::pin(attempts::run(examiner.gateway, &call, waiting.open())).await;
    waiting.over();
    match answered {
        Ok(success) => said(success.body, open),
        Err(error) => {
            open.end(&error);
            Err(format!("the endpoint {name:?} that judges failed: {}", error.sentence()))
        }
    }
}

fn said(body: SuccessBody, mut open: Box<Open>) -> Result<(String, Usage), String> {
    let SuccessBody::Whole { body, usage, written } = body else {
        return Err("the judge answered with a stream".to_owned());
    };
    let used = usage.as_ref().map_or_else(|| Usage::new(0, 0), |counted| counted.usage.clone());
    open.used(usage, written);
    open.settle(Outcome::Completed, 200);
    let response: ChatResponse =
        serde_json::from_slice(&body).map_err(|e| format!("the judge's answer cannot be read: {e}"))?;
    let message = response.choices.into_iter().next().map(|choice| choice.message);
    let text = message.and_then(|message| message.content).map(|content| content.text());
    Ok((text.unwrap_or_default(), used))
}
