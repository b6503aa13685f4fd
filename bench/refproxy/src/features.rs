//! The duties of a gateway, done the plainest way.

use crate::records::Record;
use crate::tap::Tap;
use crate::{Body, refuse};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::http::response::Parts;
use hyper::{HeaderMap, Response, StatusCode, header};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

const ENDPOINT: u32 = 7;

/// A token bucket too large to ever refuse: what counts here is its cost.
struct Bucket {
    tokens: f64,
    last: Instant,
}

impl Bucket {
    const RATE: f64 = 1e9;

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.last).as_secs_f64() * Self::RATE;
        self.tokens = (self.tokens + earned).min(Self::RATE);
        self.last = now;
        self.tokens -= 1.0;
        self.tokens >= 0.0
    }
}

#[derive(Default)]
struct Buckets(Mutex<HashMap<u32, Bucket>>);

impl Buckets {
    fn take(&self, key: u32, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(key).or_insert_with(|| Bucket { tokens: Bucket::RATE, last: now }).take(now)
    }
}

pub(crate) struct Features {
    keys: HashMap<[u8; 32], u32>,
    per_user: Buckets,
    per_endpoint: Buckets,
    records: mpsc::Sender<Record>,
}

/// Who asks, since when.
#[derive(Clone, Copy)]
pub(crate) struct Admitted {
    user: u32,
    since: Instant,
}

impl Features {
    pub(crate) fn new(records: mpsc::Sender<Record>) -> Self {
        let key = |user: u32| (Sha256::digest(format!("key-{user}")).into(), user);
        let mut keys: HashMap<[u8; 32], u32> = (0..1000).map(key).collect();
        keys.insert(Sha256::digest("sk-bench").into(), 5000);
        Self { keys, per_user: Buckets::default(), per_endpoint: Buckets::default(), records }
    }

    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Admitted, Response<Body>> {
        let since = Instant::now();
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
        let hash: [u8; 32] = Sha256::digest(token).into();
        let Some(&user) = self.keys.get(&hash) else {
            return Err(refuse(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"));
        };
        if !self.per_user.take(user, since) || !self.per_endpoint.take(ENDPOINT, since) {
            return Err(refuse(StatusCode::TOO_MANY_REQUESTS, "REQUEST_LIMIT_EXCEEDED"));
        }
        Ok(Admitted { user, since })
    }

    pub(crate) fn tap(&self, admitted: Admitted, parts: &Parts, body: Incoming) -> Tap {
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let streamed = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        let record = Record { user: admitted.user, status: parts.status.as_u16(), ..Record::default() };
        Tap::new(body, streamed, record, admitted.since, self.records.clone())
    }
}

/// The request with the upstream's model name; all other fields stay as they were sent.
pub(crate) fn with_model(body: &[u8]) -> serde_json::Result<Bytes> {
    let mut fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(body)?;
    let model = to_raw_value("gpt-4o-mini")?;
    fields.insert("model", &model);
    serde_json::to_vec(&fields).map(Bytes::from)
}
