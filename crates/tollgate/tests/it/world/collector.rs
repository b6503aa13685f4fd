//! Plays an OpenTelemetry collector: takes OTLP over HTTP and decodes it.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{PATIENCE, eventually};
use messages::{
    AnyValue, ExportMetrics, ExportTraces, Exported, KeyValue, Metric, PartialSuccess, Span, Value,
};

#[path = "../../../src/telemetry/otlp/messages.rs"]
pub(crate) mod messages;

pub(crate) struct Collector {
    pub(crate) url: String,
    got: Arc<Got>,
    _stop: DropGuard,
}

#[derive(Default)]
struct Got {
    /// Answers that are still to be 503.
    busy: AtomicU32,
    /// Of each message.
    rejected: AtomicI64,
    headers: Mutex<Vec<HeaderMap>>,
    traces: Mutex<Vec<ExportTraces>>,
    metrics: Mutex<Vec<ExportMetrics>>,
    bytes: Mutex<Vec<u8>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (got, stop) = (Arc::<Got>::default(), CancellationToken::new());
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(Arc::clone(&got));
        let stopped = stop.clone().cancelled_owned();
        TaskTracker::new().spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap();
        });
        Self { url, got, _stop: stop.drop_guard() }
    }

    /// The next answers are 503.
    pub(crate) fn be_busy(&self, times: u32) {
        self.got.busy.store(times, Ordering::SeqCst);
    }

    /// Says of each message that so many of its spans are not taken.
    pub(crate) fn reject(&self, count: i64) {
        self.got.rejected.store(count, Ordering::SeqCst);
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let traces = self.got.traces.lock();
        let scopes = traces.iter().flat_map(|t| &t.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Once there are so many.
    pub(crate) async fn some_spans(&self, count: usize) -> Vec<Span> {
        let enough = async || Some(self.spans()).filter(|spans| spans.len() >= count);
        eventually(PATIENCE, enough).await.unwrap_or_else(|| panic!("only {:#?}", self.spans()))
    }

    /// The newest reading.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let metrics = self.got.metrics.lock();
        let newest = metrics.last().map(|m| m.resource_metrics.clone()).unwrap_or_default();
        newest.into_iter().flat_map(|r| r.scope_metrics).flat_map(|scope| scope.metrics).collect()
    }

    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        let traces = self.got.traces.lock();
        attributes(&traces[0].resource_spans[0].resource.as_ref().unwrap().attributes)
    }

    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.got.headers.lock().clone()
    }

    /// Whether `text` was in anything that was sent.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        self.got.bytes.lock().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// Values as text; those of a list are separated by blanks.
pub(crate) fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref().unwrap()))).collect()
}

fn text(value: &AnyValue) -> String {
    match value.value.as_ref().unwrap() {
        Value::Text(text) => text.clone(),
        Value::Flag(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Array(array) => array.values.iter().map(text).collect::<Vec<_>>().join(" "),
    }
}

impl Got {
    fn take<M: Message + Default>(
        &self,
        headers: HeaderMap,
        body: &Bytes,
        into: &Mutex<Vec<M>>,
    ) -> (StatusCode, Vec<u8>) {
        let busy = self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if busy.is_ok() {
            return (StatusCode::SERVICE_UNAVAILABLE, Vec::new());
        }
        let mut plain = body.to_vec();
        if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            plain.clear();
            GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        }
        self.headers.lock().push(headers);
        into.lock().push(M::decode(&plain[..]).unwrap());
        self.bytes.lock().extend(plain);
        let rejected = self.rejected.load(Ordering::SeqCst);
        let partial_success =
            (rejected > 0).then_some(PartialSuccess { rejected, error_message: String::new() });
        (StatusCode::OK, Exported { partial_success }.encode_to_vec())
    }
}

async fn traces(State(got): State<Arc<Got>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    got.take(headers, &body, &got.traces)
}

async fn metrics(State(got): State<Arc<Got>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    got.take(headers, &body, &got.metrics)
}
