//! A chat endpoint of this server, asked in the server's own name.

use std::sync::Arc;

use http::HeaderMap;
use journal::RequestId;
use policy::Snapshot;
use providers::Task;
use serde_json::{Value, json};
use wire::chat::ChatResponse;
use wire::raw::RawObject;
use wire::usage::Usage;

use crate::attempts::{self, Turns};
use crate::call::{Asked, Call};
use crate::probe::nobody;
use crate::upstream::{self, SuccessBody};
use crate::{Gateway, dialect};

/// A verdict is short.
const MAX_TOKENS: u64 = 256;

/// What it says. Errors with why it says nothing.
pub(super) async fn ask(
    gateway: &Gateway,
    snapshot: &Snapshot,
    name: &str,
    messages: Value,
) -> Result<(String, Usage), String> {
    let endpoint = snapshot.endpoints.get(name).cloned();
    let endpoint = endpoint.ok_or_else(|| format!("the endpoint {name:?} that judges does not exist"))?;
    if endpoint.task != Task::Chat {
        return Err(format!("the endpoint {name:?} that judges is none of chat"));
    }
    let body = json!({"messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0.0}).to_string();
    let body = RawObject::parse(body.as_bytes()).map_err(|e| e.to_string())?;
    let headers = HeaderMap::new();
    let dialect = dialect::unified(Task::Chat);
    let asked = Asked { streams: Some(false), ..Asked::of_our_own(dialect, &headers, body) };
    let id = RequestId(uuid::Uuid::now_v7().to_string().into());
    let call = Call::read(id, Arc::clone(&endpoint), nobody(), asked).map_err(|error| error.message)?;
    let mut why = format!("the endpoint {name:?} that judges has no served entity");
    let mut turns = Turns::new(&call);
    while let Some(turn) = turns.next(gateway, &call) {
        let tried = Box::pin(upstream::attempt(gateway, &call, turn.at, None)).await;
        attempts::report(gateway, &call, turn, &tried);
        match tried {
            Ok(success) => return said(success.body),
            Err(error) => {
                why = format!("the endpoint {name:?} that judges failed: {}", error.sentence());
                if !error.allows_fallback() {
                    break;
                }
            }
        }
    }
    Err(why)
}

fn said(body: SuccessBody) -> Result<(String, Usage), String> {
    let SuccessBody::Whole { body, usage, .. } = body else {
        return Err("the judge answered with a stream".to_owned());
    };
    let response: ChatResponse =
        serde_json::from_slice(&body).map_err(|e| format!("the judge's answer cannot be read: {e}"))?;
    let message = response.choices.into_iter().next().map(|choice| choice.message);
    let text = message.and_then(|message| message.content).map(|content| content.text());
    let usage = usage.map_or_else(|| Usage::new(0, 0), |counted| counted.usage);
    Ok((text.unwrap_or_default(), usage))
}
