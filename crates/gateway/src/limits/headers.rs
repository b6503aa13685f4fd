//! How a caller stands, in the headers that OpenAI's clients read.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use policy::limits::{Measure, Standing};

use super::tightest;

const REQUESTS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: [&str; 3] =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];

/// Of calls and of tokens the limit with the least room. Empty where the caller has no limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateLimitHeaders(Vec<(HeaderName, HeaderValue)>);

impl RateLimitHeaders {
    pub(super) fn of(standings: &[Standing]) -> Self {
        let mut headers = Vec::new();
        for (names, measure) in [(REQUESTS, Measure::Calls), (TOKENS, Measure::Tokens)] {
            let Some(standing) = tightest(standings, measure) else { continue };
            let reset = duration(standing.resets_in.unwrap_or_default());
            let values = [
                Some(standing.cap.into()),
                Some(standing.remaining().into()),
                HeaderValue::from_str(&reset).ok(),
            ];
            for (name, value) in names.into_iter().zip(values) {
                headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
            }
        }
        Self(headers)
    }

    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        headers.extend(self.0);
    }
}

/// Whole seconds, not less than it is, as OpenAI writes them: `12s`, `6m0s`.
fn duration(left: Duration) -> String {
    match left.as_millis().div_ceil(1_000) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_written_as_openai_does() {
        let of = |ms| duration(Duration::from_millis(ms));
        assert_eq!([of(1), of(12_000), of(60_000), of(3_599_001)], ["1s", "12s", "1m0s", "60m0s"]);
    }
}
