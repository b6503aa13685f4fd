//! Texts made to take long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_policy::guardrails::{Window, Writing, whole};

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
        " ",
        " \n",
        "\u{200b}",
        "\u{301}",
        "\u{e0041}",
        "\u{fe01}",
        "%",
        "\\",
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

/// The same of a text that comes in small pieces, in which much is held back.
#[test]
fn time_is_linear_in_a_hostile_stream() {
    let rules = rules(json!({"pii": {"behavior": "MASK"}}));
    for piece in
        [" ", "\u{200b}", "\u{301}", "\u{e0041}", "\u{fe01}", "YWFh", "41 ", "0x41, ", "%", "&#", "a@"]
    {
        let took = |bytes: usize| {
            let text = piece.repeat(bytes / piece.len());
            let mut window = Window::new(Arc::clone(&rules), Writing::Plain);
            let started = Instant::now();
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let (first, others) = rest.split_at(rest.ceil_char_boundary(48));
                window.push(first);
                rest = others;
            }
            window.finish();
            started.elapsed()
        };
        let (short, long) = (took(8 << 10), took(64 << 10));
        assert!(long < short * 32 + Duration::from_millis(200), "{piece:?}: {short:?}, then {long:?}");
        assert!(long < Duration::from_secs(20), "{piece:?}: {long:?}");
    }
}
