//! What telemetry tells of a call: its parameters, its answer's own words about itself, its place in a
//! trace. Never a prompt and never an answer.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use journal::inference::{Request, Response, Upstream};
use journal::trace::{SpanId, TraceContext};
use policy::{Entity, PrincipalKind};
use providers::{NativeCall, Task};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wire::raw::RawObject;

use crate::call::Call;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// More of them, and longer ones, are not told.
const MAX_STOP_SEQUENCES: usize = 16;
const MAX_STOP_SEQUENCE: usize = 64;

const MAX_TOKENS: [&str; 5] =
    ["max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens", "maxTokens"];

pub(crate) fn span_id() -> SpanId {
    SpanId(fastrand::u64(1..).to_be_bytes())
}

/// Puts the place of one attempt in the trace into the headers of its request.
pub(crate) fn propagate(trace: &TraceContext, span: SpanId, headers: &mut HeaderMap) {
    // Digits and hyphens, and a state whose bytes were checked.
    if let Ok(value) = HeaderValue::from_str(&trace.traceparent(span)) {
        headers.insert(TRACEPARENT, value);
    }
    if let Some(value) = trace.state.as_deref().and_then(|state| HeaderValue::from_str(state).ok()) {
        headers.insert(TRACESTATE, value);
    }
}

pub(crate) fn upstream(call: &Call<'_>, entity: &Entity, span_id: SpanId) -> Upstream {
    let uri = &entity.destination(call.stream).uri;
    let standard = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    Upstream {
        span_id,
        provider: entity.provider.telemetry_name().unwrap_or(entity.provider_name),
        model: entity.model.as_str().into(),
        address: uri.host().unwrap_or_default().to_owned(),
        port: uri.port_u16().unwrap_or(standard),
    }
}

pub(crate) fn request(call: &Call<'_>) -> Request {
    let body = &call.body;
    let config = config(body);
    let inner = config.as_ref();
    Request {
        operation: operation(call),
        choices: first(body, inner, &["n", "candidateCount"]),
        max_tokens: first(body, inner, &MAX_TOKENS),
        temperature: first(body, inner, &["temperature"]),
        top_p: first(body, inner, &["top_p", "topP"]),
        top_k: top_k(body, inner),
        frequency_penalty: first(body, inner, &["frequency_penalty", "frequencyPenalty"]),
        presence_penalty: first(body, inner, &["presence_penalty", "presencePenalty"]),
        seed: first(body, inner, &["seed"]),
        stop_sequences: stop_sequences(body, inner),
        output_type: output_type(body, inner),
        encoding_format: first(body, None, &["encoding_format"]),
        dimensions: first(body, None, &["dimensions"]),
        config_version: call.endpoint.config_version,
        requester_kind: match call.principal.kind {
            PrincipalKind::User => "user",
            PrincipalKind::ServicePrincipal => "service_principal",
        },
    }
}

/// In some formats the parameters are in an object of their own, and in camel case.
fn config<'s>(body: &'s RawObject<'_>) -> Option<RawObject<'s>> {
    ["generationConfig", "inferenceConfig"].iter().find_map(|name| get(body, name))
}

/// Converse has it among what depends on the model.
fn top_k(body: &RawObject<'_>, inner: Option<&RawObject<'_>>) -> Option<f64> {
    const NAMES: [&str; 2] = ["top_k", "topK"];
    let more: Option<RawObject<'_>> = get(body, "additionalModelRequestFields");
    first(body, inner, &NAMES).or_else(|| first(body, more.as_ref(), &NAMES))
}

fn operation(call: &Call<'_>) -> &'static str {
    if call.dialect.counts() {
        return "count_tokens";
    }
    match (call.dialect.passage().map(|passage| passage.call), call.endpoint.task) {
        (Some(NativeCall::GenerateContent), _) => "generate_content",
        (_, Task::Chat) => "chat",
        (_, Task::Completions) => "text_completion",
        (_, Task::Embeddings) => "embeddings",
    }
}

/// A field of another type than one would think is not told.
fn get<'s, T: Deserialize<'s>>(body: &'s RawObject<'_>, name: &str) -> Option<T> {
    body.get(name).ok().flatten()
}

/// The first of `names` that is there, in the body or in `inner`.
fn first<T: DeserializeOwned>(
    body: &RawObject<'_>,
    inner: Option<&RawObject<'_>>,
    names: &[&str],
) -> Option<T> {
    [Some(body), inner].into_iter().flatten().find_map(|o| names.iter().find_map(|name| get(o, name)))
}

fn stop_sequences(body: &RawObject<'_>, inner: Option<&RawObject<'_>>) -> Vec<String> {
    const NAMES: [&str; 3] = ["stop", "stop_sequences", "stopSequences"];
    let one = || first::<String>(body, inner, &NAMES).map(|only| vec![only]);
    let found = first::<Vec<String>>(body, inner, &NAMES).or_else(one).unwrap_or_default();
    found.into_iter().filter(|text| text.len() <= MAX_STOP_SEQUENCE).take(MAX_STOP_SEQUENCES).collect()
}

fn output_type(body: &RawObject<'_>, inner: Option<&RawObject<'_>>) -> Option<&'static str> {
    let format: Option<Value> = get(body, "response_format");
    let text: Option<Value> = get(body, "text");
    let output: Option<Value> = get(body, "outputConfig");
    let kinds = [
        format.as_ref().map(|f| &f["type"]),
        text.as_ref().map(|t| &t["format"]["type"]),
        output.as_ref().map(|o| &o["textFormat"]["type"]),
    ];
    let kind = kinds.into_iter().flatten().find_map(Value::as_str);
    let mime: Option<String> = inner.and_then(|inner| get(inner, "responseMimeType"));
    match (kind, mime.as_deref()) {
        (Some("json_object" | "json_schema"), _) | (_, Some("application/json")) => Some("json"),
        (Some("text"), _) | (_, Some("text/plain")) => Some("text"),
        _ => None,
    }
}

/// What an answer, or an event of one, says of itself, in the words of every format.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow, alias = "responseId")]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "modelVersion")]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "stopReason")]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "candidates")]
    choices: Option<Vec<Ended<'a>>>,
}

#[derive(Deserialize)]
struct Ended<'a> {
    #[serde(borrow, alias = "finishReason")]
    finish_reason: Option<Cow<'a, str>>,
}

impl Told<'_> {
    fn note(self, response: &mut Response) {
        let owned = |text: Cow<'_, str>| Some(text.into_owned()).filter(|text| !text.is_empty());
        response.id = response.id.take().or_else(|| self.id.and_then(owned));
        response.model = response.model.take().or_else(|| self.model.and_then(owned));
        let status = self.status.filter(|status| {
            self.object.as_deref() == Some("response") && !["in_progress", "queued"].contains(&&**status)
        });
        let choices = self.choices.into_iter().flatten().filter_map(|choice| choice.finish_reason);
        let reasons = self.stop_reason.into_iter().chain(status).chain(choices);
        reasons.for_each(|reason| response.finish_reasons.note(&reason));
    }
}

/// What a whole answer says of itself.
pub(crate) fn response(body: &[u8]) -> Response {
    let mut response = Response::default();
    if let Ok(told) = serde_json::from_slice::<Told<'_>>(body) {
        told.note(&mut response);
    }
    response
}

/// The same of one event of an answer.
pub(crate) fn note(response: &mut Response, event: &Value) {
    let inner = ["message", "response"].iter().map(|key| &event[*key]).find(|inner| inner.is_object());
    let parts = [Some(inner.unwrap_or(event)), Some(&event["delta"]).filter(|delta| delta.is_object())];
    for part in parts.into_iter().flatten() {
        if let Ok(told) = Told::deserialize(part) {
            told.note(response);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::inference::FinishReasons;
    use serde_json::json;

    fn told(events: &[Value]) -> Response {
        let mut response = Response::default();
        events.iter().for_each(|event| note(&mut response, event));
        response
    }

    fn expected(id: &str, reasons: &[&str]) -> Response {
        let mut finish_reasons = FinishReasons::default();
        reasons.iter().for_each(|reason| finish_reasons.note(reason));
        Response { id: Some(id.to_owned()), model: Some("m".to_owned()), finish_reasons, gaps: None }
    }

    #[test]
    fn whole_answers_of_every_format_tell_of_themselves() {
        for (body, id, reasons) in [
            (
                json!({"id": "a", "model": "m", "choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]}),
                "a",
                &["stop", "length"][..],
            ),
            (
                json!({"type": "message", "id": "b", "model": "m", "stop_reason": "end_turn", "content": []}),
                "b",
                &["end_turn"],
            ),
            (
                json!({"object": "response", "id": "c", "model": "m", "status": "completed", "output": []}),
                "c",
                &["completed"],
            ),
            (
                json!({"responseId": "d", "modelVersion": "m", "candidates": [{"finishReason": "STOP"}]}),
                "d",
                &["STOP"],
            ),
        ] {
            assert_eq!(response(body.to_string().as_bytes()), expected(id, reasons));
        }
        let turn = response(br#"{"output": {"message": {}}, "stopReason": "end_turn", "usage": {}}"#);
        assert_eq!(*turn.finish_reasons, ["end_turn"]);
        assert_eq!(response(b"[]"), Response::default());
    }

    #[test]
    fn events_of_every_format_add_up() {
        let messages = [
            json!({"type": "message_start", "message": {"id": "b", "model": "m", "stop_reason": null}}),
            json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        ];
        assert_eq!(told(&messages), expected("b", &["end_turn"]));
        let responses = [
            json!({"type": "response.created",
                "response": {"object": "response", "id": "c", "model": "m", "status": "in_progress"}}),
            json!({"type": "response.output_text.delta", "delta": "x"}),
            json!({"type": "response.completed",
                "response": {"object": "response", "id": "c", "model": "m", "status": "completed"}}),
        ];
        assert_eq!(told(&responses), expected("c", &["completed"]));
        let candidates = [
            json!({"responseId": "d", "modelVersion": "m", "candidates": [{"content": {}}]}),
            json!({"responseId": "d", "modelVersion": "m", "candidates": [{"finishReason": "STOP"}]}),
        ];
        assert_eq!(told(&candidates), expected("d", &["STOP"]));
        let turn = [json!({"role": "assistant"}), json!({"stopReason": "max_tokens"}), json!({"usage": {}})];
        assert_eq!(*told(&turn).finish_reasons, ["max_tokens"]);
    }

    #[test]
    fn parameters_are_found_whatever_they_are_called() {
        let object = |value: &Value| value.to_string();
        let gemini = object(
            &json!({"generationConfig": {"topK": 3, "stopSequences": ["x"], "responseMimeType": "application/json"}}),
        );
        let body = RawObject::parse(gemini.as_bytes()).unwrap();
        let config = config(&body);
        assert_eq!(top_k(&body, config.as_ref()), Some(3.0));
        assert_eq!(stop_sequences(&body, config.as_ref()), ["x"]);
        assert_eq!(output_type(&body, config.as_ref()), Some("json"));
        let converse = object(
            &json!({"inferenceConfig": {"maxTokens": 9, "topP": 0.5, "stopSequences": ["x"]},
            "additionalModelRequestFields": {"top_k": 3}, "outputConfig": {"textFormat": {"type": "json_schema"}}}),
        );
        let body = RawObject::parse(converse.as_bytes()).unwrap();
        let inner = super::config(&body);
        let bound = first::<i64>(&body, inner.as_ref(), &MAX_TOKENS);
        assert_eq!((top_k(&body, inner.as_ref()), bound), (Some(3.0), Some(9)));
        assert_eq!(stop_sequences(&body, inner.as_ref()), ["x"]);
        assert_eq!(output_type(&body, inner.as_ref()), Some("json"));
        let long = "y".repeat(MAX_STOP_SEQUENCE + 1);
        let chat = object(&json!({"stop": [long, "x"], "seed": "odd", "response_format": {"type": "text"}}));
        let body = RawObject::parse(chat.as_bytes()).unwrap();
        assert_eq!(stop_sequences(&body, None), ["x"]);
        assert_eq!(first::<i64>(&body, None, &["seed"]), None);
        assert_eq!(output_type(&body, None), Some("text"));
    }
}
