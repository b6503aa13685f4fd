//! The ids in answers and events of an entity that keeps them: each becomes the one that the client gets, and
//! every other byte stays.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use policy::{Endpoint, IdKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::id;

/// Ids of one answer that are remembered: each is in many events.
const MOST_KNOWN: usize = 1_024;

/// Where an answer, an event, a list or a deletion has ids. Whatever else is in it is not looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Places<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow)]
    item_id: Option<&'a RawValue>,
    #[serde(borrow)]
    first_id: Option<&'a RawValue>,
    #[serde(borrow)]
    last_id: Option<&'a RawValue>,
    /// Of an event.
    #[serde(borrow)]
    response: Option<Response<'a>>,
    /// Of an event.
    #[serde(borrow)]
    item: Option<Item<'a>>,
    /// Of a response.
    #[serde(borrow)]
    output: Option<Vec<Item<'a>>>,
    /// Of a list.
    #[serde(borrow)]
    data: Option<Vec<Item<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<Vec<Item<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

impl<'a> Places<'a> {
    fn ids(self) -> Vec<&'a RawValue> {
        let response = self.response.unwrap_or_default();
        let lists = [self.output, self.data, response.output];
        let items = lists.into_iter().flatten().flatten().chain(self.item).filter_map(|item| item.id);
        let single = [self.id, self.previous_response_id, self.item_id, self.first_id, self.last_id];
        let of_response = [response.id, response.previous_response_id];
        single.into_iter().chain(of_response).flatten().chain(items).collect()
    }
}

/// The ids of one entity on their way to the client.
#[derive(Debug)]
pub(crate) struct Carried {
    key: IdKey,
    endpoint: Arc<Endpoint>,
    /// Which entity of it.
    entity: usize,
    known: HashMap<String, Option<String>>,
}

impl Carried {
    pub(crate) fn new(key: IdKey, endpoint: Arc<Endpoint>, entity: usize) -> Self {
        Self { key, endpoint, entity, known: HashMap::new() }
    }

    /// `json` with the ids that the client gets. One that gets none stays: it is good for nothing here.
    pub(crate) fn rewritten(&mut self, json: Bytes) -> Bytes {
        // What is in another form than we know has no ids that we know.
        let Ok(places) = serde_json::from_slice::<Places<'_>>(&json) else { return json };
        let start = json.as_ptr() as usize;
        let mut edits: Vec<(usize, usize, String)> = Vec::new();
        for raw in places.ids() {
            let text = raw.get();
            let (at, length) = ((text.as_ptr() as usize).wrapping_sub(start), text.len());
            let Some(own) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { continue };
            if let Some(sealed) = self.sealed(own) {
                edits.push((at, length, sealed));
            }
        }
        if edits.is_empty() {
            return json;
        }
        edits.sort_unstable();
        let mut out = Vec::with_capacity(json.len() + edits.len() * 64);
        let mut done = 0;
        for (at, length, sealed) in edits {
            let Some(before) = json.get(done..at) else { return json };
            out.extend_from_slice(before);
            out.extend_from_slice(format!("\"{sealed}\"").as_bytes());
            done = at + length;
        }
        out.extend_from_slice(json.get(done..).unwrap_or_default());
        out.into()
    }

    fn sealed(&mut self, own: &str) -> Option<String> {
        if let Some(known) = self.known.get(own) {
            return known.clone();
        }
        let mark = &self.endpoint.entities.get(self.entity)?.mark;
        let sealed = id::seal(&self.key, &self.endpoint.id, mark, own);
        if sealed.is_none() && !own.is_empty() {
            tracing::warn!(endpoint = %self.endpoint.name, length = own.len(),
                "an id of the upstream is too long to be handed out, or no id: what it names cannot be asked for");
        }
        if self.known.len() < MOST_KNOWN {
            self.known.insert(own.to_owned(), sealed.clone());
        }
        sealed
    }
}
