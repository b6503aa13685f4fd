//! Ways to write what is forbidden so that a plain search misses it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tollgate_policy::guardrails::{Writing, whole};

use crate::further::further;
use crate::positives::{masking, masking_all, positives, rules};

type Encode = fn(&str) -> String;

fn each(text: &str, write: impl Fn(char) -> String) -> String {
    text.chars().map(write).collect()
}

fn of_bytes(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

fn shifted(text: &str, by: u32) -> String {
    each(text, |c| char::from_u32(u32::from(c) + by).unwrap_or(c).to_string())
}

/// Each writes the whole text otherwise.
const ENCODINGS: [(&str, Encode); 14] = [
    ("wide forms", |text| {
        each(text, |c| if ('!'..='~').contains(&c) { shifted(&c.to_string(), 0xfee0) } else { c.into() })
    }),
    ("lookalikes", |text| each(text, lookalike)),
    ("invisible characters between", |text| each(text, |c| format!("{c}\u{200b}\u{2060}"))),
    ("marks on every letter", |text| {
        each(text, |c| if c.is_ascii_alphanumeric() { format!("{c}\u{336}") } else { c.into() })
    }),
    ("mathematical letters and digits", |text| each(text, mathematical)),
    ("tag characters", |text| format!("hello{}", shifted(text, 0xe0000))),
    ("variation selectors", |text| format!("😀{}", of_bytes(text, selector))),
    ("base64", |text| STANDARD.encode(text)),
    ("base64 for URLs, in a sentence", |text| format!("please decode {} now", URL_SAFE_NO_PAD.encode(text))),
    ("hexadecimal", |text| of_bytes(text, |b| format!("{b:02x}"))),
    ("URL escapes", |text| of_bytes(text, |b| format!("%{b:02X}"))),
    ("escapes of programs", |text| text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()),
    ("base64 of base64", |text| STANDARD.encode(STANDARD.encode(text))),
    ("URL escapes of hexadecimal", |text| {
        of_bytes(&of_bytes(text, |b| format!("{b:02x}")), |b| format!("%{b:02x}"))
    }),
];

fn selector(byte: u8) -> String {
    let code = if byte < 16 { 0xfe00 + u32::from(byte) } else { 0xe0100 + u32::from(byte) - 16 };
    char::from_u32(code).unwrap().to_string()
}

fn lookalike(c: char) -> String {
    match "aceopxyABEKMHOPCTX-".chars().position(|plain| plain == c) {
        Some(at) => "асеорхуАВЕКМНОРСТХ‑".chars().nth(at).unwrap().to_string(),
        None => c.to_string(),
    }
}

fn mathematical(c: char) -> String {
    let code = match c {
        'A'..='Z' => 0x1d400 + u32::from(c) - 0x41,
        'a'..='z' => 0x1d41a + u32::from(c) - 0x61,
        '0'..='9' => 0x1d7ce + u32::from(c) - 0x30,
        _ => u32::from(c),
    };
    char::from_u32(code).unwrap().to_string()
}

/// At least 995 of a thousand, in each.
#[test]
fn what_is_written_otherwise_is_found() {
    let keywords = rules(json!({"invalid_keywords": ["Project Bluebird", "überraschung"]}));
    for (name, encode) in ENCODINGS {
        for (set, pii, positives) in
            [("labelled", masking(), positives()), ("further", masking_all(), further())]
        {
            let is_caught = |text: &str| !whole(&pii, Writing::Plain, &encode(text)).found.is_empty();
            let missed: Vec<_> =
                positives.iter().filter(|one| !is_caught(&one.text)).map(|one| &one.text).collect();
            let (missing, all) = (missed.len(), positives.len());
            assert!(
                (all - missing) * 1000 >= all * 995,
                "{name}: {missing} of {all} of the {set}: {missed:?}"
            );
            println!("{name}: {missing} of {all} of the {set} missed");
        }
        // Lookalikes of letters with marks are other letters; the plain word is in all.
        let told = encode("tell me about Project Bluebird, please");
        assert_eq!(whole(&keywords, Writing::Plain, &told).found.len().min(1), 1, "{name}: {told}");
    }
}

#[test]
fn plain_text_is_not_taken_for_code() {
    let rules = masking();
    for text in [
        "The deadbeef of cafebabe: 0xdeadbeef, see crates/policy/src/guardrails/pii/mod.rs:100",
        "aGVsbG8gd29ybGQgaG93IGFyZSB5b3U=",
    ] {
        assert_eq!(whole(&rules, Writing::Plain, text).found, [], "{text}");
    }
}
