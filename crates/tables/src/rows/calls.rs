//! Rows of `<prefix>_payload` and of `system.serving.endpoint_usage`.

use std::collections::BTreeMap;

use bytes::Bytes;
use journal::{Call, Captured, CountedUsage, Outcome};
use serde::Serialize;
use wire::counts::TokenKind;

use super::guards::{Verdict, verdicts};
use super::{EntityIds, Row, Workspace, by_kind, count, day, micros, overhead, status, whole};
use crate::stream;

/// What was asked and what was answered.
#[derive(Debug, Serialize)]
pub(crate) struct PayloadRow {
    databricks_request_id: String,
    request_date: i32,
    client_request_id: Option<String>,
    request_time: i64,
    status_code: Option<i32>,
    sampling_fraction: f64,
    execution_duration_ms: Option<i64>,
    #[serde(skip)]
    bodies: [(&'static str, Option<Bytes>); 2],
    logging_error_codes: Vec<&'static str>,
    served_entity_id: Option<String>,
    requester: String,
    endpoint_name: String,
    served_entity_name: Option<String>,
    outcome: &'static str,
    request_tags: BTreeMap<String, String>,
    path: String,
    time_to_first_byte_ms: Option<i64>,
    destination_model: Option<String>,
}

impl PayloadRow {
    pub(super) fn new<'a>(call: &'a Call, ids: &mut EntityIds<'a>) -> Self {
        let (admission, settlement) = (&call.admission, &call.settlement);
        let payload = settlement.payload.as_deref().cloned().unwrap_or_default();
        let mut codes = Vec::new();
        // One that the client left is a stream as well, as far as it came.
        let is_stream = matches!(settlement.status, 200 | 499) && admission.stream;
        let read = if is_stream { |bytes: Bytes| stream::aggregate(&bytes).into() } else { utf8 };
        let request = text(payload.request, utf8, "MAX_REQUEST_SIZE_EXCEEDED", &mut codes);
        let response = text(payload.response, read, "MAX_RESPONSE_SIZE_EXCEEDED", &mut codes);
        Self {
            databricks_request_id: admission.request_id.0.to_string(),
            request_date: day(admission.received_at),
            client_request_id: admission.client_request_id.clone(),
            request_time: micros(admission.received_at),
            status_code: status(call),
            sampling_fraction: 1.0,
            execution_duration_ms: execution_ms(call),
            bodies: [("request", request), ("response", response)],
            logging_error_codes: codes,
            served_entity_id: ids.of(call),
            requester: admission.requester.to_string(),
            endpoint_name: admission.endpoint.to_string(),
            served_entity_name: settlement.entity.as_deref().map(str::to_owned),
            outcome: settlement.outcome.as_str(),
            request_tags: admission.request_tags.clone(),
            path: admission.path.clone(),
            time_to_first_byte_ms: settlement.first_byte_ms.map(whole),
            destination_model: settlement.model.clone(),
        }
    }
}

impl Row for PayloadRow {
    fn day(&self) -> Option<i32> {
        Some(self.request_date)
    }

    fn bodies(&self) -> &[(&'static str, Option<Bytes>)] {
        &self.bodies
    }
}

fn text(
    body: Captured,
    read: fn(Bytes) -> Bytes,
    too_long: &'static str,
    codes: &mut Vec<&'static str>,
) -> Option<Bytes> {
    match body {
        Captured::Absent => None,
        Captured::Whole(bytes) => Some(read(bytes)),
        Captured::TooLong => {
            codes.push(too_long);
            None
        }
        Captured::Dropped => {
            if !codes.contains(&"JOURNAL_FULL") {
                codes.push("JOURNAL_FULL");
            }
            None
        }
    }
}

/// What is text already is not copied.
fn utf8(bytes: Bytes) -> Bytes {
    if std::str::from_utf8(&bytes).is_ok() {
        return bytes;
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// How long the model took: a stream's from the start of the attempt to its end.
fn execution_ms(call: &Call) -> Option<i64> {
    let last = call.settlement.attempts.last()?;
    let streams = call.admission.stream && last.status.is_some_and(|status| status < 400);
    let to_the_end = (call.settlement.duration_ms - last.began_ms).max(last.duration_ms);
    Some(whole(if streams { to_the_end } else { last.duration_ms }))
}

/// A call of a serving endpoint.
#[derive(Debug, Serialize)]
pub(crate) struct UsageRow {
    account_id: String,
    workspace_id: String,
    client_request_id: Option<String>,
    databricks_request_id: String,
    requester: String,
    status_code: Option<i32>,
    request_time: i64,
    input_token_count: Option<i64>,
    output_token_count: Option<i64>,
    input_character_count: Option<i64>,
    output_character_count: Option<i64>,
    usage_context: BTreeMap<String, String>,
    request_streaming: bool,
    served_entity_id: Option<String>,
    request_date: i32,
    endpoint_name: String,
    served_entity_name: Option<String>,
    outcome: &'static str,
    usage_provenance: Option<&'static str>,
    cache_read_input_tokens: Option<i64>,
    cache_creation_input_tokens: Option<i64>,
    output_reasoning_tokens: Option<i64>,
    duration_ms: Option<f64>,
    time_to_first_byte_ms: Option<f64>,
    gateway_overhead_ms: Option<f64>,
    attempts: i32,
    cost_nano_usd: Option<i64>,
    price_version: Option<String>,
    guardrails: Vec<Verdict>,
    token_counts: Option<BTreeMap<&'static str, i64>>,
    model: Option<String>,
    provider: Option<String>,
}

impl UsageRow {
    pub(super) fn new<'a>(call: &'a Call, workspace: &Workspace, ids: &mut EntityIds<'a>) -> Self {
        let (admission, settlement) = (&call.admission, &call.settlement);
        let counted = settlement.usage.as_ref();
        let tokens = counted.map(CountedUsage::tokens);
        let was_aborted = settlement.outcome == Outcome::Aborted;
        Self {
            account_id: workspace.account_id.clone(),
            workspace_id: workspace.workspace_id.clone(),
            client_request_id: admission.client_request_id.clone(),
            databricks_request_id: admission.request_id.0.to_string(),
            requester: admission.requester.to_string(),
            status_code: status(call),
            request_time: micros(admission.received_at),
            input_token_count: tokens.map(|tokens| count(tokens.input())),
            output_token_count: tokens.map(|tokens| count(tokens.output())),
            input_character_count: admission.input_characters.map(count),
            output_character_count: settlement.output_characters.map(count),
            usage_context: admission.usage_context.clone(),
            request_streaming: admission.stream,
            served_entity_id: ids.of(call),
            request_date: day(admission.received_at),
            endpoint_name: admission.endpoint.to_string(),
            served_entity_name: settlement.entity.as_deref().map(str::to_owned),
            outcome: settlement.outcome.as_str(),
            usage_provenance: counted.map(|counted| counted.provenance.as_str()),
            cache_read_input_tokens: tokens.map(|tokens| count(tokens.cache_read())),
            cache_creation_input_tokens: tokens.map(|tokens| count(tokens.cache_write())),
            output_reasoning_tokens: tokens.map(|tokens| count(tokens.get(TokenKind::Reasoning))),
            duration_ms: Some(settlement.duration_ms).filter(|_| !was_aborted),
            time_to_first_byte_ms: settlement.first_byte_ms,
            gateway_overhead_ms: overhead(call),
            attempts: i32::try_from(settlement.attempts.len()).unwrap_or(i32::MAX),
            cost_nano_usd: settlement.cost.as_ref().map(|cost| count(cost.nano_usd)),
            price_version: settlement.cost.as_ref().map(|cost| cost.prices.to_string()),
            guardrails: verdicts(call),
            token_counts: tokens.map(|tokens| by_kind(&tokens)),
            model: settlement.model.clone(),
            provider: settlement.provider.clone(),
        }
    }
}

impl Row for UsageRow {
    fn day(&self) -> Option<i32> {
        Some(self.request_date)
    }
}
