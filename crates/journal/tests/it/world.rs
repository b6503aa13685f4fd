//! A folder, a journal in it, and calls to record.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tollgate_journal::{
    Admission, Entry, Fsync, Journal, JournalConfig, OnFull, Outcome, RequestId, Settlement,
};

pub(crate) fn config(folder: &Path) -> JournalConfig {
    JournalConfig {
        folder: folder.to_owned(),
        fsync: Fsync::Every(Duration::from_millis(5)),
        segment_bytes: 64 << 20,
        max_bytes: 1 << 30,
        on_full: OnFull::Refuse,
        queue_bytes: 1 << 20,
    }
}

pub(crate) fn admission(id: &str) -> Admission {
    Admission { request_id: RequestId(id.into()), estimated_input_tokens: Some(7), ..Admission::default() }
}

pub(crate) fn settlement() -> Settlement {
    Settlement {
        outcome: Outcome::Completed,
        status: 200,
        entity: None,
        model: None,
        provider: None,
        attempts: Vec::new(),
        usage: None,
        cost: None,
        duration_ms: 1.0,
        first_byte_ms: None,
        bytes_out: 0,
        content_type: None,
        output_characters: None,
        guards: Vec::new(),
        payload: None,
        response: None,
    }
}

/// Outcomes by request id of all sealed segments.
pub(crate) fn settled(journal: &Journal) -> BTreeMap<String, Vec<Outcome>> {
    let mut found = BTreeMap::<String, Vec<Outcome>>::new();
    for segment in journal.sealed().unwrap() {
        for entry in segment.read().unwrap().entries {
            if let Entry::Settled(call) = entry {
                found
                    .entry(call.admission.request_id.0.to_string())
                    .or_default()
                    .push(call.settlement.outcome);
            }
        }
    }
    found
}
