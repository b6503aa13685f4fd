//! The ids in requests: whom they bind to, and what that entity calls them.

use policy::{Endpoint, IdKey};
use providers::NativeCall;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use wire::error::ApiError;
use wire::raw::RawObject;

use super::{Found, Held, find};
use crate::dialect::Dialect;

/// The fields of an item that hold ids of items.
const ITEM_IDS: [&str; 2] = ["id", "approval_request_id"];

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    encrypted_content: Option<Value>,
    #[serde(default)]
    role: Option<IgnoredAny>,
    #[serde(default)]
    content: Option<IgnoredAny>,
}

impl Item {
    /// The id of an item that says nothing itself: who keeps it has to add the rest.
    fn reference(&self) -> Option<&str> {
        let says_all = match self.kind.as_deref() {
            Some("item_reference") => false,
            Some("reasoning") => self.encrypted_content.as_ref().is_some_and(|sealed| !sealed.is_null()),
            // The type of a reference may be left out, that of a message too.
            None => self.role.is_some() || self.content.is_some(),
            Some(_) => true,
        };
        self.id.as_deref().filter(|_| !says_all)
    }
}

fn is_responses(dialect: &dyn Dialect) -> bool {
    dialect.passage().is_some_and(|passage| passage.call == NativeCall::Responses)
}

/// Whether what the upstream answers can be asked for later.
pub(crate) fn keeps(dialect: &dyn Dialect, body: &RawObject<'_>) -> bool {
    // Unless told otherwise, who keeps responses does.
    is_responses(dialect) && body.raw("store").is_none_or(|raw| raw.get() != "false")
}

/// Whether the upstream makes the answer whoever listens.
pub(crate) fn is_made_alone(dialect: &dyn Dialect, body: &RawObject<'_>) -> bool {
    is_responses(dialect) && body.raw("background").is_some_and(|raw| raw.get() == "true")
}

/// The only entity that can take the request, because it keeps what the request goes on from.
pub(crate) fn pinned(
    key: Option<&IdKey>,
    endpoint: &Endpoint,
    dialect: &dyn Dialect,
    body: &RawObject<'_>,
) -> Result<Option<usize>, ApiError> {
    let speaks = endpoint.entities.iter().any(|e| e.native(NativeCall::Responses, false).is_some());
    if !is_responses(dialect) || !speaks {
        // Where nobody keeps anything, the translation says so.
        return Ok(None);
    }
    let mut pinned = None;
    let mut pin = |place: &str, id: &str| {
        let held = held(key, endpoint, place, id)?;
        if pinned.is_some_and(|other| other != held.entity) {
            return Err(ApiError::bad_request(format!(
                "{place}: is kept by another served entity than the rest of the conversation; send it as it was in place of its id"
            )));
        }
        pinned = Some(held.entity);
        Ok(())
    };
    let previous: Option<String> = body
        .get("previous_response_id")
        .map_err(|e| ApiError::bad_request(format!("previous_response_id: {e}")))?;
    if let Some(id) = previous.filter(|id| !id.is_empty()) {
        pin("previous_response_id", &id)?;
    }
    // What is no list of items has no ids; whether it is good, the upstream says.
    let items: Vec<Item> = body.get("input").ok().flatten().unwrap_or_default();
    for (at, item) in items.iter().enumerate() {
        if let Some(id) = item.reference() {
            pin(&format!("input[{at}].id"), id)?;
        }
    }
    Ok(pinned)
}

fn held(key: Option<&IdKey>, endpoint: &Endpoint, place: &str, id: &str) -> Result<Held, ApiError> {
    let shown: String = id.chars().take(100).collect();
    match find(key, endpoint, id) {
        Found::Held(held) => Ok(held),
        Found::Gone => Err(ApiError::bad_request(format!(
            "{place}: the served entity that keeps {shown:?} is no longer part of endpoint {:?}; send the whole conversation as input",
            endpoint.name
        ))),
        Found::Foreign => Err(ApiError::bad_request(format!(
            "{place}: {shown:?} was not given out by endpoint {:?}, or is an id of its upstream that is too long to go on from; \
             send the whole conversation as input",
            endpoint.name
        ))),
    }
}

/// The body as the entity may see it: with its own ids, and without those of items that others keep, which
/// say everything themselves.
pub(crate) fn opened(
    key: Option<&IdKey>,
    endpoint: &Endpoint,
    entity: usize,
    body: &mut RawObject<'_>,
) -> Result<(), ApiError> {
    let own = |id: &str| match find(key, endpoint, id) {
        Found::Held(held) if same(endpoint, held.entity, entity) => Some(Some(held.id)),
        Found::Held(_) | Found::Gone => Some(None),
        Found::Foreign => None,
    };
    let unreadable = |field: &str, e: serde_json::Error| ApiError::bad_request(format!("{field}: {e}"));
    let previous: Option<String> =
        body.get("previous_response_id").map_err(|e| unreadable("previous_response_id", e))?;
    if let Some(Some(id)) = previous.as_deref().and_then(own) {
        body.set("previous_response_id", &id).map_err(|e| unreadable("previous_response_id", e))?;
    }
    let Ok(Some(mut items)) = body.get::<Vec<Value>>("input") else { return Ok(()) };
    let mut changed = false;
    for fields in items.iter_mut().filter_map(Value::as_object_mut) {
        for field in ITEM_IDS {
            let Some(became) = fields.get(field).and_then(Value::as_str).and_then(own) else { continue };
            changed = true;
            match became {
                Some(id) => drop(fields.insert(field.to_owned(), id.into())),
                None => drop(fields.shift_remove(field)),
            }
        }
    }
    if changed {
        body.set("input", &items).map_err(|e| unreadable("input", e))?;
    }
    Ok(())
}

/// Entities of one mark are one.
fn same(endpoint: &Endpoint, one: usize, other: usize) -> bool {
    let mark = |at: usize| endpoint.entities.get(at).map(|entity| &entity.mark);
    one == other || mark(one) == mark(other)
}
