//! Prometheus metrics, and the sink that fills them from the records of requests.

use std::collections::HashMap;
use std::sync::Arc;

use ::metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use journal::{Admission, Full, LimitHit, Provenance, RecordSink, Settlement};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::RwLock;

use super::minute::LastMinute;

const REQUESTS: &str = "tollgate_requests_total";
const DURATION: &str = "tollgate_request_duration_seconds";
const FIRST_BYTE: &str = "tollgate_time_to_first_byte_seconds";
const ATTEMPTS: &str = "tollgate_upstream_attempts_total";
const TOKENS: &str = "tollgate_tokens_total";
const GUARDS: &str = "tollgate_guardrail_verdicts_total";
const LIMITED: &str = "tollgate_limits_exceeded_total";
pub(super) const CIRCUITS: &str = "tollgate_circuit_open";
const IN_FLIGHT: &str = "tollgate_requests_in_flight";

/// Seconds; from a cached answer to the longest that a model thinks.
const BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Sets the process's recorder. Errors when there is one already.
pub(crate) fn init() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder)?;
    describe_counter!(REQUESTS, "calls by endpoint, entity, status and outcome");
    describe_histogram!(DURATION, "from receipt to the last byte");
    describe_histogram!(FIRST_BYTE, "from receipt to the first byte for the client");
    describe_counter!(ATTEMPTS, "calls of upstreams by entity and their status");
    describe_counter!(TOKENS, "tokens by endpoint, entity, kind and where the count came from");
    describe_counter!(GUARDS, "verdicts of guardrails by endpoint, guard, phase and outcome");
    describe_gauge!(IN_FLIGHT, "calls under way");
    describe_counter!(
        LIMITED,
        "calls that went over a limit, by endpoint, limit and whether it refused them"
    );
    describe_gauge!(CIRCUITS, "1 while calls avoid the entity");
    gauge!("tollgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// What a call is counted under. Requesters are left out: their number has no bound.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Labels {
    endpoint: Arc<str>,
    entity: Arc<str>,
    status: u16,
    outcome: &'static str,
}

/// The handles of one set of labels, so that a call does not look them up by name.
struct Handles {
    requests: Counter,
    duration: Histogram,
    first_byte: Histogram,
    attempt: Counter,
    /// By where the count came from: input and output.
    tokens: [[Counter; 2]; Provenance::ALL.len()],
}

/// Counts calls and writes one line for each.
pub(crate) struct MetricsSink {
    in_flight: Gauge,
    last_minute: Arc<LastMinute>,
    handles: RwLock<HashMap<Labels, Arc<Handles>>>,
}

impl MetricsSink {
    pub(crate) fn new(last_minute: Arc<LastMinute>) -> Self {
        Self { in_flight: gauge!(IN_FLIGHT), last_minute, handles: RwLock::default() }
    }

    fn handles(&self, labels: Labels) -> Arc<Handles> {
        if let Some(handles) = self.handles.read().get(&labels) {
            return Arc::clone(handles);
        }
        let handles = Arc::new(Handles::new(&labels));
        self.handles.write().insert(labels, Arc::clone(&handles));
        handles
    }
}

impl Handles {
    fn new(labels: &Labels) -> Self {
        let (endpoint, entity) = (labels.endpoint.to_string(), labels.entity.to_string());
        let tokens = |kind: &'static str, source: Provenance| counter!(TOKENS, "endpoint" => endpoint.clone(), "entity" => entity.clone(), "kind" => kind, "source" => source.as_str());
        let by_source = |source| [tokens("input", source), tokens("output", source)];
        Self {
            requests: counter!(REQUESTS, "endpoint" => endpoint.clone(), "entity" => entity.clone(),
                "status" => labels.status.to_string(), "outcome" => labels.outcome),
            duration: histogram!(DURATION, "endpoint" => endpoint.clone()),
            first_byte: histogram!(FIRST_BYTE, "endpoint" => endpoint.clone()),
            attempt: attempt(&labels.entity, Some(labels.status)),
            tokens: Provenance::ALL.map(by_source),
        }
    }
}

impl RecordSink for MetricsSink {
    fn admit(&self, admission: &Admission) -> Result<(), Full> {
        self.in_flight.increment(1.0);
        self.last_minute.admit(admission);
        Ok(())
    }

    fn settle(&self, admission: &Admission, settlement: &Settlement) {
        self.in_flight.decrement(1.0);
        self.last_minute.settle(admission, settlement);
        let handles = self.handles(Labels {
            endpoint: Arc::clone(&admission.endpoint),
            entity: settlement.entity.clone().unwrap_or_else(|| "".into()),
            status: settlement.status,
            outcome: settlement.outcome.as_str(),
        });
        handles.requests.increment(1);
        handles.duration.record(settlement.duration_ms / 1e3);
        if let Some(first) = settlement.first_byte_ms {
            handles.first_byte.record(first / 1e3);
        }
        if let Some(counted) = &settlement.usage {
            let [input, output] = &handles.tokens[counted.provenance as usize];
            input.increment(counted.usage.prompt_tokens);
            output.increment(counted.usage.completion_tokens);
        }
        match settlement.attempts.as_slice() {
            // Nearly all calls: one attempt, with the status that the client got.
            [only] if only.status == Some(settlement.status) => handles.attempt.increment(1),
            attempts => attempts.iter().for_each(|a| attempt(&a.entity, a.status).increment(1)),
        }
        for verdict in &settlement.guards {
            counter!(GUARDS, "endpoint" => admission.endpoint.to_string(), "guard" => verdict.guard.as_str(),
                "phase" => verdict.phase.as_str(), "outcome" => verdict.outcome.as_str())
            .increment(1);
        }
        log(admission, settlement);
    }

    fn limited(&self, admission: &Admission, hit: &LimitHit) {
        let refused = if hit.refused { "true" } else { "false" };
        counter!(LIMITED, "endpoint" => admission.endpoint.to_string(), "key" => hit.key,
            "measure" => hit.measure, "refused" => refused)
        .increment(1);
        if !hit.refused {
            tracing::info!(request_id = %admission.request_id.0, endpoint = %admission.endpoint,
                requester = %admission.requester, key = hit.key, principal = hit.principal.as_deref(),
                measure = hit.measure, "over a limit that only reports");
        }
    }
}

fn attempt(entity: &str, status: Option<u16>) -> Counter {
    let status = status.map_or_else(|| "none".to_owned(), |s| s.to_string());
    counter!(ATTEMPTS, "entity" => entity.to_owned(), "status" => status)
}

fn log(admission: &Admission, settlement: &Settlement) {
    let usage = settlement.usage.as_ref().map(|u| &u.usage);
    tracing::info!(
        request_id = %admission.request_id.0,
        trace_id = admission.trace.as_ref().map(|trace| trace.trace_id.to_string()),
        endpoint = %admission.endpoint,
        entity = settlement.entity.as_deref(),
        requester = %admission.requester,
        status = settlement.status,
        outcome = settlement.outcome.as_str(),
        attempts = settlement.attempts.len(),
        prompt_tokens = usage.map(|u| u.prompt_tokens),
        completion_tokens = usage.map(|u| u.completion_tokens),
        duration_ms = settlement.duration_ms,
        guards = guards(settlement),
        "call settled"
    );
}

/// What guardrails said, as `input.pii=masked`; `None` where none ran.
fn guards(settlement: &Settlement) -> Option<String> {
    let verdicts = settlement.guards.iter();
    let told = verdicts.map(|v| format!("{}.{}={}", v.phase.as_str(), v.guard.as_str(), v.outcome.as_str()));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join(" "))
}
