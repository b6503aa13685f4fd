//! Spans and metrics of model calls for an OpenTelemetry collector, over OTLP. A request's thread makes
//! sums and puts the two records into a bounded queue; everything else happens in tasks of their own.

mod clock;
mod export;
mod messages;
mod metrics;
mod names;
mod post;
mod spans;

use std::sync::Arc;

use ::metrics::{counter, describe_counter};
use journal::{Admission, Full, RecordSink, Settlement};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{OtlpHeaders, TelemetryConfig};
use export::{Origin, Readings, Traces};
use messages::Resource;
use metrics::Metrics;
use names::{Attributes, Names};
use post::Collector;

const SPANS: &str = "tollgate_telemetry_spans_total";

/// A call whose spans are still to be made.
struct Settled {
    admission: Admission,
    settlement: Settlement,
    /// Nanoseconds since the epoch.
    ended_ns: u64,
}

/// Takes the records.
pub(crate) struct OtlpSink {
    metrics: Option<Arc<Metrics>>,
    queue: Option<mpsc::Sender<Settled>>,
}

/// What sends them, until the server has stopped.
pub(crate) struct Exporter {
    traces: Option<Traces>,
    readings: Option<Readings>,
}

/// `None` where nothing is to be sent.
pub(crate) fn new(
    config: &TelemetryConfig,
    headers: OtlpHeaders,
    client: &egress::Client,
) -> anyhow::Result<Option<(OtlpSink, Exporter)>> {
    if config.traces.is_none() && config.metrics.is_none() {
        return Ok(None);
    }
    describe_counter!(SPANS, "spans for the collector by what became of them");
    let names = if config.latest_names { Names::Latest } else { Names::V1_41 };
    let origin = Origin { resource: resource(&config.resource), names };
    let collector =
        |uri: &http::Uri, own| Collector::new(client, uri.clone(), own, config.gzip, config.timeout);
    let (mut sink, mut exporter) =
        (OtlpSink { metrics: None, queue: None }, Exporter { traces: None, readings: None });
    if let Some(uri) = &config.traces {
        let (sender, queue) = mpsc::channel(config.queue);
        let collector = collector(uri, headers.traces)?;
        sink.queue = Some(sender);
        exporter.traces = Some(Traces { collector, origin: origin.clone(), queue, delay: config.delay });
    }
    if let Some(uri) = &config.metrics {
        let metrics = Arc::new(Metrics::new(names, clock::now_ns()));
        let collector = collector(uri, headers.metrics)?;
        sink.metrics = Some(Arc::clone(&metrics));
        exporter.readings = Some(Readings { collector, origin, metrics, interval: config.interval });
    }
    Ok(Some((sink, exporter)))
}

impl Exporter {
    /// Runs until `stop`, and then until everything is sent or its time is up.
    pub(crate) fn start(self, tasks: &TaskTracker, stop: &CancellationToken) {
        if let Some(traces) = self.traces {
            tasks.spawn(traces.run(stop.clone()));
        }
        if let Some(readings) = self.readings {
            tasks.spawn(readings.run(stop.clone()));
        }
    }
}

fn resource(configured: &[(String, String)]) -> Resource {
    let mut attributes = Attributes::default();
    for (name, value) in configured {
        attributes.text(name, value.as_str());
    }
    let missing = |name: &str| configured.iter().all(|(configured, _)| configured != name);
    if missing("service.version") {
        attributes.text("service.version", env!("CARGO_PKG_VERSION"));
    }
    if missing("service.instance.id") {
        attributes.text("service.instance.id", uuid::Uuid::new_v4().to_string());
    }
    Resource { attributes: attributes.0 }
}

/// What spans tell of an admission. What callers attach to a call is not told, and has no place in the queue.
fn told_of(admission: &Admission) -> Admission {
    Admission {
        request_id: admission.request_id.clone(),
        received_at: admission.received_at,
        endpoint: Arc::clone(&admission.endpoint),
        stream: admission.stream,
        trace: admission.trace.clone(),
        inference: admission.inference.clone(),
        ..Admission::default()
    }
}

impl RecordSink for OtlpSink {
    fn admit(&self, _admission: &Admission) -> Result<(), Full> {
        Ok(())
    }

    fn settle(&self, admission: &Admission, settlement: &Settlement) {
        if let Some(metrics) = &self.metrics {
            metrics.settle(admission, settlement);
        }
        let sampled = admission.trace.as_ref().is_some_and(|trace| trace.sampled);
        // What was refused before it was read has no span.
        let has_spans = sampled && admission.inference.is_some();
        let Some(queue) = self.queue.as_ref().filter(|_| has_spans) else { return };
        match queue.try_reserve() {
            Ok(place) => place.send(Settled {
                admission: told_of(admission),
                // Bodies are not told, and a queue of them would be large.
                settlement: Settlement { payload: None, ..settlement.clone() },
                ended_ns: clock::now_ns(),
            }),
            // A span for each attempt and one for the call.
            Err(_) => {
                let lost = settlement.attempts.len() as u64 + 1;
                counter!(SPANS, "outcome" => "dropped").increment(lost);
            }
        }
    }
}
