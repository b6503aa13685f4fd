//! The `ai_gateway` block: what of it can be accepted, and the two routes that replace it.

use policy::{Level, Principal, guardrails, permit};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::endpoint::{AiGateway, RateLimit};
use wire::error::ApiError;

use super::change::revise;
use crate::Control;
use crate::publish::payload_table;
use crate::reply::{Failure, Reply};
use crate::request::Call;

const MAX_RATE_LIMITS: usize = 20;
/// Of these, how many may be for groups.
const MAX_GROUP_LIMITS: usize = 5;

const TABLE_NAMES: [&str; 3] = ["catalog_name", "schema_name", "table_name_prefix"];
const TABLE_FIELDS: [&str; 4] = ["catalog_name", "schema_name", "table_name_prefix", "enabled"];

/// `PUT …/ai-gateway`: replaces the whole block; what is left out is cleared.
pub(super) async fn put(call: Call) -> Result<Reply, Failure> {
    let block: AiGateway = call.json()?;
    check(&block)?;
    check_guardrails(&call.control, &block)?;
    check_judges(&call.control, call.caller()?, call.path("name"), &block)?;
    let record = revise(&call, |record| {
        check_table_stays(record.document.ai_gateway.as_ref(), &block)?;
        record.document.ai_gateway = Some(block);
        Ok(())
    })
    .await?;
    Reply::json(&record.document.ai_gateway)
}

#[derive(Deserialize)]
struct RateLimits {
    #[serde(default)]
    rate_limits: Vec<RateLimit>,
}

/// `PUT …/rate-limits`, the older form: the limits of the block alone.
pub(super) async fn put_rate_limits(call: Call) -> Result<Reply, Failure> {
    let RateLimits { rate_limits } = call.json()?;
    let record = revise(&call, |record| {
        let block = record.document.ai_gateway.get_or_insert_with(AiGateway::default);
        block.rate_limits = Some(rate_limits);
        Ok(check(block)?)
    })
    .await?;
    let limits = record.document.ai_gateway.and_then(|block| block.rate_limits);
    Reply::json(&json!({"rate_limits": limits.unwrap_or_default()}))
}

/// Refuses what is wrong, and what would be accepted and not done.
pub(super) fn check(block: &AiGateway) -> Result<(), ApiError> {
    let limits = block.rate_limits.as_deref().unwrap_or_default();
    if limits.len() > MAX_RATE_LIMITS {
        let count = limits.len();
        return Err(ApiError::invalid(format!(
            "ai_gateway.rate_limits has {count} entries, at most {MAX_RATE_LIMITS} are allowed"
        )));
    }
    let groups = limits.iter().filter(|limit| limit.key.as_deref() == Some("user_group")).count();
    if groups > MAX_GROUP_LIMITS {
        return Err(ApiError::invalid(format!(
            "ai_gateway.rate_limits has {groups} entries for groups, at most {MAX_GROUP_LIMITS} are allowed"
        )));
    }
    check_table("ai_gateway.inference_table_config", block.inference_table_config.as_ref())?;
    for (at, limit) in limits.iter().enumerate() {
        policy::limits::read(limit)
            .map_err(|e| ApiError::invalid(format!("ai_gateway.rate_limits[{at}].{e}")))?;
    }
    Ok(())
}

/// Refuses guardrails that are wrong, and what nobody is there to judge: a guardrail that does not guard is
/// worse than none.
pub(crate) fn check_guardrails(control: &Control, block: &AiGateway) -> Result<(), ApiError> {
    let Some(guardrails) = block.guardrails.as_ref().filter(|guardrails| !guardrails.is_null()) else {
        return Ok(());
    };
    let settings = &control.inner.config.defaults.guardrails;
    guardrails::check(guardrails, settings).map_err(|invalid| ApiError::invalid(invalid.to_string()))
}

/// Refuses a judge that `caller` may not query: its verdicts tell what it says, and it is asked with its own
/// credentials. The endpoint `own`, which may be about to be made, may judge itself.
pub(crate) fn check_judges(
    control: &Control,
    caller: &Principal,
    own: &str,
    block: &AiGateway,
) -> Result<(), ApiError> {
    let snapshot = control.inner.live.load();
    for (path, name) in block.guardrails.iter().flat_map(guardrails::judges).filter(|(_, name)| *name != own)
    {
        let endpoint = snapshot.endpoints.get(name);
        let endpoint =
            endpoint.ok_or_else(|| ApiError::invalid(format!("{path}: there is no endpoint {name:?}")))?;
        if permit::level(caller, endpoint) < Some(Level::Query) {
            let (who, level) = (&caller.name, Level::Query.as_str());
            return Err(ApiError::denied(format!("{path}: {who} lacks {level} on endpoint {name:?}")));
        }
    }
    Ok(())
}

/// The legacy `auto_capture_config`: it is the inference table under another name.
pub(crate) fn capture(block: &mut Option<AiGateway>, capture: Value) -> Result<(), ApiError> {
    check_table("config.auto_capture_config", Some(&capture))?;
    let table = TABLE_FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), capture.get(name)?.clone())));
    let next = AiGateway {
        inference_table_config: Some(Value::Object(table.collect())),
        ..block.clone().unwrap_or_default()
    };
    if let Some(before) = block.as_ref() {
        check_table_stays(Some(before), &next)?;
    }
    *block = Some(next);
    Ok(())
}

fn check_table(path: &str, table: Option<&Value>) -> Result<(), ApiError> {
    let Some(table) = table else { return Ok(()) };
    let Value::Object(table) = table else {
        return Err(ApiError::invalid(format!("{path}: must be an object")));
    };
    for (name, value) in table {
        let right = match name.as_str() {
            "enabled" => value.is_boolean() || value.is_null(),
            "catalog_name" | "schema_name" | "table_name_prefix" => value.is_string() || value.is_null(),
            _ => true,
        };
        if !right {
            let kind = if name == "enabled" { "a boolean" } else { "a string" };
            return Err(ApiError::invalid(format!("{path}.{name}: must be {kind}")));
        }
    }
    if table.get("enabled") == Some(&Value::Bool(true)) { check_name(path, table) } else { Ok(()) }
}

/// A table that is written to has a name that can be one.
fn check_name(path: &str, table: &Map<String, Value>) -> Result<(), ApiError> {
    for name in ["catalog_name", "schema_name"] {
        if table.get(name).and_then(Value::as_str).unwrap_or_default().is_empty() {
            return Err(ApiError::invalid(format!("{path}.{name}: is required where enabled is true")));
        }
    }
    if table.get("catalog_name").and_then(Value::as_str) == Some("system") {
        return Err(ApiError::invalid(format!("{path}.catalog_name: system is for the system's own tables")));
    }
    // What an endpoint may be called, a table may be called.
    match payload_table("endpoint", &Value::Object(table.clone())) {
        Ok(_) => Ok(()),
        Err(error) => Err(ApiError::invalid(format!("{path}: {error}"))),
    }
}

/// While rows are written to a table it cannot be another: it is disabled first.
/// An enabled inference table keeps its name: errors with 400 where `after` gives it another.
pub(super) fn check_table_stays(before: Option<&AiGateway>, after: &AiGateway) -> Result<(), ApiError> {
    let enabled = |table: &&Value| table.get("enabled") == Some(&Value::Bool(true));
    let before = before.and_then(|block| block.inference_table_config.as_ref()).filter(enabled);
    let (Some(before), Some(after)) = (before, after.inference_table_config.as_ref().filter(enabled)) else {
        return Ok(());
    };
    let named = |table: &Value, name: &str| table.get(name).cloned().unwrap_or_default();
    match TABLE_NAMES.iter().find(|name| named(before, name) != named(after, name)) {
        None => Ok(()),
        Some(name) => Err(ApiError::invalid(format!(
            "ai_gateway.inference_table_config.{name}: cannot change while the table is enabled; disable it first"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(block: Value) -> Result<(), String> {
        check(&serde_json::from_value(block).unwrap()).map_err(|e| e.message)
    }

    #[test]
    fn limits_are_checked_by_path() {
        let limit = |extra: Value| {
            let mut limit = json!({"calls": 5, "renewal_period": "minute"});
            limit.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            checked(json!({"rate_limits": [limit]}))
        };
        assert!(limit(json!({})).is_ok());
        assert!(limit(json!({"key": "usr"})).unwrap_err().starts_with("ai_gateway.rate_limits[0].key"));
        assert!(limit(json!({"calls": null})).unwrap_err().starts_with("ai_gateway.rate_limits[0].calls"));
        assert!(limit(json!({"calls": 0})).is_ok());
    }

    #[test]
    fn at_most_five_limits_are_for_groups() {
        let limit = json!({"calls": 5, "renewal_period": "minute", "key": "user_group", "principal": "g"});
        assert!(checked(json!({"rate_limits": vec![limit.clone(); 5]})).is_ok());
        assert!(checked(json!({"rate_limits": vec![limit; 6]})).unwrap_err().contains("for groups"));
    }

    #[test]
    fn a_table_in_use_keeps_its_name() {
        let block = |name: &str, enabled: bool| -> AiGateway {
            let table = json!({"catalog_name": name, "schema_name": "s", "enabled": enabled});
            serde_json::from_value(json!({"inference_table_config": table})).unwrap()
        };
        let change = |before: &AiGateway, after: &AiGateway| check_table_stays(Some(before), after);
        let error = change(&block("a", true), &block("b", true)).unwrap_err().message;
        assert!(error.starts_with("ai_gateway.inference_table_config.catalog_name"), "{error}");
        for (before, after) in [
            (block("a", true), block("a", true)),
            (block("a", true), block("b", false)),
            (block("a", false), block("b", true)),
            (block("a", true), AiGateway::default()),
        ] {
            assert!(change(&before, &after).is_ok());
        }
        assert!(checked(json!({"inference_table_config": {"enabled": "yes"}})).is_err());
        let mut block = None;
        capture(&mut block, json!({"catalog_name": "c", "schema_name": "s", "enabled": true, "x": 1}))
            .unwrap();
        let table = block.unwrap().inference_table_config;
        assert_eq!(table, Some(json!({"catalog_name": "c", "schema_name": "s", "enabled": true})));
        for (table, path) in [
            (json!({"catalog_name": "c", "enabled": true}), "schema_name"),
            (json!({"catalog_name": "system", "schema_name": "s", "enabled": true}), "catalog_name"),
            (json!({"catalog_name": "c", "schema_name": "../s", "enabled": true}), "../s"),
        ] {
            let error = checked(json!({"inference_table_config": table})).unwrap_err();
            assert!(error.contains(path), "{error}");
        }
    }
}
