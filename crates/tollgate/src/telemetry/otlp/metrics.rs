//! OpenTelemetry's metrics of calls of models, kept since the start of the process.

use std::collections::HashMap;

use journal::inference::{Gaps, OPERATION_BOUNDS, Upstream};
use journal::{Admission, Settlement};
use parking_lot::Mutex;

use super::messages::{Data, Histogram, HistogramPoint, KeyValue, Metric, NumberPoint, Sum};
use super::names::{
    Attributes, ERROR_TYPE, Names, OPERATION, PROVIDER, REQUEST_MODEL, RESPONSE_MODEL, SERVER_ADDRESS,
    SERVER_PORT, TOKEN_TYPE,
};
use super::spans::{error_of_attempt, error_of_call, error_of_last};

/// Series of one metric, as in OpenTelemetry's own SDKs: what is more is counted together, under
/// `otel.metric.overflow`.
const MAX_SERIES: usize = 2000;

/// Since the start of the process.
const CUMULATIVE: i32 = 2;

const TOKEN_BOUNDS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const PER_TOKEN_BOUNDS: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
const FIRST_TOKEN_BOUNDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Name, unit, meaning, bounds; none for a sum.
#[derive(Debug)]
struct Instrument {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    bounds: Option<&'static [f64]>,
}

macro_rules! instruments {
    ($($id:ident = $name:literal, $unit:literal, $description:literal, $bounds:expr;)*) => {
        $(static $id: Instrument =
            Instrument { name: $name, unit: $unit, description: $description, bounds: $bounds };)*
    };
}

instruments! {
    TOKEN_USAGE = "gen_ai.client.token.usage", "{token}", "tokens of a call", Some(TOKEN_BOUNDS);
    DURATION = "gen_ai.client.operation.duration", "s", "of the call of an upstream", Some(&OPERATION_BOUNDS);
    FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk", "s", "to the first event of a stream",
        Some(&OPERATION_BOUNDS);
    PER_CHUNK = "gen_ai.client.operation.time_per_output_chunk", "s", "between two pieces of a stream",
        Some(&OPERATION_BOUNDS);
    INFERENCE_DURATION = "gen_ai.client.inference.duration", "s", "of the call of an upstream",
        Some(&OPERATION_BOUNDS);
    INFERENCE_FIRST_CHUNK = "gen_ai.client.inference.time_to_first_chunk", "s",
        "to the first event of a stream", Some(&OPERATION_BOUNDS);
    INFERENCE_PER_CHUNK = "gen_ai.client.inference.time_per_output_chunk", "s",
        "between two pieces of a stream", Some(&OPERATION_BOUNDS);
    INPUT = "gen_ai.client.inference.usage.input_tokens", "{token}", "tokens in", None;
    OUTPUT = "gen_ai.client.inference.usage.output_tokens", "{token}", "tokens out", None;
    CACHE_READ = "gen_ai.client.inference.usage.cache_read.input_tokens", "{token}",
        "tokens read from the provider's cache", None;
    CACHE_WRITE = "gen_ai.client.inference.usage.cache_write.input_tokens", "{token}",
        "tokens written to the provider's cache", None;
    REASONING = "gen_ai.client.inference.usage.reasoning.output_tokens", "{token}",
        "tokens of reasoning", None;
    INPUT_OF_CALL = "gen_ai.client.inference.operation.input_tokens", "{token}", "tokens in, by call",
        Some(TOKEN_BOUNDS);
    OUTPUT_OF_CALL = "gen_ai.client.inference.operation.output_tokens", "{token}", "tokens out, by call",
        Some(TOKEN_BOUNDS);
    SERVER_DURATION = "gen_ai.server.request.duration", "s", "of the whole call, as the client saw it",
        Some(&OPERATION_BOUNDS);
    PER_TOKEN = "gen_ai.server.time_per_output_token", "s", "of a stream, after the first",
        Some(PER_TOKEN_BOUNDS);
    FIRST_TOKEN = "gen_ai.server.time_to_first_token", "s", "of a stream, to the client",
        Some(FIRST_TOKEN_BOUNDS);
}

/// What a series is of. Callers, tokens and ids of requests are left out: their number has no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Labels {
    operation: &'static str,
    provider: &'static str,
    request_model: String,
    response_model: Option<String>,
    server: Option<(String, u16)>,
    error: Option<String>,
    token: Option<&'static str>,
    overflow: bool,
}

impl Labels {
    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = Attributes::default();
        if self.overflow {
            attributes.flag("otel.metric.overflow", true);
            return attributes.0;
        }
        attributes.text(OPERATION, self.operation);
        attributes.text(PROVIDER, self.provider);
        attributes.text(REQUEST_MODEL, &*self.request_model);
        attributes.some_text(RESPONSE_MODEL, self.response_model.as_deref());
        if let Some((address, port)) = &self.server {
            attributes.text(SERVER_ADDRESS, &**address);
            attributes.integer(SERVER_PORT, *port);
        }
        attributes.some_text(ERROR_TYPE, self.error.as_deref());
        attributes.some_text(TOKEN_TYPE, self.token);
        attributes.0
    }
}

#[derive(Debug)]
struct Series {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    buckets: Vec<u64>,
}

impl Series {
    fn new(instrument: &Instrument) -> Self {
        let buckets = instrument.bounds.map_or(0, |bounds| bounds.len() + 1);
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: 0.0, buckets: vec![0; buckets] }
    }

    /// `buckets` has as many counts as there are.
    fn add(&mut self, buckets: &[u64], sum: f64, min: f64, max: f64) {
        self.buckets.iter_mut().zip(buckets).for_each(|(all, more)| *all += more);
        self.count += buckets.iter().sum::<u64>();
        self.sum += sum;
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    fn note(&mut self, instrument: &Instrument, value: f64) {
        let at = instrument.bounds.map(|bounds| bounds.partition_point(|bound| *bound < value));
        if let Some(bucket) = at.and_then(|at| self.buckets.get_mut(at)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

type OfInstrument = HashMap<Labels, Series>;

#[derive(Debug)]
pub(super) struct Metrics {
    names: Names,
    started_ns: u64,
    series: Mutex<HashMap<&'static str, (&'static Instrument, OfInstrument)>>,
}

impl Metrics {
    /// `started_ns` is since the epoch.
    pub(super) fn new(names: Names, started_ns: u64) -> Self {
        Self { names, started_ns, series: Mutex::default() }
    }

    pub(super) fn settle(&self, admission: &Admission, settlement: &Settlement) {
        let Some(request) = &admission.inference else { return };
        let mut seen = Vec::new();
        for (at, attempt) in settlement.attempts.iter().enumerate() {
            let Some(upstream) = &attempt.upstream else { continue };
            let last = at + 1 == settlement.attempts.len();
            let error =
                if last { error_of_last(attempt, settlement.outcome) } else { error_of_attempt(attempt) };
            let labels = of_client(request.operation, upstream, settlement, last, error);
            let seconds = if last && attempt.status.is_some_and(|status| status < 400) {
                (settlement.duration_ms - attempt.began_ms) / 1e3
            } else {
                attempt.duration_ms / 1e3
            };
            seen.push((self.duration(request.operation), labels.clone(), Seen::Value(seconds)));
            if last {
                self.of_answer(admission, settlement, attempt.duration_ms / 1e3, &labels, &mut seen);
            }
        }
        of_server(admission, settlement, request.operation, &mut seen);
        let mut series = self.series.lock();
        for (instrument, labels, value) in seen {
            let (_, all) = series.entry(instrument.name).or_insert_with(|| (instrument, HashMap::new()));
            let full = all.len() >= MAX_SERIES && !all.contains_key(&labels);
            let labels = if full { Labels { overflow: true, ..Labels::default() } } else { labels };
            let series = all.entry(labels).or_insert_with(|| Series::new(instrument));
            match value {
                Seen::Value(value) => series.note(instrument, value),
                Seen::Gaps(gaps) => series.add(&gaps.counts, gaps.sum, gaps.min, gaps.max),
            }
        }
    }

    fn duration(&self, operation: &str) -> &'static Instrument {
        match self.names {
            Names::Latest if operation != "embeddings" && operation != "count_tokens" => &INFERENCE_DURATION,
            _ => &DURATION,
        }
    }

    fn of_answer<'a>(
        &self,
        admission: &Admission,
        settlement: &'a Settlement,
        first_chunk: f64,
        labels: &Labels,
        seen: &mut Vec<(&'static Instrument, Labels, Seen<'a>)>,
    ) {
        let (first, per) = match self.names {
            Names::V1_41 => (&FIRST_CHUNK, &PER_CHUNK),
            Names::Latest => (&INFERENCE_FIRST_CHUNK, &INFERENCE_PER_CHUNK),
        };
        if admission.stream && settlement.first_byte_ms.is_some() {
            seen.push((first, labels.clone(), Seen::Value(first_chunk)));
        }
        let gaps = settlement.response.as_ref().and_then(|response| response.gaps.as_deref());
        if let Some(gaps) = gaps.filter(|_| admission.stream) {
            seen.push((per, labels.clone(), Seen::Gaps(gaps)));
        }
        let Some(counted) = &settlement.usage else { return };
        let usage = &counted.usage;
        let (input, output) = (usage.prompt_tokens, usage.completion_tokens);
        let mut add = |instrument, token, tokens: u64| {
            // A double holds any count of tokens that there can be.
            seen.push((instrument, Labels { token, ..labels.clone() }, Seen::Value(tokens as f64)));
        };
        if self.names == Names::V1_41 {
            add(&TOKEN_USAGE, Some("input"), input);
            return add(&TOKEN_USAGE, Some("output"), output);
        }
        for (instrument, tokens) in [
            (&INPUT, Some(input)),
            (&OUTPUT, Some(output)),
            (&CACHE_READ, usage.cached_tokens()),
            (&CACHE_WRITE, usage.cache_creation_tokens()),
            (&REASONING, usage.reasoning_tokens()),
            (&INPUT_OF_CALL, Some(input)),
            (&OUTPUT_OF_CALL, Some(output)),
        ] {
            if let Some(tokens) = tokens {
                add(instrument, None, tokens);
            }
        }
    }

    /// All of it, as it is at `now_ns`.
    pub(super) fn collect(&self, now_ns: u64) -> Vec<Metric> {
        let series = self.series.lock();
        let mut metrics: Vec<Metric> =
            series.values().map(|(instrument, all)| self.metric(instrument, all, now_ns)).collect();
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        metrics
    }

    fn metric(&self, instrument: &Instrument, all: &OfInstrument, now_ns: u64) -> Metric {
        let data = match instrument.bounds {
            Some(bounds) => Data::Histogram(Histogram {
                data_points: all
                    .iter()
                    .map(|(labels, series)| self.point(bounds, labels, series, now_ns))
                    .collect(),
                aggregation_temporality: CUMULATIVE,
            }),
            None => Data::Sum(Sum {
                data_points: all.iter().map(|(labels, series)| self.number(labels, series, now_ns)).collect(),
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
            }),
        };
        Metric {
            name: instrument.name.to_owned(),
            description: instrument.description.to_owned(),
            unit: instrument.unit.to_owned(),
            data: Some(data),
        }
    }

    fn point(&self, bounds: &[f64], labels: &Labels, series: &Series, now_ns: u64) -> HistogramPoint {
        HistogramPoint {
            start_time_unix_nano: self.started_ns,
            time_unix_nano: now_ns,
            count: series.count,
            sum: Some(series.sum),
            bucket_counts: series.buckets.clone(),
            explicit_bounds: bounds.to_vec(),
            attributes: labels.attributes(),
            min: Some(series.min),
            max: Some(series.max),
        }
    }

    fn number(&self, labels: &Labels, series: &Series, now_ns: u64) -> NumberPoint {
        #[expect(clippy::cast_possible_truncation, reason = "sums of whole numbers")]
        let sum = series.sum as i64;
        NumberPoint {
            start_time_unix_nano: self.started_ns,
            time_unix_nano: now_ns,
            as_int: Some(sum),
            attributes: labels.attributes(),
        }
    }
}

enum Seen<'a> {
    Value(f64),
    Gaps(&'a Gaps),
}

fn of_client(
    operation: &'static str,
    upstream: &Upstream,
    settlement: &Settlement,
    last: bool,
    error: Option<String>,
) -> Labels {
    let response = settlement.response.as_ref().filter(|_| last);
    Labels {
        operation,
        provider: upstream.provider,
        request_model: upstream.model.to_string(),
        response_model: response.and_then(|response| response.model.clone()),
        server: Some((upstream.address.clone(), upstream.port)),
        error,
        ..Labels::default()
    }
}

fn of_server(
    admission: &Admission,
    settlement: &Settlement,
    operation: &'static str,
    seen: &mut Vec<(&'static Instrument, Labels, Seen<'_>)>,
) {
    let last = settlement.attempts.last().and_then(|attempt| attempt.upstream.as_ref());
    let labels = Labels {
        operation,
        // Nobody was called: the call ended here.
        provider: last.map_or("tollgate", |upstream| upstream.provider),
        request_model: admission.endpoint.to_string(),
        response_model: settlement.response.as_ref().and_then(|response| response.model.clone()),
        error: error_of_call(settlement),
        ..Labels::default()
    };
    seen.push((&SERVER_DURATION, labels.clone(), Seen::Value(settlement.duration_ms / 1e3)));
    let Some(first) = settlement.first_byte_ms.filter(|_| admission.stream) else { return };
    seen.push((&FIRST_TOKEN, labels.clone(), Seen::Value(first / 1e3)));
    let output = settlement.usage.as_ref().map_or(0, |counted| counted.usage.completion_tokens);
    if output > 1 && labels.error.is_none() {
        let per_token = (settlement.duration_ms - first) / 1e3 / (output - 1) as f64;
        seen.push((&PER_TOKEN, labels, Seen::Value(per_token)));
    }
}
