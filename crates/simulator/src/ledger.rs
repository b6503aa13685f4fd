//! The ledger: every provider request the simulator saw, and how it ended.
//!
//! One lock guards the ring; what changes while a response is running lives in atomics of the entry, so a stream of many
//! chunks never takes the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

use bytes::Bytes;
use http::request::Parts;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::clock;
use crate::echo::Tokens;

const DEFAULT_CAPACITY: usize = 20_000;
/// How much of one request body is kept.
const MAX_BODY: usize = 1 << 20;
/// What all kept bodies together may take: the entry count alone would allow 20 GB.
const MAX_RETAINED: usize = 256 << 20;

const OPEN: u8 = 0;
const COMPLETED: u8 = 1;
const CANCELLED: u8 = 2;

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The response is still to come or still running.
    Open,
    /// The response was played to its scripted end.
    Completed,
    /// The client left before the end.
    Cancelled,
}

/// One request, as it stands at the moment of reading.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Counts up from 1 and is never reused, also not after a reset.
    pub id: u64,
    /// When the head of the request arrived, in Unix milliseconds.
    pub received_at_ms: u64,
    /// The number of the connection it came by, from 1.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Lower-cased names; repeated headers are joined with `, `.
    pub headers: BTreeMap<String, String>,
    /// The parsed body if it is JSON, its text otherwise, null if there was none.
    pub body: Value,
    /// Whether the body was longer than what is kept; `body` is then the beginning of its text.
    pub body_truncated: bool,
    /// SHA-256 of the whole raw body, in hex.
    pub body_sha256: String,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The status answered, null while there is none.
    pub status: Option<u16>,
    /// Body bytes handed to the connection.
    pub bytes_sent: u64,
    /// Body frames handed to the connection: every event of a stream counts.
    pub frames_sent: u64,
    /// Text chunks handed to the connection; an unstreamed body is one.
    pub chunks_sent: u64,
    /// How the request stands.
    pub state: State,
    /// When it ended, in Unix milliseconds.
    pub finished_at_ms: Option<u64>,
}

/// Counts since the start or the last reset; entries that fell out of the ring are still counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Requests received.
    pub total: u64,
    /// Requests running now.
    pub open: u64,
    /// Requests answered to the end.
    pub completed: u64,
    /// Requests the client left.
    pub cancelled: u64,
    /// The most requests that were running at once.
    pub peak_open: u64,
    /// What the requests answered to the end cost: tokens of what came in.
    pub input_tokens: u64,
    /// Tokens of what went out.
    pub output_tokens: u64,
    /// Of the input, what was read from a cache.
    pub cached_tokens: u64,
    /// Of the input, what was written to a cache.
    pub cache_write_tokens: u64,
    /// Of the output, what the model wrote to itself.
    pub reasoning_tokens: u64,
}

#[derive(Debug, Default)]
struct Counters {
    total: AtomicU64,
    open: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    peak_open: AtomicU64,
    tokens: Mutex<Tokens>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    received_at_ms: u64,
    connection: u64,
    parts: Parts,
    model: Option<String>,
    body: Bytes,
    body_truncated: bool,
    body_sha256: [u8; 32],
    status: AtomicU16,
    bytes_sent: AtomicU64,
    frames_sent: AtomicU64,
    chunks_sent: AtomicU64,
    state: AtomicU8,
    finished_at_ms: AtomicU64,
    billed: Mutex<Tokens>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Arc<Entry>>,
    retained: usize,
    last_id: u64,
    // Replaced on reset: a request that was running at the reset then finishes on the old counters.
    counters: Arc<Counters>,
}

/// The bounded record of the requests received.
#[derive(Debug)]
pub struct Ledger {
    ring: Mutex<Ring>,
    capacity: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }
}

/// What is known of a request when it has arrived.
pub(crate) struct Arrival<'a> {
    pub(crate) received_at_ms: u64,
    pub(crate) connection: u64,
    pub(crate) parts: Parts,
    pub(crate) model: Option<String>,
    pub(crate) body: &'a Bytes,
}

impl Ledger {
    /// A ledger that keeps the newest `capacity` requests.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { ring: Mutex::default(), capacity: capacity.max(1) }
    }

    /// The requests with an id above `since`, oldest first, at most `limit`.
    pub fn since(&self, since: u64, limit: usize) -> Vec<Record> {
        let entries: Vec<Arc<Entry>> = {
            let ring = self.ring.lock();
            let first = ring.entries.partition_point(|entry| entry.id <= since);
            ring.entries.iter().skip(first).take(limit).cloned().collect()
        };
        entries.iter().map(|entry| entry.record()).collect()
    }

    /// Every request that is kept, oldest first.
    pub fn requests(&self) -> Vec<Record> {
        self.since(0, usize::MAX)
    }

    /// The counts.
    pub fn summary(&self) -> Summary {
        let counters = self.ring.lock().counters.clone();
        // The ends before the tokens: whose end is counted has its tokens counted.
        let completed = counters.completed.load(Ordering::Acquire);
        let tokens = *counters.tokens.lock();
        Summary {
            total: counters.total.load(Ordering::Acquire),
            open: counters.open.load(Ordering::Acquire),
            completed,
            cancelled: counters.cancelled.load(Ordering::Acquire),
            peak_open: counters.peak_open.load(Ordering::Acquire),
            input_tokens: tokens.input as u64,
            output_tokens: tokens.output as u64,
            cached_tokens: tokens.cached as u64,
            cache_write_tokens: tokens.cache_written as u64,
            reasoning_tokens: tokens.reasoning as u64,
        }
    }

    /// Forgets all requests and counts; ids go on counting.
    pub fn reset(&self) {
        let mut ring = self.ring.lock();
        ring.entries.clear();
        ring.retained = 0;
        ring.counters = Arc::default();
    }

    pub(crate) fn open(&self, arrival: Arrival<'_>) -> Track {
        let body_sha256 = Sha256::digest(arrival.body).into();
        let mut ring = self.ring.lock();
        ring.last_id += 1;
        let entry = Arc::new(Entry::new(ring.last_id, arrival, body_sha256));
        ring.retained += entry.body.len();
        ring.entries.push_back(entry.clone());
        while ring.entries.len() > self.capacity || (ring.retained > MAX_RETAINED && ring.entries.len() > 1) {
            let Some(oldest) = ring.entries.pop_front() else { break };
            ring.retained -= oldest.body.len();
        }
        let counters = ring.counters.clone();
        drop(ring);
        counters.total.fetch_add(1, Ordering::AcqRel);
        let open = counters.open.fetch_add(1, Ordering::AcqRel) + 1;
        counters.peak_open.fetch_max(open, Ordering::AcqRel);
        Track { entry, counters, ended: false }
    }
}

impl Entry {
    fn new(id: u64, arrival: Arrival<'_>, body_sha256: [u8; 32]) -> Self {
        let body_truncated = arrival.body.len() > MAX_BODY;
        // A copy, because a slice would keep the whole long body alive.
        let body = match arrival.body.get(..MAX_BODY) {
            Some(beginning) if body_truncated => Bytes::copy_from_slice(beginning),
            _ => arrival.body.clone(),
        };
        Self {
            id,
            received_at_ms: arrival.received_at_ms,
            connection: arrival.connection,
            parts: arrival.parts,
            model: arrival.model,
            body,
            body_truncated,
            body_sha256,
            status: AtomicU16::new(0),
            bytes_sent: AtomicU64::new(0),
            frames_sent: AtomicU64::new(0),
            chunks_sent: AtomicU64::new(0),
            state: AtomicU8::new(OPEN),
            finished_at_ms: AtomicU64::new(0),
            billed: Mutex::default(),
        }
    }

    fn record(&self) -> Record {
        // The state first: a request seen as ended then also has its final numbers.
        let state = match self.state.load(Ordering::Acquire) {
            OPEN => State::Open,
            COMPLETED => State::Completed,
            _ => State::Cancelled,
        };
        let finished = self.finished_at_ms.load(Ordering::Acquire);
        let path = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        Record {
            id: self.id,
            received_at_ms: self.received_at_ms,
            connection: self.connection,
            method: self.parts.method.to_string(),
            path: path.to_owned(),
            headers: self.headers(),
            body: self.body(),
            body_truncated: self.body_truncated,
            body_sha256: hex(&self.body_sha256),
            model: self.model.clone(),
            status: Some(self.status.load(Ordering::Acquire)).filter(|status| *status != 0),
            bytes_sent: self.bytes_sent.load(Ordering::Acquire),
            frames_sent: self.frames_sent.load(Ordering::Acquire),
            chunks_sent: self.chunks_sent.load(Ordering::Acquire),
            state,
            finished_at_ms: Some(finished).filter(|_| state != State::Open),
        }
    }

    fn headers(&self) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &self.parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|joined| {
                    joined.push_str(", ");
                    joined.push_str(&value);
                })
                .or_insert_with(|| value.clone().into_owned());
        }
        headers
    }

    fn body(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        let parsed = if self.body_truncated { None } else { serde_json::from_slice(&self.body).ok() };
        parsed.unwrap_or_else(|| Value::String(String::from_utf8_lossy(&self.body).into_owned()))
    }
}

/// Follows one request; dropped before [`Track::complete`], it records that the client left.
#[derive(Debug)]
pub(crate) struct Track {
    entry: Arc<Entry>,
    counters: Arc<Counters>,
    ended: bool,
}

impl Track {
    pub(crate) fn id(&self) -> u64 {
        self.entry.id
    }

    pub(crate) fn headers(&self) -> &http::HeaderMap {
        &self.entry.parts.headers
    }

    pub(crate) fn answered(&self, status: http::StatusCode) {
        self.entry.status.store(status.as_u16(), Ordering::Release);
    }

    /// What the answer says that it costs.
    pub(crate) fn billed(&self, tokens: Tokens) {
        *self.entry.billed.lock() = tokens;
    }

    pub(crate) fn sent(&self, bytes: usize, is_chunk: bool) {
        self.entry.bytes_sent.fetch_add(bytes as u64, Ordering::AcqRel);
        self.entry.frames_sent.fetch_add(1, Ordering::AcqRel);
        if is_chunk {
            self.entry.chunks_sent.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn complete(&mut self) {
        self.end(COMPLETED);
    }

    fn end(&mut self, state: u8) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.entry.finished_at_ms.store(clock::now_ms(), Ordering::Release);
        self.entry.state.store(state, Ordering::Release);
        let counters = &self.counters;
        if state == COMPLETED {
            // The tokens first: who sees that all are answered sees what all of them cost.
            let billed = *self.entry.billed.lock();
            *counters.tokens.lock() += billed;
        }
        let ended = if state == COMPLETED { &counters.completed } else { &counters.cancelled };
        ended.fetch_add(1, Ordering::AcqRel);
        self.counters.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.end(CANCELLED);
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(ledger: &Ledger, body: &[u8]) -> Track {
        let request = http::Request::post("/v1/x?a=b").header("X-Twice", "1").header("x-twice", "2").body(());
        let (parts, ()) = request.unwrap().into_parts();
        let body = Bytes::copy_from_slice(body);
        ledger.open(Arrival {
            received_at_ms: 5,
            connection: 1,
            parts,
            model: Some("m".to_owned()),
            body: &body,
        })
    }

    #[test]
    fn a_dropped_track_is_a_cancelled_request() {
        let ledger = Ledger::default();
        let mut first = arrive(&ledger, b"{\"a\":1}");
        let second = arrive(&ledger, b"plain");
        assert_eq!(ledger.summary(), Summary { total: 2, open: 2, peak_open: 2, ..Summary::default() });
        first.sent(10, true);
        first.billed(Tokens { cached: 1, ..Tokens::new(3, 2) });
        second.billed(Tokens::new(30, 20));
        first.complete();
        drop((first, second));
        let (input_tokens, output_tokens) = (3, 2);
        let expected = Summary {
            total: 2,
            open: 0,
            completed: 1,
            cancelled: 1,
            peak_open: 2,
            input_tokens,
            output_tokens,
            cached_tokens: 1,
            ..Summary::default()
        };
        assert_eq!(ledger.summary(), expected);
        let records = ledger.requests();
        assert_eq!(records[0].state, State::Completed);
        assert_eq!(records[0].body, serde_json::json!({"a": 1}));
        assert_eq!(records[0].headers["x-twice"], "1, 2");
        assert_eq!(records[0].path, "/v1/x?a=b");
        assert_eq!(records[1].state, State::Cancelled);
        assert_eq!(records[1].body, "plain");
        assert!(records[1].finished_at_ms.is_some());
    }

    #[test]
    fn the_ring_is_bounded_and_keeps_counting() {
        let ledger = Ledger::with_capacity(3);
        for _ in 0..10 {
            arrive(&ledger, b"").complete();
        }
        let ids: Vec<u64> = ledger.requests().iter().map(|record| record.id).collect();
        assert_eq!(ids, [8, 9, 10]);
        assert_eq!(ledger.since(8, 1)[0].id, 9);
        assert_eq!(ledger.summary().completed, 10);
    }

    #[test]
    fn long_bodies_are_cut_and_hashed_whole() {
        let ledger = Ledger::default();
        let body = vec![b'1'; MAX_BODY + 1];
        arrive(&ledger, &body).complete();
        let record = ledger.requests().remove(0);
        assert!(record.body_truncated);
        assert_eq!(record.body.as_str().map(str::len), Some(MAX_BODY));
        let whole: [u8; 32] = Sha256::digest(&body).into();
        assert_eq!(record.body_sha256, hex(&whole));
    }

    #[test]
    fn a_reset_does_not_confuse_running_requests() {
        let ledger = Ledger::default();
        let running = arrive(&ledger, b"");
        ledger.reset();
        drop(running);
        assert_eq!(ledger.summary(), Summary::default());
        arrive(&ledger, b"").complete();
        assert_eq!(ledger.requests()[0].id, 2);
    }
}
