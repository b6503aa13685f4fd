//! The last minute of each endpoint, for Databricks' metrics export.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use journal::{Admission, Settlement};
use parking_lot::{Mutex, RwLock};
use policy::runtime::{LATENCY_BOUNDS_MS, Minute, RuntimeView};

const SECONDS: usize = 60;

/// Counts by second, in a ring.
pub(crate) struct LastMinute {
    since: Instant,
    endpoints: RwLock<HashMap<Arc<str>, Arc<Mutex<Ring>>>>,
}

struct Ring {
    in_flight: u64,
    seconds: [Second; SECONDS],
}

impl Default for Ring {
    fn default() -> Self {
        Self { in_flight: 0, seconds: [Second::default(); SECONDS] }
    }
}

#[derive(Clone, Copy, Default)]
struct Second {
    /// Which second this is, counted from the start plus one; 0 was never used.
    number: u64,
    requests: u32,
    client_errors: u32,
    server_errors: u32,
    latency_sum_ms: f64,
    latency: [u32; LATENCY_BOUNDS_MS.len()],
}

impl LastMinute {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), endpoints: RwLock::default() }
    }

    fn ring(&self, endpoint_id: &Arc<str>) -> Arc<Mutex<Ring>> {
        if let Some(ring) = self.endpoints.read().get(endpoint_id) {
            return Arc::clone(ring);
        }
        Arc::clone(self.endpoints.write().entry(Arc::clone(endpoint_id)).or_default())
    }

    fn second(&self) -> u64 {
        self.since.elapsed().as_secs() + 1
    }

    pub(super) fn admit(&self, admission: &Admission) {
        self.ring(&admission.endpoint_id).lock().in_flight += 1;
    }

    pub(super) fn settle(&self, admission: &Admission, settlement: &Settlement) {
        let ring = self.ring(&admission.endpoint_id);
        let mut ring = ring.lock();
        ring.in_flight = ring.in_flight.saturating_sub(1);
        ring.count(self.second(), settlement.status, settlement.duration_ms);
    }
}

impl Ring {
    fn count(&mut self, number: u64, status: u16, duration_ms: f64) {
        let second = &mut self.seconds[usize::try_from(number).unwrap_or_default() % SECONDS];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        second.requests += 1;
        second.client_errors += u32::from((400..500).contains(&status));
        second.server_errors += u32::from(status >= 500);
        second.latency_sum_ms += duration_ms;
        if let Some(bucket) = LATENCY_BOUNDS_MS.iter().position(|bound| duration_ms <= *bound as f64) {
            second.latency[bucket] += 1;
        }
    }

    fn minute(&self, now: u64) -> Minute {
        let mut out = Minute {
            in_flight: self.in_flight,
            latency: vec![0; LATENCY_BOUNDS_MS.len()],
            ..Minute::default()
        };
        let recent = |s: &&Second| s.number != 0 && now - s.number.min(now) < SECONDS as u64;
        for second in self.seconds.iter().filter(recent) {
            out.requests += u64::from(second.requests);
            out.client_errors += u64::from(second.client_errors);
            out.server_errors += u64::from(second.server_errors);
            out.latency_sum_ms += second.latency_sum_ms;
            out.latency.iter_mut().zip(second.latency).for_each(|(sum, n)| *sum += u64::from(n));
        }
        out
    }
}

impl RuntimeView for LastMinute {
    fn minute(&self, endpoint_id: &str) -> Minute {
        match self.endpoints.read().get(endpoint_id) {
            Some(ring) => ring.lock().minute(self.second()),
            None => Minute { latency: vec![0; LATENCY_BOUNDS_MS.len()], ..Minute::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_minute_is_gone() {
        let mut ring = Ring::default();
        ring.count(1, 200, 3.0);
        ring.count(30, 404, 80.0);
        ring.count(60, 502, 80.0);
        let minute = ring.minute(60);
        assert_eq!((minute.requests, minute.client_errors, minute.server_errors), (3, 1, 1));
        assert_eq!(ring.minute(61).requests, 2);
        ring.count(61, 200, 1.0);
        assert_eq!(ring.minute(61).requests, 3);
        assert_eq!(ring.minute(500).requests, 0);
    }
}
