//! What is read of the providers' own counts: every token once, and all of them.

use serde::Deserialize;
use serde_json::Value;
use tollgate_providers::{MessagesUsage, converse_usage, generate_content_usage};
use wire::counts::TokenKind;
use wire::usage::Usage;

use crate::kit::{Subject, chat_subjects, json};

/// One case of `fixtures/usage.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What is told apart in it.
    of: String,
    /// The provider's counts, as its answers have them.
    told: Value,
    /// What the provider itself gives as the total, or what its documentation says adds up to it.
    total: u64,
    /// The kinds of which there are some, by name.
    counts: Value,
}

/// Where answers have their counts.
const PLACES: [&str; 2] = ["usage", "usageMetadata"];

fn cases(subject: &Subject) -> Vec<Case> {
    serde_json::from_slice(&subject.read("usage.json")).unwrap()
}

/// The usage of an answer whose counts are `told`.
fn decoded(subject: &Subject, told: &Value) -> Option<Usage> {
    let mut reply = json(&subject.reply("basic").unwrap());
    let place = PLACES.iter().find(|place| reply.get(**place).is_some()).unwrap();
    reply[*place] = told.clone();
    subject.codec().unwrap().decode(reply.to_string().as_bytes()).unwrap().usage
}

#[test]
fn every_token_is_counted_once() {
    for subject in chat_subjects() {
        let cases = cases(&subject);
        assert!(cases.iter().any(|case| case.of.contains("cache")), "{}", subject.name());
        assert!(cases.iter().any(|case| case.of.contains("reasoning")), "{}", subject.name());
        for case in cases {
            let place = format!("{}: {}", subject.name(), case.of);
            let usage = decoded(&subject, &case.told).unwrap_or_else(|| panic!("{place}: no usage"));
            let counts = usage.counts();
            assert_eq!(serde_json::to_value(counts).unwrap(), case.counts, "{place}");
            assert_eq!(counts.total(), case.total, "{place}");
            assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), case.total, "{place}");
            assert_eq!(usage.prompt_tokens, counts.input(), "{place}");
            // What passes through is told to clients as it came, though it leaves reasoning out.
            let told = usage.completion_tokens;
            let beside =
                subject.splice().is_some() && told + counts.get(TokenKind::Reasoning) == counts.output();
            assert!(told == counts.output() || beside, "{place}: {usage:?}");
        }
    }
}

/// A format that passes through is read as it is when it is translated.
#[test]
fn what_passes_through_is_counted_alike() {
    let messages = |told: &Value| {
        let mut usage = MessagesUsage::default();
        usage.read(told);
        usage.usage()
    };
    let mut seen = 0;
    for subject in chat_subjects() {
        let native: &dyn Fn(&Value) -> Option<Usage> = match subject.registration.name {
            "anthropic" => &messages,
            "amazon-bedrock" => &converse_usage,
            "google" | "google-cloud-vertex-ai" => &generate_content_usage,
            _ => continue,
        };
        for case in cases(&subject) {
            assert_eq!(native(&case.told), decoded(&subject, &case.told), "{}: {}", subject.name(), case.of);
            seen += 1;
        }
    }
    assert!(seen > 5);
}
