//! Responses that are kept, and what can be asked of them by their ids.

use std::collections::VecDeque;

use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Azure;
use crate::format::{Format, Refusal, Reply};
use crate::frames::{FrameWriter, Kind};

/// Older ones are forgotten.
const MAX_KEPT: usize = 1_024;

/// The responses of all models.
#[derive(Debug, Default)]
pub(crate) struct KeptResponses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    made: u64,
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    response: Value,
    input: Vec<Value>,
}

impl Kept {
    fn id(&self) -> &str {
        self.response["id"].as_str().unwrap_or_default()
    }

    fn items(&self) -> impl Iterator<Item = &Value> {
        self.input.iter().chain(self.response["output"].as_array().into_iter().flatten())
    }
}

impl KeptResponses {
    /// What follows the prefix in the ids of the next response and of its item: 50 and 48 digits, as the
    /// provider has.
    pub(super) fn next_ids(&self) -> (String, String) {
        let mut state = self.0.lock();
        state.made += 1;
        let digits: String =
            Sha256::digest(state.made.to_be_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        (format!("0{}", &digits[..49]), digits[16..].to_owned())
    }

    /// Refuses a request that goes on from what is not kept.
    pub(super) fn check(&self, body: &Value) -> Result<(), Refusal> {
        let state = self.0.lock();
        if let Some(id) = body["previous_response_id"].as_str()
            && !state.kept.iter().any(|kept| kept.id() == id)
        {
            let message = format!("Previous response with id '{id}' not found.");
            return Err(Refusal::bad_param("previous_response_id", message));
        }
        let items = body["input"].as_array().into_iter().flatten();
        for id in items.filter(|item| item["type"] == "item_reference").filter_map(|item| item["id"].as_str())
        {
            if !state.kept.iter().flat_map(Kept::items).any(|item| item["id"] == id) {
                return Err(Refusal::new(StatusCode::NOT_FOUND, format!("Item with id '{id}' not found.")));
            }
        }
        Ok(())
    }

    pub(super) fn keep(&self, response: Value, input: &Value) {
        let mut state = self.0.lock();
        let items = match input {
            Value::Array(items) => items.clone(),
            said => vec![
                json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": said}]}),
            ],
        };
        let number = state.made;
        let input = items.into_iter().enumerate().map(|(at, mut item)| {
            if item.get("id").is_none() {
                item["id"] = format!("msg_in{number}x{at}").into();
            }
            item
        });
        let kept = Kept { response, input: input.collect() };
        state.kept.push_back(kept);
        if state.kept.len() > MAX_KEPT {
            state.kept.pop_front();
        }
    }

    pub(crate) fn clear(&self) {
        self.0.lock().kept.clear();
    }

    /// The answer where the path is one of a response that may be kept.
    pub(crate) fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Option<Result<Reply, Refusal>> {
        let (_, rest) = path.rsplit_once("/responses/")?;
        let (id, part) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Azure.authorize(headers).and_then(|()| self.asked(method, id, part, query)))
    }

    fn asked(&self, method: &Method, id: &str, part: &str, query: &str) -> Result<Reply, Refusal> {
        let mut state = self.0.lock();
        let missing = || Refusal::new(StatusCode::NOT_FOUND, format!("Response with id '{id}' not found."));
        let at = state.kept.iter().position(|kept| kept.id() == id).ok_or_else(missing)?;
        let kept = &mut state.kept[at];
        match (method, part) {
            (&Method::GET, "") if query.contains("stream=true") => {
                let mut writer = FrameWriter::default();
                let event =
                    json!({"type": "response.completed", "sequence_number": 0, "response": kept.response});
                writer.sse(Kind::Done, Some("response.completed"), &event)?;
                Ok(Reply::Stream(writer.finish()))
            }
            (&Method::GET, "") => Reply::json(&kept.response),
            (&Method::GET, "input_items") => Reply::json(&list(&kept.input, query)),
            (&Method::POST, "cancel") if kept.response["background"] == true => {
                kept.response["status"] = "cancelled".into();
                Reply::json(&kept.response)
            }
            (&Method::POST, "cancel") => Err(Refusal::bad_request("Cannot cancel a synchronous response.")),
            (&Method::DELETE, "") => {
                state.kept.remove(at);
                Reply::json(&json!({"id": id, "object": "response", "deleted": true}))
            }
            _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "no such method")),
        }
    }
}

fn list(items: &[Value], query: &str) -> Value {
    let after = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "after");
    let start = after.map_or(0, |(_, id)| {
        items.iter().position(|item| item["id"] == *id).map_or(items.len(), |at| at + 1)
    });
    let page = &items[start..];
    let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    json!({"object": "list", "data": page, "first_id": id(page.first()), "last_id": id(page.last()), "has_more": false})
}
