//! Trace context, and spans and metrics over OTLP.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::world::client::{Answer, Client, invocations};
use crate::world::collector::messages::{Data, HistogramPoint, Span};
use crate::world::collector::{Collector, attributes};
use crate::world::{PATIENCE, Server, World, chat, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const CANARY: &str = "CANARY-of-the-prompt";

async fn traced(client: &Client, endpoint: &str, stream: bool, flags: &str) -> Answer {
    let mut body = chat(stream);
    body["messages"][0]["content"] = CANARY.into();
    body["temperature"] = 0.5.into();
    body["max_tokens"] = 50.into();
    let mut request = client.request(Method::POST, &invocations(endpoint), body.to_string());
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    request.headers_mut().insert("traceparent", parent.parse().unwrap());
    request.headers_mut().insert("tracestate", "vendor=1".parse().unwrap());
    client.open(request).await.read().await
}

async fn serve(world: &World, collector: &Collector, more: &[(&str, &str)]) -> Server {
    let usual = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_SERVICE_NAME", "gate"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a%20b"),
    ];
    world.serve(&[&usual, more].concat()).await
}

/// The first entity fails, the second answers.
fn falling_back(world: &World) -> Value {
    let entity = |name: &str, model: &str| {
        let mut entity = world.chat_config(model)["served_entities"][0].clone();
        entity["name"] = name.into();
        entity
    };
    let route = |name: &str, share: u32| json!({"served_model_name": name, "traffic_percentage": share});
    json!({"name": "falls", "ai_gateway": {"fallback_config": {"enabled": true}}, "config": {
        "served_entities": [entity("first", "fail-500"), entity("second", "gpt")],
        "traffic_config": {"routes": [route("first", 100), route("second", 0)]}}})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_kind(spans: &[Span], kind: i32) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

#[tokio::test]
async fn a_call_is_a_server_span_with_a_client_span_for_each_attempt() {
    let world = World::shared().await;
    let collector = Collector::start().await;
    let server = serve(&world, &collector, &[]).await;
    let made = server.client.post("/api/2.0/serving-endpoints", &falling_back(&world)).await;
    assert_eq!(made.status, 200, "{made:?}");
    let answer = traced(&server.client, "falls", false, "01").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let spans = collector.some_spans(3).await;
    let (servers, clients) = (of_kind(&spans, 2), of_kind(&spans, 3));
    assert_eq!((servers.len(), clients.len()), (1, 2));
    for span in &spans {
        assert_eq!((hex(&span.trace_id).as_str(), span.trace_state.as_str()), (TRACE, "vendor=1"));
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
    }
    assert_eq!(hex(&servers[0].parent_span_id), PARENT);
    assert_eq!((servers[0].name.as_str(), servers[0].flags), ("chat falls", 0x301));
    let upstream: Vec<_> = world.ledger.requests();
    for (client, record) in clients.iter().zip(&upstream) {
        assert_eq!(client.parent_span_id, servers[0].span_id);
        let sent = format!("00-{TRACE}-{}-01", hex(&client.span_id));
        assert_eq!(
            (&record.headers["traceparent"], record.headers["tracestate"].as_str()),
            (&sent, "vendor=1")
        );
        assert!(client.start_time_unix_nano >= servers[0].start_time_unix_nano);
        assert!(client.end_time_unix_nano <= servers[0].end_time_unix_nano);
    }
    let (failed, good) = (attributes(&clients[0].attributes), attributes(&clients[1].attributes));
    assert_eq!((failed["error.type"].as_str(), failed["dbx.fallback.attempt"].as_str()), ("500", "0"));
    assert_eq!(clients[0].status.as_ref().unwrap().code, 2);
    assert!(clients[1].status.is_none() && !good.contains_key("error.type"));
    let port = world.simulator.rsplit_once(':').unwrap().1;
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt"),
        ("gen_ai.request.temperature", "0.5"),
        ("gen_ai.request.max_tokens", "50"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("server.address", "127.0.0.1"),
        ("server.port", port),
        ("dbx.served_entity.name", "second"),
        ("dbx.fallback.attempt", "1"),
        ("dbx.usage.estimated", "false"),
    ] {
        assert_eq!(good.get(name).map(String::as_str), Some(value), "{name}: {good:?}");
    }
    let usage = &answer.json()["usage"];
    assert_eq!(good["gen_ai.usage.input_tokens"], usage["prompt_tokens"].to_string());
    assert_eq!(good["gen_ai.usage.output_tokens"], usage["completion_tokens"].to_string());
    assert_eq!(good["gen_ai.response.id"], answer.json()["id"].as_str().unwrap());
    let whole = attributes(&servers[0].attributes);
    assert_eq!(
        (whole["dbx.request.id"].as_str(), whole["dbx.requester.kind"].as_str()),
        (answer.request_id(), "user")
    );
    let resource = collector.resource();
    assert_eq!((resource["service.name"].as_str(), resource["team"].as_str()), ("gate", "a b"));
}

#[tokio::test]
async fn a_stream_is_a_span_to_its_end_and_no_text_is_told() {
    let world = World::shared().await;
    let collector = Collector::start().await;
    let server = serve(&world, &collector, &[]).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    let answer = traced(&server.client, "e", true, "01").await;
    assert!(answer.text.contains(CANARY), "the simulator echoes: {answer:?}");
    let spans = collector.some_spans(2).await;
    let (servers, clients) = (of_kind(&spans, 2), of_kind(&spans, 3));
    assert_eq!(clients[0].end_time_unix_nano, servers[0].end_time_unix_nano);
    let client = attributes(&clients[0].attributes);
    assert_eq!(client["gen_ai.request.stream"], "true");
    assert!(client["gen_ai.response.time_to_first_chunk"].parse::<f64>().unwrap() > 0.0);
    assert_eq!(client["gen_ai.response.finish_reasons"], "stop");
    server.process.stop().await;
    assert!(!collector.metrics().is_empty());
    for secret in [CANARY, "sk-upstream", world.admin_token().as_str()] {
        assert!(!collector.has_seen(secret), "{secret}");
    }
}

#[tokio::test]
async fn metrics_have_the_names_units_and_buckets_of_the_convention() {
    let world = World::shared().await;
    let collector = Collector::start().await;
    let server = serve(&world, &collector, &[("OTEL_TRACES_EXPORTER", "none")]).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    server.client.create("bad", &world.chat_config("fail-500")).await;
    for (endpoint, stream) in [("e", false), ("e", true), ("bad", false)] {
        traced(&server.client, endpoint, stream, "01").await;
    }
    // What is known at the end is sent at the end.
    server.process.stop().await;
    assert!(collector.spans().is_empty());
    let metrics = collector.metrics();
    let points = |name: &str| -> (String, Vec<HistogramPoint>) {
        let metric = metrics.iter().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("no {name} in {metrics:#?}"));
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        assert_eq!(histogram.aggregation_temporality, 2);
        (metric.unit.clone(), histogram.data_points.clone())
    };
    for (name, unit, bounds, first, calls) in [
        ("gen_ai.client.token.usage", "{token}", 14, 1.0, 4),
        ("gen_ai.client.operation.duration", "s", 14, 0.01, 3),
        ("gen_ai.client.operation.time_to_first_chunk", "s", 14, 0.01, 1),
        ("gen_ai.server.request.duration", "s", 14, 0.01, 3),
        ("gen_ai.server.time_per_output_token", "s", 13, 0.01, 1),
        ("gen_ai.server.time_to_first_token", "s", 16, 0.001, 1),
    ] {
        let (found, points) = points(name);
        assert_eq!(found, unit, "{name}");
        assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), calls, "{name}");
        for point in &points {
            assert_eq!((point.explicit_bounds.len(), point.explicit_bounds[0]), (bounds, first), "{name}");
            assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count, "{name}");
            let labels = attributes(&point.attributes);
            assert!(
                labels.contains_key("gen_ai.operation.name") && labels["gen_ai.provider.name"] == "openai"
            );
        }
    }
    let (_, durations) = points("gen_ai.client.operation.duration");
    let errors = durations.iter().filter_map(|point| attributes(&point.attributes).remove("error.type"));
    assert_eq!(errors.collect::<Vec<_>>(), ["500"]);
}

#[tokio::test]
async fn the_newest_names_are_spoken_when_asked_for() {
    let world = World::shared().await;
    let collector = Collector::start().await;
    let newest = [("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")];
    let server = serve(&world, &collector, &newest).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    server.client.ask("e", false).await;
    server.process.stop().await;
    let names: Vec<_> = collector.metrics().into_iter().map(|metric| metric.name).collect();
    assert!(names.contains(&"gen_ai.client.inference.duration".to_owned()), "{names:?}");
    assert!(names.contains(&"gen_ai.client.inference.usage.input_tokens".to_owned()), "{names:?}");
    assert!(!names.contains(&"gen_ai.client.token.usage".to_owned()), "{names:?}");
}

#[tokio::test]
async fn the_caller_s_decision_not_to_record_is_kept_and_told() {
    let world = World::shared().await;
    let collector = Collector::start().await;
    let server = serve(&world, &collector, &[]).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    traced(&server.client, "e", false, "00").await;
    assert!(world.ledger.requests()[0].headers["traceparent"].ends_with("-00"));
    server.client.ask("e", false).await;
    server.process.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE));
}

/// There is no word for it in the conventions, and it is no chat.
#[tokio::test]
async fn a_kept_response_that_is_read_has_no_span_and_takes_no_context_along() {
    let world = World::shared().await;
    let collector = Collector::start().await;
    let server = serve(&world, &collector, &[]).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    let path = "/ai-gateway/openai/v1/responses";
    let made = server.client.post(path, &json!({"model": "e", "input": "hi"})).await.json();
    let kept = format!("{path}/{}", made["id"].as_str().unwrap());
    assert_eq!(server.client.get(&kept).await.status, 200);
    let sent: Vec<bool> =
        world.ledger.requests().iter().map(|record| record.headers.contains_key("traceparent")).collect();
    assert_eq!(sent, [true, false]);
    server.process.stop().await;
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test]
async fn without_a_collector_nothing_goes_out_and_the_log_has_the_trace() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    traced(&server.client, "e", false, "01").await;
    let headers = &world.ledger.requests()[0].headers;
    assert!(!headers.contains_key("traceparent") && !headers.contains_key("tracestate"));
    let done = server.process.stop().await;
    let lines = done.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let settled = lines.into_iter().find(|line| line["message"] == "call settled").unwrap();
    assert_eq!(settled["trace_id"], TRACE);
    assert_eq!(settled["span"]["trace_id"], TRACE);
}

#[tokio::test]
async fn context_is_passed_on_without_a_collector_when_told_to() {
    let world = World::shared().await;
    let server = world.serve(&[("TOLLGATE_TELEMETRY__PROPAGATE", "always")]).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    traced(&server.client, "e", false, "01").await;
    let sent = world.ledger.requests()[0].headers["traceparent"].clone();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && !sent.contains(PARENT), "{sent}");
}

#[tokio::test]
async fn a_busy_collector_is_asked_again_with_its_headers() {
    let world = World::shared().await;
    let collector = Collector::start().await;
    collector.be_busy(1);
    collector.reject(1);
    let more = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret-of-otlp,x-team=a"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("TOLLGATE_LOG__LEVEL", "trace"),
    ];
    let server = serve(&world, &collector, &more).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    server.client.ask("e", false).await;
    collector.some_spans(2).await;
    let headers = collector.headers();
    assert_eq!(
        (&headers[0]["authorization"], &headers[0]["x-team"]),
        (&"Bearer s3cret-of-otlp".parse().unwrap(), &"a".parse().unwrap())
    );
    assert_eq!(headers[0]["content-type"], "application/x-protobuf");
    let counted = async || {
        let metrics = server.client.get("/metrics").await.text;
        let has = |outcome: &str| {
            metrics.contains(&format!("tollgate_telemetry_spans_total{{outcome=\"{outcome}\"}} 1\n"))
        };
        (has("exported") && has("failed")).then_some(())
    };
    assert!(eventually(PATIENCE, counted).await.is_some(), "one span was taken and one was not");
    let done = server.process.stop().await;
    assert!(!done.stderr.contains("s3cret-of-otlp"));
}

#[tokio::test]
async fn a_collector_that_hangs_slows_nobody_and_does_not_hold_the_end() {
    let world = World::alone().await;
    // It takes connections and never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let server = world
        .serve(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ])
        .await;
    server.client.create("e", &world.chat_config("gpt")).await;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(server.client.ask("e", false).await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    let metrics = server.client.get("/metrics").await.text;
    let dropped =
        metrics.lines().find(|line| line.starts_with("tollgate_telemetry_spans_total{outcome=\"dropped\"}"));
    let dropped: u32 =
        dropped.unwrap_or_else(|| panic!("{metrics}")).rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((2..=40).contains(&dropped), "{dropped}");
    let began = Instant::now();
    let done = server.process.stop().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(done.stderr.contains("the collector did not take all spans before the end"), "{}", done.stderr);
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_told_of_once() {
    let world = World::shared().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "50"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_METRICS_EXPORTER", "none"),
    ];
    let server = world.serve(&variables).await;
    server.client.create("e", &world.chat_config("gpt")).await;
    for _ in 0..3 {
        assert_eq!(server.client.ask("e", false).await.status, 200);
        let failed = |line: &str| line.contains("the collector did not take spans");
        server.process.stderr.until("the collector did not take", failed).await;
    }
    let done = server.process.stop().await;
    assert_eq!(done.stderr.matches("the collector did not take spans").count(), 1, "{}", done.stderr);
}
