//! Where the two planes meet: control publishes one immutable snapshot, the gateway loads it once per
//! request.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::endpoint::Endpoint;
use crate::id_key::IdKey;
use crate::identity::{Token, TokenHash};
use crate::oauth::Oauth;

/// Everything the data plane needs to know. Parts are shared between snapshots, so that a change copies
/// only what it changes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts the changes of the store that are in it.
    pub generation: i64,
    pub endpoints: Arc<HashMap<String, Arc<Endpoint>>>,
    pub tokens: Arc<HashMap<TokenHash, Token>>,
    pub oauth: Arc<Oauth>,
    /// Authenticates the ids of what upstreams keep; without it none are handed out.
    pub id_key: Option<IdKey>,
}

/// The snapshot in force.
#[derive(Debug, Default)]
pub struct Live(ArcSwap<Snapshot>);

impl Live {
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// One pointer store: requests under way keep what they loaded.
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
