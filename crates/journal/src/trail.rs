//! Audit records on their way into the journal, and which of them have room there. Whoever asks can make the server
//! write some, so that they are bounded: what is left out is in the log alone, and a record says how many there were.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::audit::{AuditPhase, AuditRecord, AuditSink};
use crate::entry::{self, Audited};
use crate::frame::Frame;
use crate::writer::{Inner, Journal, State};
use crate::{RequestId, clock};

/// Records of callers who are not known that are taken in a [`WINDOW`].
const MOST_UNKNOWN: u32 = 600;
const WINDOW: Duration = Duration::from_secs(60);

/// What the record says is left out is on this route.
const LEFT_OUT: &str = "audit/left-out";

/// What a record is of; what counts more has room for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Somebody who is not known was refused, or tries to log in.
    Unknown,
    /// Somebody who is known was refused, before anything was done or after.
    Refused,
    /// What was let in, and what was done. A login whose secret was right is.
    Change,
}

impl Rank {
    fn of(record: &AuditRecord) -> Self {
        match record.phase {
            AuditPhase::Done { status, .. } if status < 400 => Self::Change,
            _ if record.principal.is_none() => Self::Unknown,
            AuditPhase::Denied { .. } | AuditPhase::Done { .. } => Self::Refused,
            AuditPhase::Allowed { .. } => Self::Change,
        }
    }
}

/// The records that were left out since one told of them.
#[derive(Default)]
pub(crate) struct LeftOut {
    count: u64,
    /// The highest of those that the log was told of.
    told: Option<Rank>,
    /// When the window began, and how many of [`Rank::Unknown`] were taken in it.
    window: Option<(Instant, u32)>,
}

impl LeftOut {
    /// How many of [`Rank::Unknown`] were taken in the window of `now`.
    fn unknown(&mut self, now: Instant) -> &mut u32 {
        let (began, taken) = self.window.get_or_insert((now, 0));
        if now.saturating_duration_since(*began) >= WINDOW {
            (*began, *taken) = (now, 0);
        }
        taken
    }

    fn one_more(&mut self, rank: Rank) {
        self.count += 1;
        if self.told >= Some(rank) {
            return;
        }
        self.told = Some(rank);
        match rank {
            Rank::Unknown => {
                tracing::warn!(
                    "refusals of callers who are not known are in the log alone: there are too many"
                );
            }
            Rank::Refused => {
                tracing::error!("no room for audit records of refused calls: they are in the log alone");
            }
            Rank::Change => {
                tracing::error!("no room for audit records of changes: they are in the log alone");
            }
        }
    }
}

impl Inner {
    /// The last quarter is for calls and changes, and what is above the bound for changes.
    fn has_room_for(&self, state: &State, rank: Rank, more: usize) -> bool {
        let most = self.config.max_bytes;
        match (rank, state.queue.is_empty()) {
            (Rank::Change, true) => state.bytes() < most + most / 16,
            (Rank::Change, false) => self.has_queue_room(state, more),
            (Rank::Unknown | Rank::Refused, is_empty) => is_empty && state.bytes() < most - most / 4,
        }
    }
}

impl Journal {
    fn record_at(&self, record: &AuditRecord, now: Instant) {
        let (rank, Some(frame)) = (Rank::of(record), framed(record.clone())) else { return };
        let inner = &self.inner;
        let mut state = inner.state.lock();
        state.drain(inner.config.max_bytes);
        let has_room = inner.has_room_for(&state, rank, frame.len());
        let is_calm = *state.left_out.unknown(now) < MOST_UNKNOWN;
        if !has_room || (rank == Rank::Unknown && !is_calm) {
            state.status.left_out_audits += 1;
            state.left_out.one_more(rank);
            return;
        }
        if rank == Rank::Unknown {
            *state.left_out.unknown(now) += 1;
        }
        if is_calm && inner.has_room_for(&state, Rank::Unknown, 0) {
            self.tell_left_out(&mut state);
        }
        inner.put(&mut state, frame);
    }

    /// Once any record has room again.
    fn tell_left_out(&self, state: &mut State) {
        let count = std::mem::take(&mut state.left_out.count);
        state.left_out.told = None;
        if count == 0 {
            return;
        }
        tracing::info!(
            count,
            "audit records are in the journal again; those that were left out are in the log"
        );
        let record = AuditRecord {
            request_id: RequestId("-".into()),
            phase: AuditPhase::Done { status: 200, after: json!({"left_out": count}).to_string() },
            principal: None,
            peer: None,
            user_agent: String::new(),
            method: "-".to_owned(),
            route: LEFT_OUT.into(),
            path: String::new(),
            request: String::new(),
        };
        if let Some(frame) = framed(record) {
            self.inner.put(state, frame);
        }
    }
}

impl AuditSink for Journal {
    fn record(&self, record: &AuditRecord) {
        self.record_at(record, Instant::now());
    }
}

fn framed(record: AuditRecord) -> Option<Frame> {
    let event_id = uuid::Uuid::now_v7().simple().to_string();
    let audited = Audited { at: clock::record_ms(), event_id, record };
    let framed = entry::audited(&audited).inspect_err(|error| {
        let (request_id, path) = (&audited.record.request_id.0, &audited.record.path);
        tracing::error!(%request_id, path, %error, "an audit record is in the log alone");
    });
    framed.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Fsync, JournalConfig, OnFull};

    fn taken(journal: &Journal) -> Vec<AuditRecord> {
        journal.seal().unwrap();
        let mut found = Vec::new();
        for segment in journal.sealed().unwrap() {
            for entry in segment.read().unwrap().entries {
                let Entry::Audited(audited) = entry else { panic!("no audit record") };
                found.push(audited.record);
            }
            journal.delete(&segment).unwrap();
        }
        found
    }

    #[test]
    fn the_next_minute_has_room_again_and_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(JournalConfig {
            folder: folder.path().to_owned(),
            fsync: Fsync::Strict,
            segment_bytes: 1 << 20,
            max_bytes: 1 << 30,
            on_full: OnFull::Refuse,
            queue_bytes: 1 << 20,
        })
        .unwrap();
        let unknown = AuditRecord {
            request_id: RequestId("r".into()),
            phase: AuditPhase::Denied { status: 401, message: String::new() },
            principal: None,
            peer: None,
            user_agent: String::new(),
            method: "GET".into(),
            route: "/x".into(),
            path: "/x".into(),
            request: String::new(),
        };
        let known = AuditRecord { principal: Some("ann".into()), ..unknown.clone() };
        let began = Instant::now();
        let most = u64::from(MOST_UNKNOWN);
        for at in 0..2 * most {
            journal.record_at(&unknown, began + Duration::from_millis(at));
        }
        // It is not told while it goes on.
        journal.record_at(&known, began + Duration::from_secs(59));
        assert_eq!(taken(&journal).len() as u64, most + 1);
        for _ in 0..2 {
            journal.record_at(&unknown, began + WINDOW);
        }
        let taken = taken(&journal);
        assert_eq!(taken.len(), 3);
        assert_eq!(taken[0].route, LEFT_OUT);
        assert_eq!(
            taken[0].phase,
            AuditPhase::Done { status: 200, after: format!("{{\"left_out\":{most}}}") }
        );
    }
}
