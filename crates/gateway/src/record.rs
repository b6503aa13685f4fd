//! The two records of a request. The settlement is written exactly once: by whoever ends the request, or,
//! when the client leaves and everything is dropped, by the drop.

use std::sync::Arc;
use std::time::Instant;

use journal::{Admission, Attempt, CountedUsage, LimitHit, Outcome, RecordSink, Settlement};

use crate::call::Call;
use crate::clock;
use crate::estimate::Lengths;
use crate::limits::{RateLimitHeaders, Reserved};

/// An admitted request that is not settled yet.
pub(crate) struct Open {
    sink: Arc<dyn RecordSink>,
    admission: Admission,
    started: Instant,
    first_byte: Option<Instant>,
    attempts: Vec<Attempt>,
    /// The attempt that is under way, and since when.
    trying: Option<(Arc<str>, Instant)>,
    entity: Option<Arc<str>>,
    usage: Option<CountedUsage>,
    /// What it took from limits.
    reserved: Option<Reserved>,
    stands: RateLimitHeaders,
    bytes_out: u64,
    settled: bool,
}

impl Open {
    pub(crate) fn admit(sink: Arc<dyn RecordSink>, call: &Call<'_>, started: Instant) -> Self {
        let admission = Admission {
            request_id: call.request_id.clone(),
            received_at: clock::now_ms(),
            endpoint: Arc::clone(&call.endpoint.name),
            endpoint_id: Arc::clone(&call.endpoint.id),
            requester: Arc::clone(&call.principal.name),
            stream: call.stream,
            client_request_id: call.client_request_id.clone(),
            usage_context: call.usage_context.clone(),
        };
        sink.admit(&admission);
        Self {
            sink,
            admission,
            started,
            first_byte: None,
            attempts: Vec::with_capacity(1),
            trying: None,
            entity: None,
            usage: None,
            reserved: None,
            stands: RateLimitHeaders::default(),
            bytes_out: 0,
            settled: false,
        }
    }

    /// An attempt begins: from here on it is on record, also when the client does not wait for its end.
    pub(crate) fn trying(&mut self, entity: &Arc<str>) {
        self.entity = Some(Arc::clone(entity));
        self.trying = Some((Arc::clone(entity), Instant::now()));
    }

    /// The attempt ended; `status` is the upstream's, if it answered.
    pub(crate) fn tried(&mut self, status: Option<u16>) {
        if let Some((entity, since)) = self.trying.take() {
            self.attempts.push(Attempt { entity, status, duration_ms: ms(since) });
        }
    }

    /// There was nothing to try: no upstream was called.
    pub(crate) fn not_tried(&mut self) {
        self.trying = None;
    }

    /// It went over a limit, of those that refuse or of those that only report.
    pub(crate) fn limited(&self, hit: &LimitHit) {
        self.sink.limited(&self.admission, hit);
    }

    /// What it took from limits is given back when it is settled.
    pub(crate) fn reserve(&mut self, reserved: Reserved) {
        self.reserved = Some(reserved);
    }

    pub(crate) fn stand(&mut self, headers: RateLimitHeaders) {
        self.stands = headers;
    }

    /// How the caller stands after it.
    pub(crate) fn stands(&mut self) -> RateLimitHeaders {
        std::mem::take(&mut self.stands)
    }

    pub(crate) fn count(&mut self, usage: CountedUsage) {
        self.usage = Some(usage);
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.first_byte.get_or_insert_with(Instant::now);
        self.bytes_out += bytes as u64;
    }

    pub(crate) fn settle(&mut self, outcome: Outcome, status: u16) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.tried(None);
        if let Some(reserved) = self.reserved.take() {
            reserved.settle(self.usage.as_ref(), outcome);
        }
        let settlement = Settlement {
            outcome,
            status,
            entity: self.entity.take(),
            attempts: std::mem::take(&mut self.attempts),
            usage: self.usage.take(),
            duration_ms: ms(self.started),
            first_byte_ms: self.first_byte.map(|at| at.duration_since(self.started).as_secs_f64() * 1e3),
            bytes_out: self.bytes_out,
        };
        self.sink.settle(&self.admission, &settlement);
    }
}

/// The time in which an attempt may be under way. A client that leaves in it has had its prompt sent, and
/// no provider will tell what that cost: it is estimated then, and only then. Counting costs nothing.
pub(crate) struct Waiting<'a, 'b> {
    open: &'a mut Open,
    call: &'a Call<'b>,
    over: bool,
}

impl<'a, 'b> Waiting<'a, 'b> {
    pub(crate) fn new(open: &'a mut Open, call: &'a Call<'b>) -> Self {
        Self { open, call, over: false }
    }

    pub(crate) fn open(&mut self) -> &mut Open {
        self.open
    }

    pub(crate) fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        if !self.over && !self.call.dialect.counts() {
            self.open.count(Lengths::of_request(&self.call.body).counted());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.settle(Outcome::Cancelled, 499);
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
