//! The columns of each table: Databricks' own in its order and types, ours behind them.
//!
//! Sources: <https://docs.databricks.com/aws/en/admin/system-tables/> and `DESCRIBE` of real tables.

use deltalake_core::kernel::{ArrayType, DataType, MapType, StructField, StructType};
use wire::table::TableName;

/// What a table is for, and with it what its columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Payload,
    EndpointUsage,
    ServedEntities,
    GatewayUsage,
    Audit,
}

impl Kind {
    /// The name of the one table of this kind; `None` where there are many.
    const fn name(self) -> Option<[&'static str; 3]> {
        match self {
            Self::Payload => None,
            Self::EndpointUsage => Some(["system", "serving", "endpoint_usage"]),
            Self::ServedEntities => Some(["system", "serving", "served_entities"]),
            Self::GatewayUsage => Some(["system", "ai_gateway", "usage"]),
            Self::Audit => Some(["system", "access", "audit"]),
        }
    }

    /// The table of this kind, for those of which there is one.
    pub(crate) fn table(self) -> Option<TableName> {
        let [catalog, schema, table] = self.name()?;
        TableName::new(catalog, schema, table).ok()
    }

    /// The kind of a table by its name.
    pub(crate) fn of(table: &TableName) -> Self {
        let named = [table.catalog(), table.schema(), table.table()];
        let all = [Self::EndpointUsage, Self::ServedEntities, Self::GatewayUsage, Self::Audit];
        all.into_iter().find(|kind| kind.name() == Some(named)).unwrap_or(Self::Payload)
    }

    /// The day that its rows are kept apart by.
    pub(crate) const fn partition(self) -> Option<&'static str> {
        match self {
            Self::Payload | Self::EndpointUsage => Some("request_date"),
            Self::GatewayUsage | Self::Audit => Some("event_date"),
            Self::ServedEntities => None,
        }
    }

    pub(crate) const fn comment(self) -> &'static str {
        match self {
            Self::Payload => "What was asked of an endpoint and what it answered",
            Self::EndpointUsage => "Calls of serving endpoints whose usage is tracked",
            Self::ServedEntities => "Each version of each served entity, as it became active or was deleted",
            Self::GatewayUsage => "Calls by the paths of the AI Gateway",
            Self::Audit => "Management calls: before their effect and after",
        }
    }

    pub(crate) fn columns(self) -> Vec<StructField> {
        match self {
            Self::Payload => payload(),
            Self::EndpointUsage => endpoint_usage(),
            Self::ServedEntities => served_entities(),
            Self::GatewayUsage => gateway_usage(),
            Self::Audit => audit(),
        }
    }
}

fn of(kind: &DataType, names: &[&str]) -> Vec<StructField> {
    names.iter().map(|name| StructField::nullable(*name, kind.clone())).collect()
}

fn strings(names: &[&str]) -> Vec<StructField> {
    of(&DataType::STRING, names)
}

fn longs(names: &[&str]) -> Vec<StructField> {
    of(&DataType::LONG, names)
}

fn integer(name: &str) -> StructField {
    StructField::nullable(name, DataType::INTEGER)
}

fn timestamp(name: &str) -> StructField {
    StructField::nullable(name, DataType::TIMESTAMP)
}

fn date(name: &str) -> StructField {
    StructField::nullable(name, DataType::DATE)
}

fn map(name: &str) -> StructField {
    let kind = MapType::new(DataType::STRING, DataType::STRING, true);
    StructField::nullable(name, DataType::Map(Box::new(kind)))
}

fn structure(name: &str, fields: Vec<StructField>) -> StructField {
    StructField::nullable(name, DataType::from(StructType::new_unchecked(fields)))
}

fn list(name: &str, element: DataType) -> StructField {
    StructField::nullable(name, DataType::from(ArrayType::new(element, true)))
}

fn list_of(name: &str, fields: Vec<StructField>) -> StructField {
    list(name, DataType::from(StructType::new_unchecked(fields)))
}

/// What we know of any call beyond what Databricks tells.
fn our_own() -> Vec<StructField> {
    let mut columns = strings(&["endpoint_name", "served_entity_name", "outcome", "usage_provenance"]);
    columns.extend(longs(&[
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "output_reasoning_tokens",
    ]));
    columns.extend(of(&DataType::DOUBLE, &["duration_ms", "time_to_first_byte_ms", "gateway_overhead_ms"]));
    columns.push(integer("attempts"));
    columns.extend(cost_and_guardrails());
    columns
}

fn payload() -> Vec<StructField> {
    let mut columns = strings(&["databricks_request_id"]);
    columns.push(date("request_date"));
    columns.extend(strings(&["client_request_id"]));
    columns.push(timestamp("request_time"));
    columns.push(integer("status_code"));
    columns.extend(of(&DataType::DOUBLE, &["sampling_fraction"]));
    columns.extend(longs(&["execution_duration_ms"]));
    columns.extend(strings(&["request", "response"]));
    columns.push(list("logging_error_codes", DataType::STRING));
    columns.extend(strings(&[
        "served_entity_id",
        "requester",
        "endpoint_name",
        "served_entity_name",
        "outcome",
    ]));
    columns
}

fn endpoint_usage() -> Vec<StructField> {
    let mut columns =
        strings(&["account_id", "workspace_id", "client_request_id", "databricks_request_id", "requester"]);
    columns.push(integer("status_code"));
    columns.push(timestamp("request_time"));
    columns.extend(longs(&[
        "input_token_count",
        "output_token_count",
        "input_character_count",
        "output_character_count",
    ]));
    columns.push(map("usage_context"));
    columns.extend(of(&DataType::BOOLEAN, &["request_streaming"]));
    columns.extend(strings(&["served_entity_id"]));
    columns.push(date("request_date"));
    columns.extend(our_own());
    columns
}

fn served_entities() -> Vec<StructField> {
    let throughput = longs(&["min_provisioned_throughput", "max_provisioned_throughput"]);
    let mut compute = vec![integer("min_concurrency"), integer("max_concurrency")];
    compute.extend(strings(&["compute_type"]));
    let mut columns = strings(&[
        "served_entity_id",
        "account_id",
        "workspace_id",
        "created_by",
        "endpoint_name",
        "endpoint_id",
        "served_entity_name",
        "entity_type",
        "entity_name",
        "entity_version",
    ]);
    columns.push(integer("endpoint_config_version"));
    columns.extend(strings(&["task"]));
    columns.push(structure("external_model_config", strings(&["provider"])));
    columns.push(structure("foundation_model_config", throughput));
    columns.push(structure("custom_model_config", compute.clone()));
    columns.push(structure("feature_spec_config", compute));
    columns.push(timestamp("change_time"));
    columns.push(timestamp("endpoint_delete_time"));
    columns
}

fn gateway_usage() -> Vec<StructField> {
    let mut columns = strings(&["account_id", "workspace_id", "request_id"]);
    columns.push(integer("schema_version"));
    columns.extend(strings(&["endpoint_id", "endpoint_name"]));
    columns.push(map("endpoint_tags"));
    columns.push(structure("endpoint_metadata", endpoint_metadata()));
    columns.push(timestamp("event_time"));
    columns.extend(longs(&["latency_ms", "time_to_first_byte_ms"]));
    columns.extend(strings(&[
        "destination_type",
        "destination_name",
        "destination_id",
        "destination_model",
        "requester",
        "requester_type",
        "ip_address",
        "url",
        "user_agent",
        "api_type",
    ]));
    columns.push(map("request_tags"));
    columns.extend(longs(&["input_tokens", "output_tokens", "total_tokens"]));
    let details = ["cache_read_input_tokens", "cache_creation_input_tokens", "output_reasoning_tokens"];
    columns.push(structure("token_details", longs(&details)));
    columns.extend(strings(&["response_content_type"]));
    columns.push(integer("status_code"));
    columns.push(structure("routing_information", vec![list_of("attempts", attempt())]));
    columns.extend(strings(&["invocation_id"]));
    columns.push(structure("invocation_metadata", strings(&["source", "service_tier"])));
    columns.push(date("event_date"));
    columns.extend(strings(&["outcome", "usage_provenance"]));
    columns.extend(of(&DataType::DOUBLE, &["gateway_overhead_ms"]));
    columns.extend(cost_and_guardrails());
    columns
}

/// Money in billionths of a US dollar, so that sums are exact.
fn cost_and_guardrails() -> Vec<StructField> {
    let mut columns = longs(&["cost_nano_usd"]);
    columns.extend(strings(&["price_version"]));
    columns.push(list_of("guardrails", strings(&["guard", "phase", "outcome"])));
    columns
}

fn endpoint_metadata() -> Vec<StructField> {
    let mut destination = strings(&["name"]);
    destination.extend(of(&DataType::DOUBLE, &["traffic_percent"]));
    destination.extend(strings(&["type"]));
    let mut columns = strings(&["creator"]);
    columns.extend([timestamp("creation_time"), timestamp("last_updated_time")]);
    columns.push(list_of("destinations", destination.clone()));
    columns.extend(strings(&["inference_table"]));
    columns.push(list_of("fallbacks", destination));
    columns
}

fn attempt() -> Vec<StructField> {
    let mut columns = strings(&["priority", "action", "destination", "destination_id"]);
    columns.push(integer("status_code"));
    columns.extend(strings(&["error_code"]));
    columns.extend(longs(&["latency_ms"]));
    columns.extend([timestamp("start_time"), timestamp("end_time")]);
    columns
}

fn audit() -> Vec<StructField> {
    let mut response = vec![integer("status_code")];
    response.extend(strings(&["error_message", "result"]));
    let mut columns = strings(&["account_id", "workspace_id", "version"]);
    columns.extend([timestamp("event_time"), date("event_date")]);
    columns.extend(strings(&["source_ip_address", "user_agent", "session_id"]));
    columns.push(structure("user_identity", strings(&["email", "subject_name"])));
    columns.extend(strings(&["service_name", "action_name", "request_id"]));
    columns.push(map("request_params"));
    columns.push(structure("response", response));
    columns.extend(strings(&["audit_level", "event_id"]));
    columns.push(structure("identity_metadata", strings(&["run_by", "run_as"])));
    columns.extend(strings(&["phase", "method", "path", "object_before", "object_after"]));
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_table() {
        for kind in [Kind::EndpointUsage, Kind::ServedEntities, Kind::GatewayUsage, Kind::Audit] {
            assert_eq!(Kind::of(&kind.table().unwrap()), kind);
        }
        assert_eq!(Kind::of(&TableName::new("c", "s", "x_payload").unwrap()), Kind::Payload);
    }

    /// Databricks' own come first, in its order (CONTRACT §5.4, §5.5, §6.4).
    #[test]
    fn the_columns_begin_as_databricks_own_do() {
        let names = |kind: Kind| kind.columns().iter().map(|c| c.name().clone()).collect::<Vec<_>>();
        let payload = "databricks_request_id request_date client_request_id request_time status_code sampling_fraction \
            execution_duration_ms request response logging_error_codes served_entity_id requester";
        let usage = "account_id workspace_id client_request_id databricks_request_id requester status_code request_time \
            input_token_count output_token_count input_character_count output_character_count usage_context \
            request_streaming served_entity_id";
        let gateway = "account_id workspace_id request_id schema_version endpoint_id endpoint_name endpoint_tags \
            endpoint_metadata event_time latency_ms time_to_first_byte_ms destination_type destination_name \
            destination_id destination_model requester requester_type ip_address url user_agent api_type request_tags \
            input_tokens output_tokens total_tokens token_details response_content_type status_code \
            routing_information invocation_id invocation_metadata";
        for (kind, columns) in
            [(Kind::Payload, payload), (Kind::EndpointUsage, usage), (Kind::GatewayUsage, gateway)]
        {
            let expected: Vec<&str> = columns.split_whitespace().collect();
            assert_eq!(names(kind)[..expected.len()], expected, "{kind:?}");
            assert!(names(kind).iter().any(|name| Some(name.as_str()) == kind.partition()));
        }
    }
}
