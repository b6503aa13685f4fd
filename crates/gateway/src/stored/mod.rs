//! State that an upstream keeps between calls: responses and their items, found again by their ids.
//!
//! Only the entity that keeps something knows its id. The id that a client gets says which entity of which
//! endpoint that is, and proves that it was given out here; `id.rs` has its form.

mod answer;
mod id;
mod request;

use policy::{Endpoint, IdKey, Snapshot};
use std::sync::Arc;
use wire::error::ApiError;

pub(crate) use answer::Carried;
pub(crate) use id::Sealed;
pub(crate) use request::{is_made_alone, keeps, opened, pinned};

/// An id that was given out here, and who knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Which entity of the endpoint.
    pub(crate) entity: usize,
    /// The entity's own id.
    pub(crate) id: String,
}

/// What an id that a client sent is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Held(Held),
    /// The entity that knows it is no longer of the endpoint.
    Gone,
    /// It was not given out here, or for another endpoint.
    Foreign,
}

fn find(key: Option<&IdKey>, endpoint: &Endpoint, id: &str) -> Found {
    let (Some(key), Some(sealed)) = (key, Sealed::read(id)) else { return Found::Foreign };
    let Some(own) = sealed.open(key, &endpoint.id) else { return Found::Foreign };
    match endpoint.entities.iter().position(|entity| *entity.mark == *sealed.mark()) {
        Some(entity) => Found::Held(Held { entity, id: own }),
        None => Found::Gone,
    }
}

/// An item that an entity of the endpoint keeps.
pub(crate) fn item(key: Option<&IdKey>, endpoint: &Endpoint, id: &str) -> Option<Held> {
    match find(key, endpoint, id) {
        Found::Held(held) => Some(held),
        Found::Gone | Found::Foreign => None,
    }
}

/// The endpoint that an id is of, where no endpoint is named.
pub(crate) fn endpoint(snapshot: &Snapshot, id: &str) -> Result<(Arc<Endpoint>, Held), ApiError> {
    let unknown = || {
        ApiError::not_found(
            "no such response is kept: its id was not given out here, or who keeps it is no longer served; \
             only responses of models that keep them can be asked for",
        )
    };
    let sealed = Sealed::read(id).ok_or_else(unknown)?;
    let mark = sealed.mark();
    let may_know = snapshot.endpoints.values().filter(|e| e.entities.iter().any(|one| *one.mark == *mark));
    let found = may_know.filter_map(|endpoint| match find(snapshot.id_key.as_ref(), endpoint, id) {
        Found::Held(held) => Some((Arc::clone(endpoint), held)),
        Found::Gone | Found::Foreign => None,
    });
    found.take(1).next().ok_or_else(unknown)
}
