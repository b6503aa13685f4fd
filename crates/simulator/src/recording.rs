//! Answers that are played as they were recorded, in place of the simulator's own: real providers' bytes.

use std::collections::HashMap;

use bytes::Bytes;
use http::StatusCode;
use parking_lot::RwLock;

/// Models that may have a recording at the same time.
const MAX_MODELS: usize = 10_000;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Bytes,
}

/// The recordings by model. A request is checked as ever; what it is answered with is the recording.
#[derive(Debug, Default)]
pub struct Recordings {
    by_model: RwLock<HashMap<String, Recording>>,
}

impl Recordings {
    /// Plays `recording` for each request for `model` from now on. False when there are too many.
    pub fn set(&self, model: &str, recording: Recording) -> bool {
        let mut by_model = self.by_model.write();
        if by_model.len() >= MAX_MODELS && !by_model.contains_key(model) {
            return false;
        }
        by_model.insert(model.to_owned(), recording);
        true
    }

    pub(crate) fn get(&self, model: &str) -> Option<Recording> {
        self.by_model.read().get(model).cloned()
    }

    pub(crate) fn clear(&self) {
        self.by_model.write().clear();
    }
}
