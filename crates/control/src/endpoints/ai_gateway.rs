//! The `ai_gateway` block: what of it can be accepted, and the two routes that replace it.

use serde::Deserialize;
use serde_json::{Value, json};
use wire::endpoint::{AiGateway, RateLimit};
use wire::error::ApiError;

use super::change::revise;
use crate::reply::{Failure, Reply};
use crate::request::Call;

const MAX_RATE_LIMITS: usize = 20;
const KEYS: [&str; 4] = ["endpoint", "user", "user_group", "service_principal"];

/// `PUT …/ai-gateway`: replaces the whole block; what is left out is cleared.
pub(super) async fn put(call: Call) -> Result<Reply, Failure> {
    let block: AiGateway = call.json()?;
    check(&block)?;
    let record = revise(&call, |record| {
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

/// Refuses what is wrong, and what would be accepted and not done: a guardrail that does not guard is
/// worse than none.
pub(super) fn check(block: &AiGateway) -> Result<(), ApiError> {
    let limits = block.rate_limits.as_deref().unwrap_or_default();
    if limits.len() > MAX_RATE_LIMITS {
        let count = limits.len();
        return Err(ApiError::invalid(format!(
            "ai_gateway.rate_limits has {count} entries, at most {MAX_RATE_LIMITS} are allowed"
        )));
    }
    for (at, limit) in limits.iter().enumerate() {
        check_limit(limit).map_err(|e| ApiError::invalid(format!("ai_gateway.rate_limits[{at}].{e}")))?;
    }
    match &block.guardrails {
        Some(guardrails) if asks_for_something(guardrails) => Err(ApiError::invalid(
            "ai_gateway.guardrails: this version enforces no guardrails yet; leave them out or set them to NONE",
        )),
        _ => Ok(()),
    }
}

fn check_limit(limit: &RateLimit) -> Result<(), String> {
    if limit.renewal_period != "minute" {
        return Err(format!("renewal_period: is {:?}, only \"minute\" is allowed", limit.renewal_period));
    }
    if limit.calls.is_none() && limit.tokens.is_none() {
        return Err("calls: set calls, tokens or both".to_owned());
    }
    if limit.calls.into_iter().chain(limit.tokens).any(|n| n < 0) {
        return Err("calls: a limit cannot be negative".to_owned());
    }
    // A kill switch that lets calls through would be worse than none.
    if limit.calls == Some(0) || limit.tokens == Some(0) {
        return Err(
            "calls: this version does not enforce limits yet, and a limit of 0 must: take the grants \
                    away instead, or delete the endpoint"
                .to_owned(),
        );
    }
    let key = limit.key.as_deref().unwrap_or("endpoint");
    if !KEYS.contains(&key) {
        return Err(format!("key: {key:?} is none of {}", KEYS.join(", ")));
    }
    if key == "user_group" && limit.principal.as_deref().unwrap_or_default().is_empty() {
        return Err("principal: is required for the key user_group".to_owned());
    }
    Ok(())
}

fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty() && text != "NONE",
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => map.values().any(asks_for_something),
        Value::Bool(true) | Value::Number(_) => true,
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
        assert!(limit(json!({"renewal_period": "day"})).is_err());
        assert!(limit(json!({"key": "user_group"})).is_err());
        assert!(limit(json!({"calls": null})).is_err());
    }

    #[test]
    fn guardrails_are_not_silently_ignored() {
        assert!(
            checked(json!({"guardrails": {"input": {"pii": {"behavior": "NONE"}, "safety": false}}})).is_ok()
        );
        assert!(checked(json!({"guardrails": {"input": {"pii": {"behavior": "BLOCK"}}}})).is_err());
        assert!(checked(json!({"guardrails": {"output": {"safety": true}}})).is_err());
    }
}
