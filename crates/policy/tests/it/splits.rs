//! A stream gives what the whole text gives, however it is cut.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;
use tollgate_policy::guardrails::{Released, Rules, Window, Writing, whole};

use crate::further::further;
use crate::positives::{Positive, masking, masking_all, positives, rules};

const FILLER: &str = "It was a bright cold day in April, and the clocks were striking thirteen; nobody spoke of order 17 or of version 2.0. ";

fn pieces<'a>(rules: &Arc<Rules>, writing: Writing, pieces: impl IntoIterator<Item = &'a str>) -> Released {
    let mut window = Window::new(Arc::clone(rules), writing);
    let (mut text, mut found) = (String::new(), Vec::new());
    for piece in pieces {
        let released = window.push(piece);
        text += &released.text;
        found.extend(released.found);
    }
    let last = window.finish();
    found.extend(last.found);
    Released { text: text + &last.text, found }
}

fn bytes(text: &str) -> Vec<&str> {
    text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect()
}

fn gives_the_same_however_it_is_split(rules: &Arc<Rules>, positives: &[Positive]) {
    for Positive { text, value } in positives {
        let expected = whole(rules, Writing::Plain, text);
        assert!(
            !expected.found.is_empty() && !expected.text.contains(value.as_str()),
            "{text:?}: {expected:?}"
        );
        for at in (1..text.len()).filter(|at| text.is_char_boundary(*at)) {
            assert_eq!(
                pieces(rules, Writing::Plain, [&text[..at], &text[at..]]),
                expected,
                "{text:?} at {at}"
            );
        }
        assert_eq!(pieces(rules, Writing::Plain, bytes(text)), expected, "{text:?}");
    }
}

#[test]
fn every_two_way_split_and_single_characters_give_the_whole_s_verdict() {
    let positives = positives();
    assert_eq!(positives.len(), 560);
    gives_the_same_however_it_is_split(&masking(), &positives);
}

#[test]
fn of_other_kinds_and_in_other_scripts_too() {
    gives_the_same_however_it_is_split(&masking_all(), &further());
}

/// Between other text, longer than what is held back.
#[test]
fn in_a_long_text_too() {
    let rules = masking_all();
    // What stands behind "version", as the filler has it, is no address of a machine.
    let further = further().into_iter().filter(|one| one.value != "10.20.30.40");
    let some = positives().into_iter().chain(further).enumerate().filter(|(at, _)| at % 25 == 0);
    for (at, Positive { text, value }) in some {
        let long = format!("{}{text}\n{}", FILLER.repeat(3 + at % 7), FILLER.repeat(8));
        let expected = whole(&rules, Writing::Plain, &long);
        assert!(!expected.text.contains(value.as_str()), "{text:?}");
        let start = long.find(value.as_str()).unwrap();
        let around = start.saturating_sub(2)..=start + value.len() + 2;
        for cut in around.filter(|cut| long.is_char_boundary(*cut)) {
            assert_eq!(
                pieces(&rules, Writing::Plain, [&long[..cut], &long[cut..]]),
                expected,
                "{text:?} at {cut}"
            );
        }
        assert_eq!(pieces(&rules, Writing::Plain, bytes(&long)), expected, "{text:?}");
    }
}

#[test]
fn what_is_encoded_is_found_in_a_stream_however_long_it_is() {
    let rules = masking();
    let encoded =
        STANDARD.encode(format!("{}write to bob@example.com. {}", FILLER.repeat(20), FILLER.repeat(20)));
    let twice = STANDARD.encode(&encoded);
    let escaped: String = "bob@example.com".bytes().map(|b| format!("%25{b:02x}")).collect();
    let pairs = |text: &str, before: &str, after: &str| -> String {
        text.bytes().map(|byte| format!("{before}{byte:02x}{after}")).collect()
    };
    let long = format!("bob@{}com", "example.".repeat(25));
    let spread = pairs(&format!("{}{long}", FILLER.repeat(2)), "0x", ", ");
    let spread_twice = pairs(&pairs(&long, "0x", ", "), "0x", ", ");
    let joined = format!("word{}", pairs(&format!("{long} "), "", " "));
    for hidden in [encoded, twice, escaped, spread, spread_twice, joined] {
        let text = format!("{FILLER}{hidden} {}", FILLER.repeat(30));
        let expected = whole(&rules, Writing::Plain, &text);
        assert!(!expected.found.is_empty(), "{hidden}");
        assert_eq!(pieces(&rules, Writing::Plain, bytes(&text)), expected, "{hidden}");
    }
}

#[test]
fn masked_json_stays_json() {
    let rules = masking();
    let arguments = json!({"to": "say \"hi\"\nbob@example.com", "ssn": 536_904_399_u64, "list": [1, "212-555-0147"], "account_number": "12345678", "tin": -536_904_399_i64, "ssns": [-536_904_399_i64, 7]});
    for text in [
        arguments.to_string(),
        serde_json::to_string_pretty(&arguments).unwrap(),
        arguments.to_string().replace('@', "\\u0040"),
    ] {
        let expected = whole(&rules, Writing::Json, &text);
        let masked: serde_json::Value = serde_json::from_str(&expected.text).unwrap();
        assert_eq!(masked["to"], "say \"hi\"\n<EMAIL_ADDRESS>");
        assert_eq!(
            (masked["ssn"].as_str(), masked["list"][1].as_str()),
            (Some("<US_SSN>"), Some("<PHONE_NUMBER>"))
        );
        assert_eq!(masked["account_number"], "<US_BANK_NUMBER>");
        // With its sign.
        assert_eq!((&masked["tin"], &masked["ssns"]), (&json!("<US_SSN>"), &json!(["<US_SSN>", 7])));
        assert_eq!(pieces(&rules, Writing::Json, bytes(&text)), expected);
    }
}

/// Whether a number stands in a string is told by all that came before, however much that is.
#[test]
fn masked_json_stays_json_however_long_it_is() {
    let rules = masking();
    for before in ["x".repeat(3000), format!("{}\\\"", "a \"b\" ".repeat(400))] {
        let numbers = format!("{before}, [ssn, 536904399, 2");
        let arguments = json!({"notes": [before, numbers, "536904399"], "ssn": 536_904_399_u64, "more": before, "list": [536_904_399_u64, 3]});
        for text in [arguments.to_string(), serde_json::to_string_pretty(&arguments).unwrap()] {
            let expected = whole(&rules, Writing::Json, &text);
            let masked: serde_json::Value = serde_json::from_str(&expected.text).unwrap();
            assert_eq!(masked["ssn"], "<US_SSN>");
            assert!(!masked["notes"][1].as_str().unwrap().contains("536904399"), "{masked}");
            assert_eq!(pieces(&rules, Writing::Json, bytes(&text)), expected);
        }
    }
}

#[test]
fn a_keyword_is_found_in_a_stream() {
    let rules = rules(json!({"invalid_keywords": ["project bluebird", "機密"]}));
    for text in ["all about Project\u{200b} Bluebird!", "これは機密です"] {
        let text = format!("{}{text} {}", FILLER.repeat(4), FILLER.repeat(4));
        assert_eq!(pieces(&rules, Writing::Plain, bytes(&text)).found.len(), 1);
    }
}

#[test]
fn what_is_found_across_a_mask_is_told_once() {
    let rules = rules(json!({"pii": {"behavior": "MASK"}, "invalid_keywords": ["project bluebird"]}));
    for shift in 0..32 {
        let text = format!(
            "{}{} project bluebird@example.com {}",
            FILLER.repeat(4),
            "x".repeat(shift),
            FILLER.repeat(4)
        );
        let expected = whole(&rules, Writing::Plain, &text);
        assert_eq!(expected.found.len(), 2, "{expected:?}");
        assert_eq!(pieces(&rules, Writing::Plain, bytes(&text)), expected, "{shift}");
    }
}

#[test]
fn nothing_is_held_back_without_end() {
    let rules = masking();
    let mut window = Window::new(Arc::clone(&rules), Writing::Plain);
    let invisible = "\u{200b}".repeat(64 << 10);
    let found: Vec<_> = (0..8).flat_map(|_| window.push(&invisible).found).collect();
    assert!(!found.is_empty(), "what is invisible is held back and never let go");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any text of what rules look at, cut anywhere.
    #[test]
    fn any_split_of_any_text_gives_the_same(words in proptest::collection::vec(word(), 0..120), cuts in proptest::collection::vec(1..40_usize, 1..30)) {
        let rules = rules(json!({"pii": {"behavior": "MASK"}, "invalid_keywords": ["bluebird"]}));
        let text = words.concat();
        let (mut rest, mut cut) = (text.as_str(), Vec::new());
        for length in cuts.iter().cycle().take_while(|_| true) {
            if rest.is_empty() { break; }
            let at = rest.ceil_char_boundary(*length);
            cut.push(&rest[..at]);
            rest = &rest[at..];
        }
        for writing in [Writing::Plain, Writing::Json] {
            prop_assert_eq!(pieces(&rules, writing, cut.iter().copied()), whole(&rules, writing, &text));
        }
    }

    /// Any numbers, under words that tell what they are.
    #[test]
    fn masked_numbers_leave_json(members in proptest::collection::vec((key(), number(), any::<bool>()), 1..8)) {
        let member = |(key, number, list): &(&str, String, bool)| {
            if *list { format!("\"{key}\": [{number}, {number},{number}]") } else { format!("\"{key}\":{number}") }
        };
        let text = format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "));
        let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
        prop_assert!(is_json(&text), "{}", text);
        let masked = whole(&masking_all(), Writing::Json, &text).text;
        prop_assert!(is_json(&masked), "{} of {}", masked, text);
    }
}

fn key() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "ssn",
        "call",
        "card",
        "account_number",
        "routing",
        "passport",
        "itin",
        "bank",
        "x",
    ])
}

fn number() -> impl Strategy<Value = String> {
    let known = [
        "536904399",
        "2125550147",
        "4111111111111111",
        "12345678",
        "021000021".trim_start_matches('0'),
        "900700000",
        "212.5550147",
        "212.555",
    ];
    let digits = prop_oneof![proptest::sample::select(known.map(str::to_owned).to_vec()), "[1-9][0-9]{2,17}"];
    (
        proptest::sample::select(vec!["", "-"]),
        digits,
        proptest::sample::select(vec!["", ".5", ".0147", "e5", "E-2"]),
    )
        .prop_map(|(sign, digits, more)| {
            let more = if digits.contains('.') && more.starts_with('.') { "" } else { more };
            format!("{sign}{digits}{more}")
        })
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,12} ",
        "[0-9]{1,12}[ .-]",
        Just("536-90-4399".to_owned()),
        Just("a@b.co".to_owned()),
        Just("@c.com".to_owned()),
        Just("account number ".to_owned()),
        Just("%40".to_owned()),
        Just("\\u0040".to_owned()),
        Just("blue\u{200b}bird".to_owned()),
        Just("NTM2LTkwLTQzOTk=".to_owned()),
        Just("\n".to_owned()),
        Just("62 6f 62 ".to_owned()),
        Just("0x40, ".to_owned()),
        Just(",".to_owned()),
        Just("/".to_owned()),
        Just("ssn_".to_owned()),
        Just("\"ssn\": 536904399, ".to_owned()),
        Just("\"ssn\": -536904399, ".to_owned()),
        Just("4111 1111 1111 1111".to_owned()),
    ]
}
