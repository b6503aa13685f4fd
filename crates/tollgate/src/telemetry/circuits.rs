//! Which upstreams calls avoid, as gauges.

use std::collections::HashSet;
use std::sync::Arc;

use metrics::gauge;
use policy::circuit::State;
use policy::{Explain, Live};

use super::metrics::CIRCUITS;

pub(crate) struct CircuitGauges {
    live: Arc<Live>,
    plane: Arc<dyn Explain>,
    /// Endpoint, entity and blame of those that stand at 1.
    open: HashSet<(Arc<str>, Arc<str>, &'static str)>,
}

impl CircuitGauges {
    pub(crate) fn new(live: Arc<Live>, plane: Arc<dyn Explain>) -> Self {
        Self { live, plane, open: HashSet::new() }
    }

    /// Reads all circuits. What is closed, or is there no more, goes back to 0.
    pub(crate) fn set(&mut self) {
        let mut open = HashSet::new();
        for endpoint in self.live.load().endpoints.values() {
            for (entity, view) in endpoint.entities.iter().zip(self.plane.circuits(endpoint)) {
                if let Some(blame) = view.blame.filter(|_| view.state != State::Closed) {
                    open.insert((Arc::clone(&endpoint.name), Arc::clone(&entity.name), blame.as_str()));
                }
            }
        }
        self.open.difference(&open).for_each(|gone| set(gone, 0.0));
        open.iter().for_each(|now| set(now, 1.0));
        self.open = open;
    }
}

fn set((endpoint, entity, blames): &(Arc<str>, Arc<str>, &'static str), value: f64) {
    gauge!(CIRCUITS, "endpoint" => endpoint.to_string(), "entity" => entity.to_string(), "blames" => *blames)
        .set(value);
}
