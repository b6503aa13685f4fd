//! Bytes that nobody meant well: nothing here may panic.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;
use tollgate_providers::{ChatCodec, Framing};
use wire::chat::ChatRequest;

use crate::kit::{CASES, ERRORS, STREAMS, Subject, chat_subjects, events, json, request};
use crate::stream::run;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// All that a codec reads from upstream.
fn feed(codec: &dyn ChatCodec, name: &str, bytes: &[u8]) {
    let _ = codec.decode(bytes);
    for status in [0, 200, 400, 599] {
        let _ = codec.error(status, bytes);
    }
    let (mut stream, mut chunks) = (codec.stream(), Vec::new());
    for _ in 0..2 {
        let _ = stream.event(name, bytes, &mut chunks);
        let _ = stream.event("", bytes, &mut chunks);
    }
    let _ = stream.finish(&mut chunks);
    for framing in [Framing::Sse, Framing::AwsEventStream] {
        let _ = run(codec, framing, [bytes]);
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    for subject in chat_subjects() {
        let codec = subject.codec().unwrap();
        let bytes = proptest::collection::vec(any::<u8>(), 0..200);
        proptest!(config(128), |(bytes in bytes, name in "[a-z_]{0,8}")| feed(codec, &name, &bytes));
    }
}

#[test]
fn arbitrary_json_never_panics() {
    for subject in chat_subjects() {
        let codec = subject.codec().unwrap();
        let names = select(words(&subject));
        proptest!(config(256), |(value in any_json(&subject), name in names)| {
            feed(codec, &name, value.to_string().as_bytes());
            if let Ok(request) = serde_json::from_value::<ChatRequest>(value) {
                let _ = codec.encode("m", &request);
            }
        });
    }
}

/// A good request with one value replaced gets further than one that is wrong all over.
#[test]
fn mutated_requests_never_panic() {
    for subject in chat_subjects() {
        let codec = subject.codec().unwrap();
        let requests: Vec<Value> = CASES.iter().map(|case| json(&request(case))).collect();
        proptest!(config(512), |(mut body in select(requests), at in any::<prop::sample::Index>(), with in replacement(&subject))| {
            let at = at.index(count(&body));
            replace(&mut body, at, &with);
            if let Ok(request) = serde_json::from_value::<ChatRequest>(body) {
                let _ = codec.encode(&subject.setup.model, &request);
            }
        });
    }
}

#[test]
fn mutated_replies_never_panic() {
    for subject in chat_subjects() {
        let codec = subject.codec().unwrap();
        let mut bodies: Vec<Value> =
            CASES.iter().filter_map(|c| subject.reply(c)).map(|b| json(&b)).collect();
        bodies.extend(ERRORS.iter().map(|status| json(&subject.read(&format!("error/{status}.json")))));
        proptest!(config(1024), |(mut body in select(bodies), at in any::<prop::sample::Index>(), with in replacement(&subject))| {
            let at = at.index(count(&body));
            replace(&mut body, at, &with);
            feed(codec, "", body.to_string().as_bytes());
        });
    }
}

#[test]
fn mutated_and_shuffled_streams_never_panic() {
    for subject in chat_subjects() {
        let codec = subject.codec().unwrap();
        for (name, _) in STREAMS {
            let events = events(subject.framing(), &subject.stream(name));
            let length = events.len();
            let order = proptest::collection::vec(0..length, length);
            proptest!(config(96), |(order in order, at in any::<prop::sample::Index>(), with in replacement(&subject), sorted in any::<bool>())| {
                let mut order = order;
                if sorted {
                    order.sort_unstable();
                }
                let (mut stream, mut chunks) = (codec.stream(), Vec::new());
                for event in order.into_iter().map(|at| &events[at]) {
                    let Ok(mut data) = serde_json::from_slice::<Value>(&event.data) else { continue };
                    if at.index(3) == 0 {
                        let at = at.index(count(&data));
                        replace(&mut data, at, &with);
                    }
                    let _ = stream.event(&event.name, data.to_string().as_bytes(), &mut chunks);
                }
                let _ = stream.finish(&mut chunks);
            });
        }
    }
}

/// A value to put in the place of another: as often simple as nested.
fn replacement(subject: &Subject) -> impl Strategy<Value = Value> + use<> {
    prop_oneof![2 => any_leaf(words(subject)), 1 => any_json(subject)]
}

/// JSON in the words of the provider's own fixtures.
fn any_json(subject: &Subject) -> impl Strategy<Value = Value> + use<> {
    let words = words(subject);
    any_leaf(words.clone()).prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((select(words.clone()), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Numbers at the edge above all.
fn any_leaf(words: Vec<String>) -> impl Strategy<Value = Value> + use<> {
    prop_oneof![
        3 => select(vec![0, 1, 1024, u64::from(u32::MAX), u64::MAX - 1, u64::MAX]).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        2 => select(words).prop_map(Value::from),
        1 => ".{0,12}".prop_map(Value::from),
    ]
}

/// Keys and short strings of the provider's fixtures and the shared requests.
fn words(subject: &Subject) -> Vec<String> {
    let mut words = Vec::new();
    CASES.iter().for_each(|case| gather(&json(&request(case)), &mut words));
    CASES.iter().filter_map(|c| subject.reply(c)).for_each(|body| gather(&json(&body), &mut words));
    for (name, _) in STREAMS {
        for event in events(subject.framing(), &subject.stream(name)) {
            words.push(event.name);
            if let Ok(data) = serde_json::from_slice(&event.data) {
                gather(&data, &mut words);
            }
        }
    }
    words.sort_unstable();
    words.dedup();
    words
}

fn gather(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            words.extend(map.keys().cloned());
            map.values().for_each(|v| gather(v, words));
        }
        Value::Array(items) => items.iter().for_each(|v| gather(v, words)),
        Value::String(text) if text.len() < 24 => words.push(text.clone()),
        _ => {}
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Object(map) => map.values().map(count).sum(),
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

/// Replaces the value that is `at`th when all are counted.
fn replace(value: &mut Value, at: usize, with: &Value) {
    if at == 0 {
        *value = with.clone();
        return;
    }
    let mut left = at - 1;
    let children: Vec<&mut Value> = match value {
        Value::Object(map) => map.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => return,
    };
    for child in children {
        let size = count(child);
        if left < size {
            return replace(child, left, with);
        }
        left -= size;
    }
}
