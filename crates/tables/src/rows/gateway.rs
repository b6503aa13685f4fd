//! Rows of `system.ai_gateway.usage`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use journal::{Attempt, Call, CountedUsage, Outcome, RequesterKind};
use serde::Serialize;
use wire::counts::TokenKind;

use super::endpoints::{Endpoints, Metadata};
use super::guards::{Verdict, verdicts};
use super::{
    DESTINATION_TYPE, EntityIds, Row, Workspace, by_kind, count, day, micros, overhead, serialized, status,
    whole,
};

/// Of Databricks' table, whose columns these are.
const SCHEMA_VERSION: i32 = 1;

/// A call by a path of the AI Gateway.
#[derive(Debug, Serialize)]
pub(crate) struct GatewayRow {
    account_id: String,
    workspace_id: String,
    request_id: String,
    schema_version: i32,
    endpoint_id: String,
    endpoint_name: String,
    endpoint_tags: BTreeMap<String, String>,
    endpoint_metadata: Option<Arc<Metadata>>,
    event_time: i64,
    latency_ms: Option<i64>,
    time_to_first_byte_ms: Option<i64>,
    destination_type: Option<&'static str>,
    destination_name: Option<String>,
    destination_id: Option<String>,
    destination_model: Option<String>,
    requester: String,
    requester_type: &'static str,
    ip_address: Option<String>,
    url: String,
    user_agent: Option<String>,
    api_type: String,
    request_tags: BTreeMap<String, String>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    total_tokens: Option<i64>,
    token_details: Option<TokenDetails>,
    response_content_type: Option<String>,
    status_code: Option<i32>,
    routing_information: Routing,
    invocation_id: String,
    service_type: &'static str,
    service_name: String,
    service_tags: BTreeMap<String, String>,
    event_date: i32,
    outcome: &'static str,
    usage_provenance: Option<&'static str>,
    gateway_overhead_ms: Option<f64>,
    cost_nano_usd: Option<i64>,
    price_version: Option<String>,
    guardrails: Vec<Verdict>,
    token_counts: Option<BTreeMap<&'static str, i64>>,
    model: Option<String>,
    provider: Option<String>,
    usage_context: BTreeMap<String, String>,
    client_request_id: Option<String>,
    requester_groups: Vec<Arc<str>>,
}

#[derive(Debug, Serialize)]
struct TokenDetails {
    cache_read_input_tokens: i64,
    cache_creation_input_tokens: i64,
    output_reasoning_tokens: i64,
}

#[derive(Debug, Serialize)]
struct Routing {
    attempts: Vec<AttemptRow>,
}

#[derive(Debug, Serialize)]
struct AttemptRow {
    priority: String,
    action: &'static str,
    destination: String,
    destination_id: String,
    status_code: Option<i32>,
    error_code: Option<&'static str>,
    latency_ms: i64,
    start_time: i64,
    end_time: i64,
}

impl Row for GatewayRow {
    fn day(&self) -> Option<i32> {
        Some(self.event_date)
    }

    fn batch(rows: &[Self], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        serialized(rows, schema)
    }
}

impl GatewayRow {
    pub(super) fn new<'a>(
        call: &'a Call,
        workspace: &Workspace,
        endpoints: &Endpoints,
        ids: &mut EntityIds<'a>,
    ) -> Self {
        let endpoint = endpoints.get(&*call.admission.endpoint_id);
        let (admission, settlement) = (&call.admission, &call.settlement);
        let counted = settlement.usage.as_ref();
        let tokens = counted.map(CountedUsage::tokens);
        let entity = settlement.entity.as_deref();
        let tags = endpoint.map(|endpoint| endpoint.tags.clone()).unwrap_or_default();
        Self {
            account_id: workspace.account_id.clone(),
            workspace_id: workspace.workspace_id.clone(),
            request_id: admission.request_id.0.to_string(),
            schema_version: SCHEMA_VERSION,
            endpoint_id: admission.endpoint_id.to_string(),
            endpoint_name: admission.endpoint.to_string(),
            endpoint_tags: tags.clone(),
            endpoint_metadata: endpoint.map(|endpoint| Arc::clone(&endpoint.metadata)),
            event_time: micros(admission.received_at),
            latency_ms: (settlement.outcome != Outcome::Aborted).then(|| whole(settlement.duration_ms)),
            time_to_first_byte_ms: settlement.first_byte_ms.map(whole),
            destination_type: entity.map(|_| DESTINATION_TYPE),
            destination_name: entity.map(str::to_owned),
            destination_id: ids.of(call).as_deref().map(str::to_owned),
            destination_model: settlement.model.clone(),
            requester: admission.requester.to_string(),
            requester_type: match admission.requester_kind {
                RequesterKind::User => "USER",
                RequesterKind::ServicePrincipal => "SERVICE_PRINCIPAL",
            },
            ip_address: admission.ip.map(|ip| ip.to_string()),
            url: admission.path.clone(),
            user_agent: admission.user_agent.clone(),
            api_type: api_type(&admission.path),
            request_tags: admission.request_tags.clone(),
            input_tokens: tokens.map(|tokens| count(tokens.input())),
            output_tokens: tokens.map(|tokens| count(tokens.output())),
            total_tokens: tokens.map(|tokens| count(tokens.total())),
            token_details: tokens.map(|tokens| TokenDetails {
                cache_read_input_tokens: count(tokens.cache_read()),
                cache_creation_input_tokens: count(tokens.cache_write()),
                output_reasoning_tokens: count(tokens.get(TokenKind::Reasoning)),
            }),
            response_content_type: settlement.content_type.clone(),
            status_code: status(call),
            routing_information: Routing { attempts: attempts(call, ids) },
            invocation_id: admission.made_for.as_ref().unwrap_or(&admission.request_id).0.to_string(),
            service_type: "MODEL_SERVICE",
            service_name: admission.endpoint.to_string(),
            service_tags: tags,
            event_date: day(admission.received_at),
            outcome: settlement.outcome.as_str(),
            usage_provenance: counted.map(|counted| counted.provenance.as_str()),
            gateway_overhead_ms: overhead(call),
            cost_nano_usd: settlement.cost.as_ref().map(|cost| count(cost.nano_usd)),
            price_version: settlement.cost.as_ref().map(|cost| cost.prices.to_string()),
            guardrails: verdicts(call),
            token_counts: tokens.map(|tokens| by_kind(&tokens)),
            model: settlement.model.clone(),
            provider: settlement.provider.clone(),
            usage_context: admission.usage_context.clone(),
            client_request_id: admission.client_request_id.clone(),
            requester_groups: admission.groups.clone(),
        }
    }
}

fn attempts<'a>(call: &'a Call, ids: &mut EntityIds<'a>) -> Vec<AttemptRow> {
    let all = &call.settlement.attempts;
    let before = |at: usize| Some(&all.get(at.checked_sub(1)?)?.entity);
    let row = |(at, attempt): (usize, &'a Attempt)| AttemptRow {
        priority: at.to_string(),
        action: match before(at) {
            None => "INITIAL_ATTEMPT",
            // Databricks' own has no word for it.
            Some(entity) if *entity == attempt.entity => "RETRY",
            Some(_) => "FALLBACK",
        },
        destination: attempt.entity.to_string(),
        destination_id: ids.of_entity(call, &attempt.entity).as_ref().to_owned(),
        status_code: attempt.status.map(i32::from),
        error_code: error_code(attempt),
        latency_ms: whole(attempt.duration_ms),
        start_time: micros(attempt.started_at),
        end_time: micros(attempt.started_at + whole(attempt.duration_ms)),
    };
    all.iter().enumerate().map(row).collect()
}

fn error_code(attempt: &Attempt) -> Option<&'static str> {
    match (attempt.status, attempt.fault) {
        (Some(429), _) => Some("RATE_LIMITED"),
        (Some(500..), _) => Some("SERVER_ERROR"),
        (Some(400..), _) => Some("CLIENT_ERROR"),
        (Some(_), _) => None,
        (None, Some("timeout")) => Some("TIMEOUT"),
        (None, Some("connection")) => Some("CONNECTION_ERROR"),
        (None, Some("cancelled")) => Some("CANCELLED"),
        (None, _) => Some("NO_RESPONSE"),
    }
}

/// The format that a path is of, as Databricks names it: `mlflow/v1/chat/completions`. The model that some
/// paths hold is left out.
fn api_type(path: &str) -> String {
    let path = path.strip_prefix("/ai-gateway").unwrap_or(path).trim_matches('/');
    if let Some((before, call)) = path.split_once("/models/") {
        return format!("{before}/{}", call.rsplit(':').next().unwrap_or_default());
    }
    // `openai/v1/responses/<id>/cancel`
    if let Some((before, stored)) = path.split_once("/responses/") {
        let call = stored.split_once('/').map(|(_, call)| format!("/{call}")).unwrap_or_default();
        return format!("{before}/responses{call}");
    }
    // `model/<name>/converse`
    match path.strip_prefix("model/").and_then(|path| path.rsplit_once('/')) {
        Some((_, call)) => format!("model/{call}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_is_spoken() {
        assert_eq!(api_type("/ai-gateway/mlflow/v1/chat/completions"), "mlflow/v1/chat/completions");
        assert_eq!(api_type("/codex/v1/responses"), "codex/v1/responses");
        assert_eq!(api_type("/ai-gateway/openai/v1/responses/resp_1"), "openai/v1/responses");
        assert_eq!(
            api_type("/ai-gateway/openai/v1/responses/resp_1/input_items"),
            "openai/v1/responses/input_items"
        );
        assert_eq!(
            api_type("/ai-gateway/gemini/v1/models/chat:generateContent"),
            "gemini/v1/generateContent"
        );
        assert_eq!(api_type("/ai-gateway/model/chat/converse"), "model/converse");
        assert_eq!(api_type("/model/a%2Fb/converse-stream"), "model/converse-stream");
    }
}
