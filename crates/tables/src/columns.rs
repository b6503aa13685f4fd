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
            Self::ServedEntities => {
                "Each version of each served entity: since when it is active, and when its endpoint was deleted"
            }
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

    /// As tables of form 2 have them.
    pub(crate) fn columns_of_form_2(self) -> Vec<StructField> {
        let later: &[&str] = match self {
            Self::EndpointUsage => &["request_tags", "requester_groups"],
            Self::GatewayUsage => &["usage_context", "client_request_id", "requester_groups"],
            Self::Payload | Self::ServedEntities | Self::Audit => &[],
        };
        without(self.columns(), later)
    }

    /// As tables of form 1 have them.
    pub(crate) fn columns_of_form_1(self) -> Vec<StructField> {
        let later: &[&str] = match self {
            Self::Payload => &["request_tags", "path", "time_to_first_byte_ms", "destination_model"],
            Self::EndpointUsage => &["token_counts", "model", "provider"],
            Self::GatewayUsage => &[
                "service_type",
                "service_name",
                "service_tags",
                "auth_mode",
                "session_metadata",
                "mcp_metadata",
                "token_counts",
                "model",
                "provider",
            ],
            Self::ServedEntities | Self::Audit => &[],
        };
        let short = || list_of("guardrails", strings(&["guard", "phase", "outcome"]));
        let columns = without(self.columns_of_form_2(), later).into_iter();
        columns.map(|column| if column.name() == "guardrails" { short() } else { column }).collect()
    }
}

fn without(mut columns: Vec<StructField>, names: &[&str]) -> Vec<StructField> {
    columns.retain(|column| !names.contains(&column.name().as_str()));
    columns
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
    map_to(name, DataType::STRING)
}

fn map_to(name: &str, values: DataType) -> StructField {
    let kind = MapType::new(DataType::STRING, values, true);
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
    columns.push(map("request_tags"));
    columns.extend(strings(&["path"]));
    columns.extend(longs(&["time_to_first_byte_ms"]));
    columns.extend(strings(&["destination_model"]));
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
    columns.push(map("request_tags"));
    columns.push(list("requester_groups", DataType::STRING));
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
    columns.extend(newer_gateway_usage());
    columns.push(date("event_date"));
    columns.extend(strings(&["outcome", "usage_provenance"]));
    columns.extend(of(&DataType::DOUBLE, &["gateway_overhead_ms"]));
    columns.extend(cost_and_guardrails());
    columns.push(map("usage_context"));
    columns.extend(strings(&["client_request_id"]));
    columns.push(list("requester_groups", DataType::STRING));
    columns
}

/// What Databricks added to the table later, in its order.
fn newer_gateway_usage() -> Vec<StructField> {
    let mut columns = strings(&["service_type", "service_name"]);
    columns.push(map("service_tags"));
    columns.extend(strings(&["auth_mode"]));
    let session =
        ["surface", "client_session_id", "client_subagent_id", "reasoning_effort", "smart_router_name"];
    columns.push(structure("session_metadata", strings(&session)));
    columns.push(structure("mcp_metadata", strings(&["tool_name", "server_type"])));
    columns
}

/// Money in billionths of a US dollar, so that sums are exact; and what it is computed of.
fn cost_and_guardrails() -> Vec<StructField> {
    let mut columns = longs(&["cost_nano_usd"]);
    columns.extend(strings(&["price_version"]));
    let mut verdict = strings(&["guard", "phase", "outcome"]);
    verdict.push(list("details", DataType::STRING));
    verdict.extend(longs(&["tokens"]));
    columns.push(list_of("guardrails", verdict));
    columns.push(map_to("token_counts", DataType::LONG));
    columns.extend(strings(&["model", "provider"]));
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
    use crate::list::type_text;

    #[test]
    fn a_kind_is_known_by_its_table() {
        for kind in [Kind::EndpointUsage, Kind::ServedEntities, Kind::GatewayUsage, Kind::Audit] {
            assert_eq!(Kind::of(&kind.table().unwrap()), kind);
        }
        assert_eq!(Kind::of(&TableName::new("c", "s", "x_payload").unwrap()), Kind::Payload);
    }

    /// As `DESCRIBE` says them.
    fn described(columns: Vec<StructField>) -> Vec<String> {
        columns.iter().map(|column| format!("{} {}", column.name(), type_text(column.data_type()))).collect()
    }

    /// Databricks' own come first, in its order and its types (CONTRACT §5.4, §5.5, §6.4); of audit
    /// <https://docs.databricks.com/aws/en/admin/system-tables/audit-logs>.
    #[test]
    fn the_columns_begin_as_databricks_own_do() {
        let throughput = "struct<min_provisioned_throughput:bigint,max_provisioned_throughput:bigint>";
        let compute = "struct<min_concurrency:int,max_concurrency:int,compute_type:string>";
        let destinations = "array<struct<name:string,traffic_percent:double,type:string>>";
        let payload = "databricks_request_id string; request_date date; client_request_id string; \
            request_time timestamp; status_code int; sampling_fraction double; execution_duration_ms bigint; \
            request string; response string; logging_error_codes array<string>; served_entity_id string; \
            requester string";
        let usage = "account_id string; workspace_id string; client_request_id string; \
            databricks_request_id string; requester string; status_code int; request_time timestamp; \
            input_token_count bigint; output_token_count bigint; input_character_count bigint; \
            output_character_count bigint; usage_context map<string,string>; request_streaming boolean; \
            served_entity_id string";
        let served = format!(
            "served_entity_id string; account_id string; workspace_id string; created_by string; \
            endpoint_name string; endpoint_id string; served_entity_name string; entity_type string; \
            entity_name string; entity_version string; endpoint_config_version int; task string; \
            external_model_config struct<provider:string>; foundation_model_config {throughput}; \
            custom_model_config {compute}; feature_spec_config {compute}; change_time timestamp; \
            endpoint_delete_time timestamp"
        );
        let gateway = format!(
            "account_id string; workspace_id string; request_id string; schema_version int; endpoint_id string; \
            endpoint_name string; endpoint_tags map<string,string>; endpoint_metadata \
            struct<creator:string,creation_time:timestamp,last_updated_time:timestamp,destinations:{destinations},\
            inference_table:string,fallbacks:{destinations}>; event_time timestamp; latency_ms bigint; \
            time_to_first_byte_ms bigint; destination_type string; destination_name string; destination_id string; \
            destination_model string; requester string; requester_type string; ip_address string; url string; \
            user_agent string; api_type string; request_tags map<string,string>; input_tokens bigint; \
            output_tokens bigint; total_tokens bigint; token_details struct<cache_read_input_tokens:bigint,\
            cache_creation_input_tokens:bigint,output_reasoning_tokens:bigint>; response_content_type string; \
            status_code int; routing_information struct<attempts:array<struct<priority:string,action:string,\
            destination:string,destination_id:string,status_code:int,error_code:string,latency_ms:bigint,\
            start_time:timestamp,end_time:timestamp>>>; invocation_id string; \
            invocation_metadata struct<source:string,service_tier:string>; service_type string; \
            service_name string; service_tags map<string,string>; auth_mode string; \
            session_metadata struct<surface:string,client_session_id:string,client_subagent_id:string,\
            reasoning_effort:string,smart_router_name:string>; \
            mcp_metadata struct<tool_name:string,server_type:string>"
        );
        let audit = "account_id string; workspace_id string; version string; event_time timestamp; \
            event_date date; source_ip_address string; user_agent string; session_id string; \
            user_identity struct<email:string,subject_name:string>; service_name string; action_name string; \
            request_id string; request_params map<string,string>; \
            response struct<status_code:int,error_message:string,result:string>; audit_level string; \
            event_id string; identity_metadata struct<run_by:string,run_as:string>";
        for (kind, columns) in [
            (Kind::Payload, payload),
            (Kind::EndpointUsage, usage),
            (Kind::ServedEntities, &served),
            (Kind::GatewayUsage, &gateway),
            (Kind::Audit, audit),
        ] {
            let expected: Vec<&str> = columns.split("; ").collect();
            let found = described(kind.columns());
            assert_eq!(found[..expected.len()], expected, "{kind:?}");
            let names: Vec<_> = kind.columns().iter().map(|column| column.name().clone()).collect();
            assert!(kind.partition().is_none_or(|day| names.iter().any(|name| name == day)));
        }
    }

    #[test]
    fn a_table_of_an_earlier_form_lacks_what_came_later_and_nothing_else() {
        let all = [Kind::Payload, Kind::EndpointUsage, Kind::ServedEntities, Kind::GatewayUsage, Kind::Audit];
        let lacks = |kind: Kind| kind.columns().len() - kind.columns_of_form_1().len();
        assert_eq!(all.map(lacks), [4, 5, 0, 12, 0]);
        let lacks =
            |kind: Kind| described(kind.columns()).split_off(kind.columns_of_form_2().len()).join("; ");
        let usage = "request_tags map<string,string>; requester_groups array<string>";
        let gateway =
            "usage_context map<string,string>; client_request_id string; requester_groups array<string>";
        assert_eq!(all.map(lacks), ["", usage, "", gateway, ""]);
        let old = described(Kind::EndpointUsage.columns_of_form_1());
        let guardrails = "guardrails array<struct<guard:string,phase:string,outcome:string>>";
        assert_eq!(old.last().unwrap(), guardrails);
    }
}
