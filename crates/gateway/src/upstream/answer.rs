//! An upstream's answer in one piece, as the client's.

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use journal::{CountedUsage, Provenance};
use providers::names::Names;
use providers::{ChatCodec, Embedded, EmbeddingsCodec, Reply};
use serde_json::Value;
use wire::embeddings::EmbeddingsRequest;
use wire::error::ApiError;
use wire::raw::RawObject;
use wire::usage::Usage;

use super::request::Format;
use super::{Asking, SuccessBody, embeddings, upstream_id};
use crate::call::Call;
use crate::decoded::Decoded;
use crate::dialect::Passage;
use crate::error::ServeError;
use crate::estimate::{Lengths, characters, written};
use crate::{limits, reasoning};

pub(super) async fn whole(
    asking: &Asking<'_>,
    response: Response<Decoded>,
) -> Result<SuccessBody, ServeError> {
    let (is_json, id) = (content_type_is_json(&response), upstream_id(&response));
    let bytes = asking.read(response.into_body(), asking.longest()).await?;
    match &asking.prepared.format {
        Format::Chat { codec, names } => translated(asking, *codec, names, id, &bytes),
        Format::Native { passage, .. } => native(asking, passage, bytes),
        Format::Unified(_) | Format::Embeddings { .. } => passed(asking, is_json, bytes),
    }
}

/// The unified format: its bytes go on.
fn passed(asking: &Asking<'_>, is_json: bool, bytes: Bytes) -> Result<SuccessBody, ServeError> {
    let object = RawObject::parse(&bytes).map_err(|e| {
        let hint = if is_json { "" } else { " (it is not declared as JSON either)" };
        malformed(asking, format!("{e}{hint}"))
    })?;
    if is_error(&object) {
        let error = Box::new(asking.prepared.error(0, &bytes));
        return Err(ServeError::Upstream { at: asking.at.clone(), error, retry_after: None });
    }
    let usage = object.get::<Usage>("usage").ok().flatten().filter(Usage::is_told);
    // A usage that cannot be read is a missing one.
    let written = object.raw("choices").map(characters);
    let usage = usage.map_or_else(|| estimated(asking.call, written.unwrap_or(0)), reported);
    Ok(SuccessBody::Whole { usage: Some(usage), written, body: bytes })
}

/// The client's own format: its bytes go on.
fn native(asking: &Asking<'_>, passage: &Passage, bytes: Bytes) -> Result<SuccessBody, ServeError> {
    let body: Value = serde_json::from_slice(&bytes).map_err(|e| malformed(asking, e.to_string()))?;
    if !body.is_object() {
        return Err(malformed(asking, "it is no JSON object".to_owned()));
    }
    let is_error = body["type"] == "error" || (body["error"].is_object() && body.get("output").is_none());
    if is_error {
        let error = Box::new(asking.prepared.error(0, &bytes));
        return Err(ServeError::Upstream { at: asking.at.clone(), error, retry_after: None });
    }
    let written = (passage.written)(&body);
    let usage = || {
        if is_still_made(&body) {
            let expected = limits::unseen_answer(asking.gateway, asking.call);
            return Box::new(Lengths::of_request(&asking.call.body).going_on(expected));
        }
        let told = (passage.usage)(&body).filter(Usage::is_told);
        told.map_or_else(|| estimated(asking.call, written), reported)
    };
    let is_free = asking.call.dialect.is_free();
    let (usage, written) = ((!is_free).then(usage), (!is_free).then_some(written));
    let body = match asking.carried() {
        Some(mut carried) => carried.rewritten(bytes),
        None => bytes,
    };
    Ok(SuccessBody::Whole { usage, written, body })
}

/// Whether an answer says that it is made after it was given.
fn is_still_made(answer: &Value) -> bool {
    answer["status"].as_str().is_some_and(|status| ["queued", "in_progress"].contains(&status))
}

fn translated(
    asking: &Asking<'_>,
    codec: &dyn ChatCodec,
    names: &Names,
    id: Option<String>,
    bytes: &[u8],
) -> Result<SuccessBody, ServeError> {
    let mut response = codec.decode(bytes).map_err(|e| malformed(asking, e.to_string()))?;
    names.restore_response(&mut response);
    reasoning::mark_response(&mut response, &asking.entity.mark);
    let origin = asking.origin(id);
    if response.id.is_empty() {
        response.id = origin.id;
    }
    if response.created == 0 {
        response.created = origin.created;
    }
    if response.model.is_empty() {
        response.model = origin.model;
    }
    let usage = response.usage.clone().filter(Usage::is_told);
    let written = response.choices.iter().map(|choice| written(&choice.message)).sum();
    let usage = usage.map_or_else(|| estimated(asking.call, written), reported);
    let body = asking
        .call
        .dialect
        .reply(&asking.call.body, response)
        .map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(SuccessBody::Whole { usage: Some(usage), written: Some(written), body: body.into() })
}

/// One part of a request for embeddings, which all share `room`.
pub(super) async fn embedded(
    asking: &Asking<'_>,
    codec: &dyn EmbeddingsCodec,
    response: Response<Decoded>,
    room: &embeddings::Room,
) -> Result<Embedded, ServeError> {
    let headers = response.headers().clone();
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let bytes = asking.read(response.into_body(), room.left()).await?;
    if !room.take(bytes.len()) {
        return Err(asking.too_long(embeddings::MAX_EMBEDDINGS));
    }
    codec.decode(&Reply { body: &bytes, header: &header }).map_err(|e| malformed(asking, e.to_string()))
}

/// The parts as one answer.
pub(super) fn merged(
    asking: &Asking<'_>,
    request: &EmbeddingsRequest,
    parts: Vec<Embedded>,
) -> Result<SuccessBody, ServeError> {
    let (mut response, tokens) = embeddings::merge(&asking.entity.model, request, parts)
        .map_err(|reason| malformed(asking, reason))?;
    let told = tokens.map(|tokens| Usage::new(tokens, 0)).filter(Usage::is_told);
    let usage = told.map_or_else(|| estimated(asking.call, 0), reported);
    // The format has its usage always; where it is an estimate, the record says so.
    response.usage.get_or_insert_with(|| embeddings::usage(usage.usage.prompt_tokens));
    let body = serde_json::to_vec(&response).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(SuccessBody::Whole { usage: Some(usage), written: None, body: body.into() })
}

fn malformed(asking: &Asking<'_>, reason: String) -> ServeError {
    asking.broken(format!("the upstream's answer cannot be read: {reason}"))
}

/// Some engines answer 200 with an error in place of what was asked for.
fn is_error(answer: &RawObject<'_>) -> bool {
    let has = |key: &str| answer.raw(key).is_some_and(|raw| raw.get() != "null");
    let says = has("error") || answer.get::<&str>("object").is_ok_and(|kind| kind == Some("error"));
    says && !has("choices") && !has("data")
}

fn estimated(call: &Call<'_>, answer: u64) -> Box<CountedUsage> {
    Box::new(Lengths { answer, ..call.lengths() }.counted())
}

fn content_type_is_json(response: &Response<Decoded>) -> bool {
    let value = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    value.is_some_and(|v| v.contains("json"))
}

fn reported(usage: Usage) -> Box<CountedUsage> {
    Box::new(CountedUsage { usage, provenance: Provenance::Provider })
}
