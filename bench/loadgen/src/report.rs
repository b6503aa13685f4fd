//! What was measured, and the JSON it is printed as.

use anyhow::Context;
use hdrhistogram::Histogram;
use protocol::clock::{cpu_ns, now_ns};
use serde_json::{Value, json};
use std::ops::Range;

/// Figures of one run. Latencies count only inside the window; answers and errors count always.
pub(crate) struct Report {
    window: Range<u64>,
    begun_ns: u64,
    latency: Histogram<u64>,
    first_token: Histogram<u64>,
    transit: Histogram<u64>,
    in_window: u64,
    pub(crate) total: u64,
    pub(crate) chunks: u64,
    pub(crate) connects: u64,
    errors: u64,
    first_error: String,
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).context("create a histogram")
}

impl Report {
    pub(crate) fn new(window: Range<u64>) -> anyhow::Result<Self> {
        Ok(Self {
            window,
            begun_ns: now_ns(),
            latency: histogram()?,
            first_token: histogram()?,
            transit: histogram()?,
            in_window: 0,
            total: 0,
            chunks: 0,
            connects: 0,
            errors: 0,
            first_error: String::new(),
        })
    }

    /// A whole and correct answer to what was due at `due_ns`.
    pub(crate) fn answer(&mut self, due_ns: u64) {
        let now = now_ns();
        self.total += 1;
        if self.window.contains(&now) {
            self.in_window += 1;
            self.latency.saturating_record(now - due_ns);
        }
    }

    pub(crate) fn first_token(&mut self, ns: u64) {
        self.first_token.saturating_record(ns);
    }

    pub(crate) fn transit(&mut self, ns: u64) {
        self.transit.saturating_record(ns);
    }

    /// An answer that is missing or not right.
    pub(crate) fn error(&mut self, what: &str) {
        self.total += 1;
        self.errors += 1;
        if self.first_error.is_empty() {
            self.first_error = what.to_owned();
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.errors == 0 && self.total > 0
    }

    pub(crate) fn json(&self) -> Value {
        let wall_s = (now_ns() - self.begun_ns) as f64 / 1e9;
        let window_s = if self.window.end == u64::MAX {
            wall_s
        } else {
            (self.window.end - self.window.start) as f64 / 1e9
        };
        json!({
            "wall_s": wall_s,
            "per_s": self.in_window as f64 / window_s,
            "total": self.total,
            "errors": self.errors,
            "first_error": self.first_error,
            "connects": self.connects,
            "chunks": self.chunks,
            "latency_us": quantiles(&self.latency),
            "first_token_us": quantiles(&self.first_token),
            "transit_us": quantiles(&self.transit),
            "cpu_s": cpu_ns() as f64 / 1e9,
        })
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
    json!({ "count": histogram.len(), "p50": us(0.5), "p90": us(0.9), "p99": us(0.99), "max": histogram.max() as f64 / 1e3 })
}
