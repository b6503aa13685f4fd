//! What runs beside the server: collects spans into batches and sends them, and the metrics at their times.

use std::time::Duration;

use ::metrics::counter;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::clock;
use super::messages::{
    ExportMetrics, ExportTraces, Resource, ResourceMetrics, ResourceSpans, Scope, ScopeMetrics, ScopeSpans,
    Span,
};
use super::metrics::Metrics;
use super::names::Names;
use super::post::Collector;
use super::{SPANS, Settled, spans};

/// Spans of one request to the collector, roughly: a call's spans stay together.
const BATCH: usize = 512;

/// What is still to be sent at the end is given up after this.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// What every export says of who sends it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) resource: Resource,
    pub(super) names: Names,
}

impl Origin {
    fn scope() -> Option<Scope> {
        Some(Scope { name: "tollgate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
    }
}

/// Tells once that the collector cannot be reached, and once that it can again.
#[derive(Default)]
struct Reached {
    lost: bool,
}

impl Reached {
    fn note(&mut self, what: &str, problem: Option<&anyhow::Error>) {
        match problem {
            Some(error) if !self.lost => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the collector did not take {what}; they are lost until it does"
                );
            }
            None if self.lost => tracing::info!("the collector takes {what} again"),
            _ => {}
        }
        self.lost = problem.is_some();
    }
}

/// Until `work` has ended, or its time after `stop` is up.
async fn bounded(work: impl Future<Output = ()>, stop: &CancellationToken, what: &str) {
    let late = async {
        stop.cancelled().await;
        sleep(FLUSH_WITHIN).await;
    };
    tokio::select! {
        () = work => {}
        () = late => tracing::warn!("the collector did not take all {what} before the end"),
    }
}

pub(super) struct Traces {
    pub(super) collector: Collector,
    pub(super) origin: Origin,
    pub(super) queue: Receiver<Settled>,
    pub(super) delay: Duration,
}

impl Traces {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        bounded(self.all(&stop), &stop, "spans").await;
    }

    async fn all(&mut self, stop: &CancellationToken) {
        let mut reached = Reached::default();
        while let Some(batch) = self.batch(stop).await {
            self.send(batch, &mut reached).await;
        }
        self.queue.close();
        while let Ok(settled) = self.queue.try_recv() {
            let mut batch = self.spans(settled);
            self.fill(&mut batch);
            self.send(batch, &mut reached).await;
        }
    }

    /// What came until there is enough or it has waited long enough; `None` at the end.
    async fn batch(&mut self, stop: &CancellationToken) -> Option<Vec<Span>> {
        let first = tokio::select! {
            first = self.queue.recv() => first?,
            () = stop.cancelled() => return None,
        };
        let mut batch = self.spans(first);
        let due = Instant::now() + self.delay;
        while batch.len() < BATCH {
            let next = tokio::select! {
                next = timeout_at(due, self.queue.recv()) => next,
                () = stop.cancelled() => break,
            };
            let Ok(Some(settled)) = next else { break };
            batch.extend(self.spans(settled));
        }
        Some(batch)
    }

    /// With what waits already.
    fn fill(&mut self, batch: &mut Vec<Span>) {
        while batch.len() < BATCH {
            let Ok(settled) = self.queue.try_recv() else { break };
            batch.extend(self.spans(settled));
        }
    }

    fn spans(&self, settled: Settled) -> Vec<Span> {
        let Settled { admission, settlement, ended_ns } = settled;
        spans::of_call(&admission, &settlement, ended_ns, self.origin.names)
    }

    async fn send(&self, spans: Vec<Span>, reached: &mut Reached) {
        let count = spans.len() as u64;
        let scope_spans = ScopeSpans {
            scope: Origin::scope(),
            spans,
            schema_url: self.origin.names.schema_url().to_owned(),
        };
        let resource = Some(self.origin.resource.clone());
        let message =
            ExportTraces { resource_spans: vec![ResourceSpans { resource, scope_spans: vec![scope_spans] }] };
        let sent = self.collector.send(&message).await;
        let failed = *sent.as_ref().unwrap_or(&count);
        counter!(SPANS, "outcome" => "exported").increment(count.saturating_sub(failed));
        counter!(SPANS, "outcome" => "failed").increment(failed.min(count));
        reached.note("spans", sent.as_ref().err());
    }
}

pub(super) struct Readings {
    pub(super) collector: Collector,
    pub(super) origin: Origin,
    pub(super) metrics: std::sync::Arc<Metrics>,
    pub(super) interval: Duration,
}

impl Readings {
    pub(super) async fn run(self, stop: CancellationToken) {
        bounded(self.all(&stop), &stop, "metrics").await;
    }

    async fn all(&self, stop: &CancellationToken) {
        let mut reached = Reached::default();
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            self.send(&mut reached).await;
        }
        self.send(&mut reached).await;
    }

    async fn send(&self, reached: &mut Reached) {
        let metrics = self.metrics.collect(clock::now_ns());
        if metrics.is_empty() {
            return;
        }
        let schema_url = self.origin.names.schema_url().to_owned();
        let scope_metrics = ScopeMetrics { scope: Origin::scope(), metrics, schema_url };
        let resource = Some(self.origin.resource.clone());
        let message = ExportMetrics {
            resource_metrics: vec![ResourceMetrics { resource, scope_metrics: vec![scope_metrics] }],
        };
        let sent = self.collector.send(&message).await;
        reached.note("metrics", sent.as_ref().err());
    }
}
