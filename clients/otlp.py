#!/usr/bin/env python3
"""What a collector gets, read with OpenTelemetry's own messages (`opentelemetry-proto`): a server of this suite's sends to a collector of it."""
import gzip
import importlib.metadata
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest, ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import harness
from harness import *
from processes import Server

print("opentelemetry-proto", importlib.metadata.version("opentelemetry-proto"))
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARY = "canary-of-the-prompt"
MESSAGES = {"/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
            "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse)}
received, raw = {path: [] for path in MESSAGES}, []


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        request, response = MESSAGES[self.path]
        body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["content-type"] == "application/x-protobuf" and self.headers["x-team"] == "a b", self.headers
        raw.append(body)
        received[self.path].append(request.FromString(body))
        answer = response().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def attributes(pairs):
    def value(any_value):
        kind = any_value.WhichOneof("value")
        return [value(v) for v in any_value.array_value.values] if kind == "array_value" else getattr(any_value, kind)
    return {pair.key: value(pair.value) for pair in pairs}


def spans():
    return [span for message in received["/v1/traces"] for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]


def drive(server):
    """One traced call of each kind, then the end of the server, which sends what is left."""
    harness.HOST, harness.TOKEN = server.url, server.token
    with_token = {"Authorization": f"Bearer {server.token}", "traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
    for name, status in (("good", 200), ("bad", 500)):
        body = endpoint_body(f"{PREFIX}-{name}", {"name": "one", "external_model": {
            "name": "echo" if status == 200 else f"m;status={status}", "provider": "openai", "task": "llm/v1/chat",
            "openai_config": {"openai_api_key_plaintext": PROVIDER_KEY, "openai_api_base": UPSTREAM + "/v1"}}})
        call("POST", ENDPOINTS, body, token=server.token).ok()
    question = {"messages": [{"role": "user", "content": CANARY}], "max_tokens": 20, "temperature": 0.5, "stop": ["END"]}
    for name, stream in (("good", False), ("good", True), ("bad", False)):
        call("POST", f"/serving-endpoints/{PREFIX}-{name}/invocations", {**question, "stream": stream}, headers=with_token)


collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=collector.serve_forever, daemon=True).start()
settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}", "OTEL_EXPORTER_OTLP_HEADERS": "x-team=a%20b",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_SERVICE_NAME": "gate", "OTEL_RESOURCE_ATTRIBUTES": "team=x"}
with Server(Path(os.environ["TMPDIR"]), UPSTREAM, settings) as server:
    drive(server)


@check("three calls are three server spans of the caller's trace, each with a client span below it")
def tree():
    servers = [span for span in spans() if span.kind == Span.SPAN_KIND_SERVER]
    clients = {span.parent_span_id: span for span in spans() if span.kind == Span.SPAN_KIND_CLIENT}
    assert len(servers) == 3 and set(clients) == {span.span_id for span in servers}, spans()
    for span in spans():
        assert span.trace_id.hex() == TRACE and span.trace_state == "vendor=1" and len(span.span_id) == 8, span
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
        assert span.flags & 0x101 == 0x101, span
    assert {span.parent_span_id.hex() for span in servers} == {PARENT}
    assert all(span.flags & 0x200 for span in servers) and not any(span.flags & 0x200 for span in clients.values())
    sent = {request["headers"]["traceparent"] for request in ledger() if request["headers"].get("traceparent")}
    assert {f"00-{TRACE}-{span.span_id.hex()}-01" for span in clients.values()} <= sent, sent


@check("client spans have the attributes of the GenAI conventions, with their types")
def conventions():
    clients = [span for span in spans() if span.kind == Span.SPAN_KIND_CLIENT]
    good, streamed, bad = (attributes(span.attributes) for span in clients)
    port = int(UPSTREAM.rsplit(":", 1)[1])
    for found in (good, streamed):
        expected = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "echo", "gen_ai.request.max_tokens": 20,
                    "gen_ai.request.temperature": 0.5, "gen_ai.request.stop_sequences": ["END"], "gen_ai.response.finish_reasons": ["stop"],
                    "server.address": "127.0.0.1", "server.port": port, "dbx.usage.estimated": False, "dbx.fallback.attempt": 0}
        assert expected.items() <= found.items(), found
        assert found["gen_ai.usage.input_tokens"] > 0 and found["gen_ai.usage.output_tokens"] > 0 and found["gen_ai.response.id"], found
    assert streamed["gen_ai.request.stream"] is True and streamed["gen_ai.response.time_to_first_chunk"] > 0, streamed
    assert bad["error.type"] == "500" and clients[2].status.code == Status.STATUS_CODE_ERROR, clients[2]
    assert clients[0].name == "chat echo" and clients[0].status.code == Status.STATUS_CODE_UNSET, clients[0]


@check("the resource and the scope say who sends it")
def origin():
    [resource] = {str(message.resource_spans[0].resource) for message in received["/v1/traces"]}
    found = attributes(received["/v1/traces"][0].resource_spans[0].resource.attributes)
    assert found["service.name"] == "gate" and found["team"] == "x" and found["service.version"] and found["service.instance.id"], resource
    scope = received["/v1/traces"][0].resource_spans[0].scope_spans[0]
    assert scope.scope.name == "tollgate" and scope.schema_url == "https://opentelemetry.io/schemas/1.41.1", scope


@check("metrics: histograms of the conventions, cumulative, sent at the end")
def metrics():
    newest = received["/v1/metrics"][-1].resource_metrics[0].scope_metrics[0].metrics
    found = {metric.name: metric for metric in newest}
    counts = {"gen_ai.client.token.usage": 4, "gen_ai.client.operation.duration": 3, "gen_ai.client.operation.time_to_first_chunk": 1,
              "gen_ai.server.request.duration": 3, "gen_ai.server.time_to_first_token": 1}
    for name, count in counts.items():
        histogram = found[name].histogram
        assert histogram.aggregation_temporality == 2 and sum(point.count for point in histogram.data_points) == count, found[name]
        for point in histogram.data_points:
            assert sum(point.bucket_counts) == point.count and len(point.bucket_counts) == len(point.explicit_bounds) + 1, point
            assert point.HasField("sum") and point.min <= point.max and point.start_time_unix_nano < point.time_unix_nano, point
    usage = {(kind, point.sum) for point in found["gen_ai.client.token.usage"].histogram.data_points
             for kind in [attributes(point.attributes)["gen_ai.token.type"]]}
    assert {kind for kind, _ in usage} == {"input", "output"} and all(total > 0 for _, total in usage), usage
    assert found["gen_ai.client.token.usage"].unit == "{token}" and found["gen_ai.client.operation.duration"].unit == "s"


@check("no text of a prompt or an answer, no token and no provider's key is in what was sent")
def content():
    everything = b"".join(raw)
    for secret in (CANARY, server.token, PROVIDER_KEY):
        assert secret.encode() not in everything, secret


finish()
