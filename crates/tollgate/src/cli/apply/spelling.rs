//! Files are read as the server keeps them: what has an older place is put where it belongs, and what the
//! server passes over is left out. A second apply would find a difference otherwise, for ever.

use anyhow::bail;
use serde_json::{Map, Value};

/// Fields of a served entity that are for custom models.
const PASSED_OVER: [&str; 11] = [
    "workload_size",
    "workload_type",
    "scale_to_zero_enabled",
    "min_provisioned_concurrency",
    "max_provisioned_concurrency",
    "min_provisioned_throughput",
    "max_provisioned_throughput",
    "provisioned_model_units",
    "burst_scaling_enabled",
    "environment_vars",
    "instance_profile_arn",
];

/// Errors where both places of a field are filled, as the server does.
pub(super) fn modern(endpoint: &mut Map<String, Value>) -> anyhow::Result<()> {
    let mut moved = Vec::new();
    if let Some(config) = endpoint.get_mut("config").and_then(Value::as_object_mut) {
        config.remove("name");
        moved.push(("inference_table_config", config.remove("auto_capture_config")));
        let entities = config.get_mut("served_entities").and_then(Value::as_array_mut);
        for entity in entities.into_iter().flatten().filter_map(Value::as_object_mut) {
            if entity.contains_key("external_model") {
                entity.retain(|key, _| !PASSED_OVER.contains(&key.as_str()));
            }
        }
    }
    moved.push(("rate_limits", endpoint.remove("rate_limits")));
    for (field, value) in moved {
        let Some(value) = value.filter(|value| !value.is_null()) else { continue };
        let block = endpoint.entry("ai_gateway").or_insert_with(|| Map::new().into());
        if let Some(block) = block.as_object_mut() {
            if block.get(field).is_some_and(|there| !there.is_null()) {
                bail!("both ai_gateway.{field} and its older form are set: keep the former");
            }
            block.insert(field.to_owned(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn older_places_are_moved_and_what_is_passed_over_is_left_out() {
        let entity = json!({"name": "m", "external_model": {"name": "m"}, "workload_size": "Small"});
        let mut endpoint = json!({"name": "e", "rate_limits": [{"calls": 1}], "config": {
            "name": "e", "served_entities": [entity], "auto_capture_config": {"enabled": true}}});
        modern(endpoint.as_object_mut().unwrap()).unwrap();
        let expected = json!({"name": "e",
            "config": {"served_entities": [{"name": "m", "external_model": {"name": "m"}}]},
            "ai_gateway": {"inference_table_config": {"enabled": true}, "rate_limits": [{"calls": 1}]}});
        assert_eq!(endpoint, expected);
    }

    #[test]
    fn both_places_of_a_field_are_refused() {
        let mut endpoint =
            json!({"rate_limits": [{"calls": 1}], "ai_gateway": {"rate_limits": [{"calls": 2}]}});
        let error = modern(endpoint.as_object_mut().unwrap()).unwrap_err().to_string();
        assert!(error.contains("ai_gateway.rate_limits"), "{error}");
    }
}
