//! Serving endpoints as the REST API shows them. Field names are Databricks'.
//!
//! Unknown fields of requests are ignored (newer clients send more); the fields of a provider's own
//! config block are checked by that provider.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Object;

#[derive(Clone, Debug, Default, Deserialize)]
pub struct CreateEndpoint {
    #[serde(default)]
    pub name: String,
    pub config: Option<NewConfig>,
    pub ai_gateway: Option<AiGateway>,
    /// The older place of `ai_gateway.rate_limits`.
    pub rate_limits: Option<Vec<RateLimit>>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    pub description: Option<String>,
    pub email_notifications: Option<Value>,
    pub budget_policy_id: Option<String>,
    pub usage_policy_id: Option<String>,
    pub route_optimized: Option<bool>,
    pub telemetry_config: Option<Value>,
    /// An extension of ours: call each upstream once before the endpoint is made.
    #[serde(default)]
    pub validate: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointConfig {
    #[serde(default)]
    pub served_entities: Vec<ServedEntity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_config: Option<TrafficConfig>,
}

/// A config as it is sent: with the two deprecated spellings.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NewConfig {
    #[serde(default)]
    pub served_entities: Vec<ServedEntity>,
    /// Custom models, which are not served here: read so that they can be refused by name.
    pub served_models: Option<Vec<Value>>,
    pub traffic_config: Option<TrafficConfig>,
    /// The older place of `ai_gateway.inference_table_config`.
    pub auto_capture_config: Option<Value>,
    /// An extension of ours: call each upstream once before the config is swapped in.
    #[serde(default)]
    pub validate: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServedEntity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_model: Option<ExternalModel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_version: Option<String>,
    /// An extension of ours: time limits of calls to this entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// An extension of ours: what calls of this entity cost, in USD per million tokens by kind, in place of
    /// the price table that comes with the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_million_tokens: Option<BTreeMap<String, f64>>,
    /// An extension of ours: what becomes of a call whose client leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disconnect: Option<OnDisconnect>,
}

/// What becomes of the upstream's answer when the client has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDisconnect {
    /// The upstream is left at once; what was delivered is counted.
    #[default]
    Cancel,
    /// The upstream is read to its end, within bounds, for its own count.
    Drain,
}

/// Limits in milliseconds; what is absent takes the server's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// To a connection, the look-up of the name included; the TLS handshake counts to the first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// From sending the request to the first byte of the answer, or the first event of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Between two pieces of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExternalModel {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub provider: String,
    #[serde(default)]
    pub task: String,
    /// An extension of ours: parameters of calls where the caller sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_params: Option<Object>,
    /// `<provider>_config` and whatever else came.
    #[serde(flatten)]
    pub config: Object,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficConfig {
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// Both names are written, equal; either is read (old SDKs know `served_model_name` alone).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_entity_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_model_name: Option<String>,
    #[serde(default)]
    pub traffic_percentage: i64,
}

impl Route {
    pub fn entity(&self) -> &str {
        self.served_entity_name.as_deref().or(self.served_model_name.as_deref()).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AiGateway {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_config: Option<FallbackConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrails: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_table_config: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<Vec<RateLimit>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_tracking_config: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackConfig {
    #[serde(default)]
    pub enabled: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// `minute`, or `hour`, an extension of ours. Empty where only `concurrent_calls` is set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub renewal_period: String,
    /// An extension of ours: calls under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_calls: Option<i64>,
    /// An extension of ours: the limit refuses nothing, and what it would have refused is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_only: Option<bool>,
}

/// The answer of create, get and update.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointDetailed {
    pub name: String,
    pub id: String,
    pub creator: String,
    pub creation_timestamp: i64,
    pub last_updated_timestamp: i64,
    pub state: EndpointState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_config: Option<ConfigOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai_gateway: Option<AiGateway>,
    pub tags: Vec<Tag>,
    pub task: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_level: Option<&'static str>,
    pub route_optimized: bool,
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_notifications: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_policy_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_policy_id: Option<String>,
    pub endpoint_type: &'static str,
    pub creator_kind: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointState {
    pub ready: &'static str,
    pub config_update: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct ConfigOut {
    pub served_entities: Vec<ServedEntityOut>,
    pub traffic_config: TrafficConfig,
    pub config_version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ServedEntityOut {
    #[serde(flatten)]
    pub entity: ServedEntity,
    pub creator: String,
    pub creation_timestamp: i64,
    pub state: DeploymentState,
}

#[derive(Clone, Debug, Serialize)]
pub struct DeploymentState {
    pub deployment: &'static str,
    pub deployment_state_message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_provider_block_is_kept_whatever_its_name() {
        let body = json!({"name": "m", "provider": "p", "task": "llm/v1/chat", "p_config": {"k": "v"}});
        let model: ExternalModel = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(serde_json::to_value(model).unwrap(), body);
    }

    #[test]
    fn a_route_may_use_either_name() {
        let route: Route =
            serde_json::from_value(json!({"served_model_name": "a", "traffic_percentage": 5})).unwrap();
        assert_eq!(route.entity(), "a");
    }

    #[test]
    fn unknown_request_fields_are_ignored() {
        let body = json!({"name": "n", "config": {"name": "n", "served_entities": []}, "from_the_future": 1});
        assert_eq!(serde_json::from_value::<CreateEndpoint>(body).unwrap().name, "n");
    }
}
