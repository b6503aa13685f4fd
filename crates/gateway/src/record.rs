//! The two records of a request. The settlement is written exactly once: by whoever ends the request, or,
//! when the client leaves and everything is dropped, by the drop.

use std::sync::Arc;
use std::time::Instant;

use journal::{Admission, Attempt, CountedUsage, Outcome, RecordSink, Settlement};

use crate::call::Call;
use crate::clock;

/// An admitted request that is not settled yet.
pub(crate) struct Open {
    sink: Arc<dyn RecordSink>,
    admission: Admission,
    started: Instant,
    first_byte: Option<Instant>,
    attempts: Vec<Attempt>,
    entity: Option<Arc<str>>,
    usage: Option<CountedUsage>,
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
            entity: None,
            usage: None,
            bytes_out: 0,
            settled: false,
        }
    }

    pub(crate) fn attempted(&mut self, entity: &Arc<str>, status: Option<u16>, since: Instant) {
        self.entity = Some(Arc::clone(entity));
        self.attempts.push(Attempt { entity: Arc::clone(entity), status, duration_ms: ms(since) });
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

impl Drop for Open {
    fn drop(&mut self) {
        self.settle(Outcome::Cancelled, 499);
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
