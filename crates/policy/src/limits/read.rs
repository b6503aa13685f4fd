//! A limit as it is written.

use std::fmt;

use wire::endpoint::RateLimit;

use super::{Limit, Period, Whose};

const KEYS: [&str; 4] = ["endpoint", "user", "user_group", "service_principal"];

/// The field that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLimit {
    pub field: &'static str,
    pub reason: String,
}

impl fmt::Display for InvalidLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

pub fn read(limit: &RateLimit) -> Result<Limit, InvalidLimit> {
    let (calls, tokens) = (amount("calls", limit.calls)?, amount("tokens", limit.tokens)?);
    let concurrent_calls = amount("concurrent_calls", limit.concurrent_calls)?;
    if concurrent_calls == Some(0) {
        return Err(invalid("concurrent_calls", "must be at least 1; calls: 0 switches the endpoint off"));
    }
    let renews = calls.is_some() || tokens.is_some();
    if !renews && concurrent_calls.is_none() {
        return Err(invalid("calls", "set at least one of calls, tokens and concurrent_calls"));
    }
    let period = match limit.renewal_period.as_str() {
        "minute" => Period::Minute,
        "hour" => Period::Hour,
        "" if !renews => Period::Minute,
        other => return Err(invalid("renewal_period", format!("is {other:?}, set \"minute\" or \"hour\""))),
    };
    let report_only = limit.report_only.unwrap_or(false);
    Ok(Limit { whose: whose(limit)?, period, calls, tokens, concurrent_calls, report_only })
}

fn whose(limit: &RateLimit) -> Result<Whose, InvalidLimit> {
    let principal = limit.principal.as_deref().filter(|name| !name.is_empty());
    Ok(match (limit.key.as_deref().unwrap_or("endpoint"), principal) {
        ("endpoint", _) => Whose::Endpoint,
        ("user", None) => Whose::EachUser,
        ("user", Some(name)) => Whose::User(name.into()),
        ("service_principal", None) => Whose::EachServicePrincipal,
        ("service_principal", Some(id)) => Whose::ServicePrincipal(id.into()),
        ("user_group", Some(name)) => Whose::Group(name.into()),
        ("user_group", None) => return Err(invalid("principal", "is required for the key user_group")),
        (other, _) => return Err(invalid("key", format!("{other:?} is none of {}", KEYS.join(", ")))),
    })
}

fn amount(field: &'static str, amount: Option<i64>) -> Result<Option<u64>, InvalidLimit> {
    let amount = amount
        .map(|n| u64::try_from(n).map_err(|_| invalid(field, format!("is {n}, a limit cannot be negative"))));
    amount.transpose()
}

fn invalid(field: &'static str, reason: impl Into<String>) -> InvalidLimit {
    InvalidLimit { field, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_with(extra: serde_json::Value) -> Result<Limit, InvalidLimit> {
        let mut limit = json!({"calls": 5, "renewal_period": "minute"});
        limit.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        read(&serde_json::from_value(limit).unwrap())
    }

    #[test]
    fn a_limit_says_whose_it_is() {
        let whose = |extra| read_with(extra).unwrap().whose;
        assert_eq!(whose(json!({})), Whose::Endpoint);
        assert_eq!(whose(json!({"key": "user"})), Whose::EachUser);
        assert_eq!(whose(json!({"key": "user", "principal": "a"})), Whose::User("a".into()));
        assert_eq!(whose(json!({"key": "user_group", "principal": "g"})), Whose::Group("g".into()));
        let service = json!({"key": "service_principal", "principal": "id"});
        assert_eq!(whose(service), Whose::ServicePrincipal("id".into()));
        assert_eq!(whose(json!({"key": "service_principal"})), Whose::EachServicePrincipal);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (extra, field) in [
            (json!({"key": "usr"}), "key"),
            (json!({"key": "user_group"}), "principal"),
            (json!({"renewal_period": "day"}), "renewal_period"),
            (json!({"renewal_period": ""}), "renewal_period"),
            (json!({"calls": null}), "calls"),
            (json!({"calls": -1}), "calls"),
            (json!({"tokens": -1}), "tokens"),
            (json!({"concurrent_calls": 0}), "concurrent_calls"),
        ] {
            assert_eq!(read_with(extra.clone()).unwrap_err().field, field, "{extra}");
        }
    }

    #[test]
    fn our_extensions_are_read() {
        let hourly = read_with(json!({"renewal_period": "hour", "report_only": true})).unwrap();
        assert_eq!((hourly.period, hourly.report_only), (Period::Hour, true));
        let at_once = json!({"calls": null, "renewal_period": "", "concurrent_calls": 3});
        assert_eq!(read_with(at_once).unwrap().concurrent_calls, Some(3));
        assert!(read_with(json!({"calls": 0})).unwrap().is_off_switch());
        assert!(!read_with(json!({"calls": 0, "report_only": true})).unwrap().is_off_switch());
    }
}
