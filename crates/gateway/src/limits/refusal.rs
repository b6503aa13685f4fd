//! How a refusal for a limit is said: which limit, what is used, what is allowed, when it begins anew.

use policy::limits::{Limit, Measure, Standing, Whose};
use wire::error::{ApiError, ErrorCode};

use crate::error::ServeError;

/// Longest wait that is asked for, in seconds: OpenAI's clients pass over longer ones.
const LONGEST_WAIT: u32 = 60;
/// Where nobody knows when there will be room.
const SHORT_WAIT: u32 = 1;

/// How a call is refused that `by` has no room for.
pub(crate) fn refusal(endpoint: &str, by: &Standing) -> ServeError {
    if by.fits_never() { fits_never(by).into() } else { limited(endpoint, by) }
}

/// 429: there is no room now.
fn limited(endpoint: &str, by: &Standing) -> ServeError {
    let message = format!(
        "REQUEST_LIMIT_EXCEEDED: User defined rate limit(s) exceeded on endpoint {endpoint:?}: {}",
        sentence(by)
    );
    let retry_after = wait(by);
    ServeError::Limited { error: ApiError::new(ErrorCode::RequestLimitExceeded, message), retry_after }
}

/// 403: what is switched off stays so, and clients repeat a 429 for minutes.
pub(crate) fn switched_off(limit: &Limit) -> ApiError {
    let which = whose(limit);
    ApiError::denied(format!(
        "The endpoint is temporarily disabled due to a user defined {which} rate limit of 0."
    ))
}

/// 400: no wait makes room.
fn fits_never(by: &Standing) -> ApiError {
    let (which, needs, cap, period) = (whose(&by.limit), by.needs, by.cap, by.limit.period.as_str());
    ApiError::bad_request(format!(
        "the request takes an estimated {needs} tokens at least, and the {which} rate limit is {cap} tokens \
         per {period}: shorten the prompt, or raise the limit"
    ))
}

fn sentence(by: &Standing) -> String {
    let (which, cap, used) = (whose(&by.limit), by.cap, by.used);
    let period = by.limit.period.as_str();
    let resets = by.resets_in.map_or(0, |left| left.as_millis().div_ceil(1_000));
    match by.measure {
        Measure::ConcurrentCalls => {
            format!("the {which} rate limit is {cap} calls at once, and {used} are under way")
        }
        Measure::Calls => format!(
            "the {which} rate limit is {cap} calls per {period}, {used} are used; it resets in {resets} s"
        ),
        Measure::Tokens => format!(
            "the {which} rate limit is {cap} tokens per {period}, {used} are used or reserved, the request \
             takes an estimated {} at least; it resets in {resets} s",
            by.needs
        ),
    }
}

fn whose(limit: &Limit) -> String {
    match &limit.whose {
        Whose::Endpoint => "endpoint".to_owned(),
        Whose::EachUser => "user default".to_owned(),
        Whose::EachServicePrincipal => "service principal default".to_owned(),
        Whose::User(name) => format!("user {name:?}"),
        Whose::ServicePrincipal(id) => format!("service principal {id:?}"),
        Whose::Group(name) => format!("group {name:?}"),
    }
}

fn wait(by: &Standing) -> u32 {
    let Some(left) = by.resets_in else { return SHORT_WAIT };
    u32::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(LONGEST_WAIT).clamp(1, LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::limits::Period;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_refusal_names_the_limit_and_asks_for_a_wait_that_clients_take() {
        let limit = Limit {
            whose: Whose::Group("g".into()),
            period: Period::Hour,
            calls: Some(5),
            tokens: None,
            concurrent_calls: None,
            report_only: false,
        };
        let standing = |ms| Standing {
            limit: Arc::new(limit.clone()),
            measure: Measure::Calls,
            cap: 5,
            used: 5,
            needs: 1,
            resets_in: Some(Duration::from_millis(ms)),
        };
        let ServeError::Limited { error, retry_after } = limited("e", &standing(1_500_001)) else {
            panic!("no 429")
        };
        assert_eq!((error.status, retry_after), (429, 60));
        assert_eq!(
            error.message,
            "REQUEST_LIMIT_EXCEEDED: User defined rate limit(s) exceeded on endpoint \"e\": the group \"g\" \
             rate limit is 5 calls per hour, 5 are used; it resets in 1501 s"
        );
        assert_eq!([wait(&standing(1)), wait(&standing(12_001))], [1, 13]);
    }
}
