//! How long the answers of each endpoint usually are.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use policy::limits::Outputs;

/// Endpoints that are remembered. One beyond that puts out another, which is learned anew.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Learned(Mutex<HashMap<Arc<str>, Outputs>>);

impl Learned {
    /// The tokens of a usual answer of the endpoint with this id.
    pub(super) fn expected(&self, endpoint_id: &str) -> u64 {
        let known = self.0.lock();
        known.get(endpoint_id).map_or_else(|| Outputs::default().expected(), Outputs::expected)
    }

    pub(super) fn push(&self, endpoint_id: &Arc<str>, tokens: u64) {
        let mut known = self.0.lock();
        if known.len() >= MOST && !known.contains_key(endpoint_id) {
            let some = known.keys().next().cloned();
            some.and_then(|id| known.remove(&id));
        }
        known.entry(Arc::clone(endpoint_id)).or_default().push(tokens);
    }
}
