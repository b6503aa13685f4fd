//! Which upstreams are left alone for a while. Only those that fail are remembered.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use policy::Endpoint;
use policy::circuit::{Circuit, Gate};

use crate::clock;
use crate::error::ServeError;

/// Circuits that are remembered. At that many, those that may be asked again are forgotten; are all still
/// waiting, a further one stays closed.
const MOST: usize = 10_000;

/// An entity, by what it asks: with another key, model or address it begins anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    endpoint_id: Arc<str>,
    mark: Arc<str>,
}

pub(crate) struct Circuits {
    now: Box<dyn Fn() -> u64 + Send + Sync>,
    failing: RwLock<HashMap<Key, Circuit>>,
}

impl Default for Circuits {
    fn default() -> Self {
        Self { now: Box::new(clock::steady()), failing: RwLock::default() }
    }
}

impl Circuits {
    /// Whether to ask the entity, whose turn it is now.
    pub(crate) fn gate(&self, endpoint: &Endpoint, at: usize) -> Gate {
        let key = key(endpoint, at);
        if !self.failing.read().contains_key(&key) {
            return Gate::Ask;
        }
        let now = (self.now)();
        self.failing.write().get_mut(&key).map_or(Gate::Ask, |circuit| circuit.gate(now))
    }

    /// The call that was to be the probe did not ask: the next one is.
    pub(crate) fn not_probed(&self, endpoint: &Endpoint, at: usize) {
        let now = (self.now)();
        if let Some(circuit) = self.failing.write().get_mut(&key(endpoint, at)) {
            circuit.not_probed(now);
        }
    }

    pub(crate) fn succeeded(&self, endpoint: &Endpoint, at: usize) {
        let key = key(endpoint, at);
        if !self.failing.read().contains_key(&key) {
            return;
        }
        if let Some(before) = self.failing.write().remove(&key)
            && before.blame().is_some()
        {
            tracing::info!(endpoint = %endpoint.name, entity = %endpoint.entities[at].name, "circuit closed");
        }
    }

    pub(crate) fn failed(&self, endpoint: &Endpoint, at: usize, error: &ServeError) {
        let Some(blame) = error.blame() else { return };
        let (key, now) = (key(endpoint, at), (self.now)());
        let mut failing = self.failing.write();
        if failing.len() >= MOST && !failing.contains_key(&key) {
            failing.retain(|_, circuit| circuit.probe_in(now).is_some_and(|left| left > 0));
            if failing.len() >= MOST {
                return;
            }
        }
        let circuit = failing.entry(key).or_default();
        let before = circuit.blame();
        circuit.failed(now, blame, error.retry_after());
        if before.is_none() && circuit.blame().is_some() {
            tracing::warn!(endpoint = %endpoint.name, entity = %endpoint.entities[at].name,
                blames = blame.as_str(), "circuit opened");
        }
    }

    /// How it stands, and in how many milliseconds it may be asked again.
    pub(crate) fn look(&self, endpoint: &Endpoint, at: usize) -> (Circuit, Option<u64>) {
        let circuit = self.failing.read().get(&key(endpoint, at)).copied().unwrap_or_default();
        (circuit, circuit.probe_in((self.now)()))
    }
}

fn key(endpoint: &Endpoint, at: usize) -> Key {
    Key { endpoint_id: Arc::clone(&endpoint.id), mark: Arc::clone(&endpoint.entities[at].mark) }
}
