//! `telemetry.*`: what is told to an OpenTelemetry collector. Off unless there is an endpoint.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::keys::{Key, Kind};
use super::{ConfigProblem, Resolved};

/// Where OpenTelemetry's own programs read the same.
type Row = (&'static str, Kind, &'static str, &'static str, &'static [&'static str]);

const ENDPOINT: &str = "telemetry.otlp.endpoint";
const PROTOCOL: &str = "telemetry.otlp.protocol";
const SAMPLER: &str = "telemetry.traces.sampler";
const SAMPLER_ARG: &str = "telemetry.traces.sampler_arg";
const RESOURCE: &str = "telemetry.resource_attributes";

const KEYS: &[Row] = &[
    (
        ENDPOINT,
        Kind::Text,
        "",
        "collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` and `/v1/metrics` are appended; unset, nothing is sent",
        &["OTEL_EXPORTER_OTLP_ENDPOINT"],
    ),
    (
        "telemetry.otlp.traces_endpoint",
        Kind::Text,
        "",
        "the whole address for spans, in place of that made from the endpoint",
        &["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"],
    ),
    (
        "telemetry.otlp.metrics_endpoint",
        Kind::Text,
        "",
        "the same for metrics",
        &["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"],
    ),
    (
        PROTOCOL,
        Kind::Text,
        "http/protobuf",
        "`http/protobuf`, the only one there is",
        &["OTEL_EXPORTER_OTLP_PROTOCOL"],
    ),
    (
        "telemetry.otlp.compression",
        Kind::Choice(&["none", "gzip"]),
        "none",
        "of what is sent",
        &["OTEL_EXPORTER_OTLP_COMPRESSION"],
    ),
    (
        "telemetry.otlp.timeout_ms",
        Kind::Integer(1, 600_000),
        "10000",
        "for one batch, repeats included",
        &["OTEL_EXPORTER_OTLP_TIMEOUT"],
    ),
    (
        "telemetry.service_name",
        Kind::Text,
        "",
        "`service.name`; else that of the resource attributes, else `tollgate`",
        &["OTEL_SERVICE_NAME"],
    ),
    (RESOURCE, Kind::Text, "", "`name=value,name=value`, percent-encoded", &["OTEL_RESOURCE_ATTRIBUTES"]),
    ("telemetry.traces.exporter", Kind::Text, "otlp", "`none`: no spans are sent", &["OTEL_TRACES_EXPORTER"]),
    (
        SAMPLER,
        Kind::Choice(&[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ]),
        "parentbased_always_on",
        "which traces are recorded",
        &["OTEL_TRACES_SAMPLER"],
    ),
    (
        SAMPLER_ARG,
        Kind::Text,
        "",
        "share of the traces, 0 to 1, for the two ratios",
        &["OTEL_TRACES_SAMPLER_ARG"],
    ),
    (
        "telemetry.traces.queue",
        Kind::Integer(1, 1 << 20),
        "2048",
        "calls that wait to be sent; more are dropped and counted",
        &["OTEL_BSP_MAX_QUEUE_SIZE"],
    ),
    (
        "telemetry.traces.delay_ms",
        Kind::Integer(1, 600_000),
        "5000",
        "how long spans wait for more to be sent with them",
        &["OTEL_BSP_SCHEDULE_DELAY"],
    ),
    (
        "telemetry.metrics.exporter",
        Kind::Text,
        "otlp",
        "`none`: no metrics are sent",
        &["OTEL_METRICS_EXPORTER"],
    ),
    (
        "telemetry.metrics.interval_ms",
        Kind::Integer(100, 3_600_000),
        "60000",
        "between two sendings of the metrics",
        &["OTEL_METRIC_EXPORT_INTERVAL"],
    ),
    (
        "telemetry.semconv",
        Kind::Text,
        "",
        "with `gen_ai_latest_experimental` in it: the newest names of spans and metrics, which still change",
        &["OTEL_SEMCONV_STABILITY_OPT_IN"],
    ),
    (
        "telemetry.propagate",
        Kind::Choice(&["auto", "always", "never"]),
        "auto",
        "whether upstreams get `traceparent` and the caller's `tracestate`; auto: where spans are sent",
        &[],
    ),
    (
        "telemetry.disabled",
        Kind::Flag,
        "false",
        "sends nothing, whatever else is set",
        &["OTEL_SDK_DISABLED"],
    ),
];

pub(super) fn is_key(path: &str) -> bool {
    path.starts_with("telemetry.")
}

pub(super) fn keys() -> impl Iterator<Item = Key> {
    KEYS.iter().map(|(path, kind, default, doc, foreign)| Key {
        path: (*path).to_owned(),
        kind: *kind,
        default,
        doc,
        foreign,
    })
}

#[derive(Clone, Debug)]
pub(crate) struct TelemetryConfig {
    /// `None` where none are sent.
    pub(crate) traces: Option<Uri>,
    pub(crate) metrics: Option<Uri>,
    pub(crate) gzip: bool,
    pub(crate) timeout: Duration,
    /// Of the resource, `service.name` among them.
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) sampler: Sampler,
    pub(crate) queue: usize,
    pub(crate) delay: Duration,
    pub(crate) interval: Duration,
    /// The newest names in place of those of version 1.41.
    pub(crate) latest_names: bool,
    pub(crate) propagate: bool,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampler {
    /// Whether the caller's own decision goes before.
    pub(crate) parent_based: bool,
    /// Share of the others, 0 to 1.
    pub(crate) ratio: f64,
}

impl TelemetryConfig {
    pub(super) fn from_resolved(values: &Resolved) -> Result<Self, ConfigProblem> {
        let (traces, metrics) = (endpoint(values, "traces")?, endpoint(values, "metrics")?);
        let exporting = traces.is_some() || metrics.is_some();
        if exporting {
            values.check_foreign(is_key)?;
        }
        if exporting && values.text(PROTOCOL) != "http/protobuf" {
            let reason =
                "is not spoken: send OTLP to the collector's HTTP port, usually 4318, as http/protobuf";
            return Err(values.problem(PROTOCOL, reason));
        }
        let millis = |key: &str| Duration::from_millis(values.integer(key));
        Ok(Self {
            propagate: match values.text("telemetry.propagate") {
                "always" => true,
                "never" => false,
                _ => traces.is_some(),
            },
            traces,
            metrics,
            gzip: values.text("telemetry.otlp.compression") == "gzip",
            timeout: millis("telemetry.otlp.timeout_ms"),
            resource: if exporting { resource(values)? } else { Vec::new() },
            sampler: if exporting { sampler(values)? } else { Sampler { parent_based: true, ratio: 1.0 } },
            queue: usize::try_from(values.integer("telemetry.traces.queue")).unwrap_or(usize::MAX),
            delay: millis("telemetry.traces.delay_ms"),
            interval: millis("telemetry.metrics.interval_ms"),
            latest_names: values
                .text("telemetry.semconv")
                .split(',')
                .any(|word| word.trim() == "gen_ai_latest_experimental"),
        })
    }
}

/// Where spans or metrics go.
fn endpoint(values: &Resolved, signal: &str) -> Result<Option<Uri>, ConfigProblem> {
    let none = values.text(&format!("telemetry.{signal}.exporter")) == "none";
    if none || values.flag("telemetry.disabled") {
        return Ok(None);
    }
    let own = format!("telemetry.otlp.{signal}_endpoint");
    if let Some(url) = values.optional(&own) {
        return address(url).map(Some).map_err(|reason| values.secret_problem(&own, reason));
    }
    let Some(base) = values.optional(ENDPOINT) else { return Ok(None) };
    let url = format!("{}/v1/{signal}", base.trim_end_matches('/'));
    address(&url).map(Some).map_err(|reason| values.secret_problem(ENDPOINT, reason))
}

fn address(url: &str) -> Result<Uri, &'static str> {
    const NO_URL: &str = "is no address such as http://127.0.0.1:4318";
    let uri: Uri = url.parse().map_err(|_| NO_URL)?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must hold no password: credentials are for OTEL_EXPORTER_OTLP_HEADERS");
    }
    let known = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if known { Ok(uri) } else { Err(NO_URL) }
}

fn resource(values: &Resolved) -> Result<Vec<(String, String)>, ConfigProblem> {
    let mut found = pairs(values.text(RESOURCE)).map_err(|reason| values.problem(RESOURCE, reason))?;
    let named = values.optional("telemetry.service_name").map(str::to_owned);
    let at = found.iter().position(|(name, _)| name == "service.name");
    let told = at.map(|at| found.remove(at).1);
    let name = named.or(told).unwrap_or_else(|| "tollgate".to_owned());
    found.insert(0, ("service.name".to_owned(), name));
    Ok(found)
}

fn sampler(values: &Resolved) -> Result<Sampler, ConfigProblem> {
    let name = values.text(SAMPLER);
    let ratio = match name.trim_start_matches("parentbased_") {
        "always_off" => 0.0,
        "traceidratio" => {
            let share = values.text(SAMPLER_ARG);
            let share = if share.is_empty() { Some(1.0) } else { share.parse().ok() };
            let share = share.filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| values.problem(SAMPLER_ARG, "must be a number from 0 to 1"))?
        }
        _ => 1.0,
    };
    Ok(Sampler { parent_based: name.starts_with("parentbased_"), ratio })
}

/// `name=value,name=value`, percent-encoded.
fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(|text| text.into_owned());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (decode(name).ok()?, decode(value).ok()?);
        (!name.is_empty()).then_some((name, value))
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.map(|part| pair(part).ok_or("must be name=value pairs, separated by commas")).collect()
}

/// Headers for the collector, its credentials among them. They are no keys, so that they are in no file and
/// in nothing that is printed.
pub(crate) struct OtlpHeaders {
    pub(crate) traces: HeaderMap,
    pub(crate) metrics: HeaderMap,
}

impl OtlpHeaders {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads these variables")]
    pub(crate) fn of_process(config: &TelemetryConfig) -> Result<Self, ConfigProblem> {
        if config.traces.is_none() && config.metrics.is_none() {
            return Ok(Self { traces: HeaderMap::new(), metrics: HeaderMap::new() });
        }
        Self::read(|name| std::env::var(name).ok().map(Zeroizing::new))
    }

    fn read(variable: impl Fn(&str) -> Option<Zeroizing<String>>) -> Result<Self, ConfigProblem> {
        let read = |name: &str| headers(name, &variable(name).unwrap_or_default());
        let signal = |own: &str| {
            let mut all = read("OTEL_EXPORTER_OTLP_HEADERS")?;
            all.extend(read(own)?);
            Ok(all)
        };
        Ok(Self {
            traces: signal("OTEL_EXPORTER_OTLP_TRACES_HEADERS")?,
            metrics: signal("OTEL_EXPORTER_OTLP_METRICS_HEADERS")?,
        })
    }
}

impl fmt::Debug for OtlpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpHeaders").finish_non_exhaustive()
    }
}

fn headers(variable: &str, text: &str) -> Result<HeaderMap, ConfigProblem> {
    let problem = |reason: &str| ConfigProblem(format!("{variable}: {reason}"));
    let mut out = HeaderMap::new();
    for (name, value) in pairs(text).map_err(problem)? {
        let name: HeaderName = name.parse().map_err(|_| problem("a name is no name of a header"))?;
        let value: HeaderValue = value.parse().map_err(|_| problem("a value is no value of a header"))?;
        let mut value = value;
        value.set_sensitive(true);
        out.insert(name, value);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment};
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<TelemetryConfig, String> {
        let resolved =
            Resolved::parse(None, &Environment::of(environment)).map_err(|problem| problem.to_string())?;
        Config::from_resolved(&resolved).map(|config| config.telemetry).map_err(|problem| problem.to_string())
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn nothing_is_sent_unless_there_is_an_endpoint() {
        let config = load(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap();
        assert!(config.traces.is_none() && config.metrics.is_none() && !config.propagate);
        let config = load(&[BASE, ("OTEL_SDK_DISABLED", "True")]).unwrap();
        assert!(config.traces.is_none() && config.metrics.is_none());
    }

    #[test]
    fn the_variables_of_opentelemetry_are_read() {
        let config = load(&[
            BASE,
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://other/m"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=x%2Cy"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_SCHEDULE_DELAY", "7"),
            ("OTEL_SEMCONV_STABILITY_OPT_IN", "http, gen_ai_latest_experimental"),
        ])
        .unwrap();
        assert_eq!(config.traces.unwrap(), "http://collector:4318/v1/traces");
        assert_eq!(config.metrics.unwrap(), "https://other/m");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(config.resource, [pair("service.name", "a"), pair("team", "x,y")]);
        assert_eq!(config.sampler, Sampler { parent_based: true, ratio: 0.25 });
        assert_eq!(config.delay, Duration::from_millis(7));
        assert!(config.propagate && config.latest_names);
        let named = load(&[BASE, ("OTEL_SERVICE_NAME", "b"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a")]);
        assert_eq!(named.unwrap().resource, [pair("service.name", "b")]);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (variable, value, says) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "no address"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:p@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "whole number"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "one of always_on"),
            ("OTEL_RESOURCE_ATTRIBUTES", "oops", "name=value"),
        ] {
            let problem = load(&[BASE, (variable, value)]).unwrap_err();
            assert!(problem.contains(says) && !problem.contains("u:p"), "{problem}");
            // Where nothing is sent they are other programs' affair.
            if variable != BASE.0 {
                assert!(load(&[(variable, value)]).is_ok(), "{variable}");
            }
        }
        let ratio = [BASE, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(load(&ratio).unwrap_err().contains("0 to 1"));
    }

    #[test]
    fn headers_are_percent_decoded_and_never_printed() {
        let read = |text: &'static str| {
            OtlpHeaders::read(move |name| {
                (name == "OTEL_EXPORTER_OTLP_HEADERS").then(|| Zeroizing::new(text.to_owned()))
            })
        };
        let headers = read("Authorization=Basic%20CANARY==, x-team=a").unwrap();
        assert_eq!(headers.traces["authorization"], "Basic CANARY==");
        assert_eq!(headers.metrics["x-team"], "a");
        assert!(!format!("{headers:?} {:?}", headers.traces).contains("CANARY"));
        let problem = read("x=CANARY%0a").unwrap_err().to_string();
        assert!(problem.contains("OTEL_EXPORTER_OTLP_HEADERS") && !problem.contains("CANARY"), "{problem}");
    }
}
