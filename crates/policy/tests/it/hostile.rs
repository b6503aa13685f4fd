//! Texts made to take long.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_policy::guardrails::{Writing, whole};

use crate::positives::rules;

/// Time grows as the text does: eight times the text takes at most some sixteen times as long.
#[test]
fn time_is_linear_in_hostile_text() {
    let rules = rules(
        json!({"pii": {"behavior": "MASK"}, "invalid_keywords": ["(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaab"]}),
    );
    for piece in [
        "a",
        "@",
        "a@",
        "a.",
        "1",
        "1-",
        "1 ",
        "%25",
        "\\u0",
        "&#",
        "41",
        "4111 ",
        "YWFh",
        "\u{200b}x",
        "acct 1",
        "+1 (2",
        "x@x.x@",
        "\n",
    ] {
        let took = |bytes: usize| {
            let text = piece.repeat(bytes / piece.len());
            let started = Instant::now();
            whole(&rules, Writing::Plain, &text);
            started.elapsed()
        };
        let (short, long) = (took(16 << 10), took(128 << 10));
        assert!(long < short * 32 + Duration::from_millis(200), "{piece:?}: {short:?}, then {long:?}");
        assert!(long < Duration::from_secs(20), "{piece:?}: {long:?}");
    }
}
