//! Rows of `system.serving.endpoint_usage`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use journal::{Call, CountedUsage, Outcome};
use serde::Serialize;
use wire::counts::TokenKind;

use super::guards::{Verdict, verdicts};
use super::{EntityIds, Row, Workspace, by_kind, count, day, micros, overhead, serialized, status};

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
    request_tags: BTreeMap<String, String>,
    requester_groups: Vec<Arc<str>>,
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
            served_entity_id: ids.of(call).as_deref().map(str::to_owned),
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
            request_tags: admission.request_tags.clone(),
            requester_groups: admission.groups.clone(),
        }
    }
}

impl Row for UsageRow {
    fn day(&self) -> Option<i32> {
        Some(self.request_date)
    }

    fn batch(rows: &[Self], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        serialized(rows, schema)
    }
}
