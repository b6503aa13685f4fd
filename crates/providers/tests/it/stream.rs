//! Streams: bytes in, chunks and an ending out, wherever the reads are cut.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_providers::{ChatCodec, StreamFault};
use wire::chat::ChatChunk;
use wire::sse::{Event, Parser, write_data};

use crate::answer::{Answer, check_usage};
use crate::kit::{STREAMS, chat_subjects, expect_file};

/// Chunks, and how the stream ended.
type Outcome = (Vec<ChatChunk>, Result<(), StreamFault>);

pub(crate) fn run<'a>(codec: &dyn ChatCodec, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let (mut parser, mut stream, mut chunks) = (Parser::new(1 << 20), codec.stream(), Vec::new());
    for piece in pieces {
        parser.push(piece);
        while let Some(event) = parser.next_event().unwrap() {
            if let Err(fault) = stream.event(&event.name, &event.data, &mut chunks) {
                return (chunks, Err(fault));
            }
        }
    }
    let last = parser.finish().map_or(Ok(()), |event| stream.event(&event.name, &event.data, &mut chunks));
    let ending = last.and_then(|()| stream.finish(&mut chunks).map_err(StreamFault::from));
    (chunks, ending)
}

/// The outcome as its file tells it.
fn told((chunks, ending): &Outcome) -> Value {
    let ending = match ending {
        Ok(()) => json!({"end": "ok"}),
        Err(StreamFault::Malformed(fault)) => json!({"fault": {"malformed": fault.0}}),
        Err(StreamFault::Upstream(e)) => json!({"fault": {"status": e.status, "message": e.message}}),
    };
    chunks.iter().map(|chunk| serde_json::to_value(chunk).unwrap()).chain([ending]).collect()
}

/// Every stream of every provider: its place, codec and bytes.
fn for_each(mut check: impl FnMut(&str, &dyn ChatCodec, &[u8])) {
    for subject in chat_subjects() {
        for (name, _) in STREAMS {
            let bytes = subject.read(&format!("stream/{name}.sse"));
            check(&format!("{}: {name}", subject.name()), subject.codec().unwrap(), &bytes);
        }
    }
}

#[test]
fn streams() {
    for subject in chat_subjects() {
        for (name, paired) in STREAMS {
            let outcome = run(subject.codec().unwrap(), [&*subject.read(&format!("stream/{name}.sse"))]);
            assert_eq!(outcome.1.is_ok(), paired.is_some(), "{}: {name}: {:?}", subject.name(), outcome.1);
            expect_file(&subject.path(&format!("stream/{name}.chunks.json")), &told(&outcome));
        }
    }
}

#[test]
fn the_ending_says_whose_fault_it_was() {
    for subject in chat_subjects() {
        let ending =
            |name: &str| run(subject.codec().unwrap(), [&*subject.read(&format!("stream/{name}.sse"))]).1;
        assert!(matches!(ending("cut-mid-frame"), Err(StreamFault::Malformed(_))), "{}", subject.name());
        let Err(StreamFault::Upstream(error)) = ending("error-mid-stream") else {
            panic!("{}: no upstream error", subject.name());
        };
        assert!(error.allows_fallback() && !error.message.is_empty(), "{error:?}");
    }
}

#[test]
fn streamed_and_unstreamed_say_the_same() {
    for subject in chat_subjects() {
        let codec = subject.codec().unwrap();
        for (name, paired) in STREAMS {
            let Some(reply) = paired.and_then(|case| subject.reply(case)) else { continue };
            let place = format!("{}: {name}", subject.name());
            let (chunks, _) = run(codec, [&*subject.read(&format!("stream/{name}.sse"))]);
            assert_eq!(
                Answer::of_chunks(&chunks),
                Answer::of_reply(&codec.decode(&reply).unwrap()),
                "{place}"
            );
            check_usage(&place, chunks.iter().rev().find_map(|c| c.usage.as_ref()));
        }
    }
}

/// A stream that stops between two events is cut as well, unless all but the terminator was there.
#[test]
fn a_stream_that_stops_early_is_never_a_clean_end() {
    for_each(|place, codec, bytes| {
        let events = events(bytes);
        let (_, whole) = run(codec, [bytes]);
        for count in 0..events.len() {
            let (chunks, ending) = run(codec, [&*render(&events[..count])]);
            let finished = chunks.iter().flat_map(|c| &c.choices).any(|c| c.finish_reason.is_some());
            assert!(ending.is_err() || (finished && whole.is_ok()), "{place}: {count} events");
        }
    });
}

#[test]
fn one_byte_at_a_time_gives_the_same_chunks() {
    for_each(|place, codec, bytes| {
        assert_eq!(run(codec, bytes.chunks(1)), run(codec, [bytes]), "{place}");
    });
}

#[test]
fn any_split_gives_the_same_chunks() {
    for_each(|place, codec, bytes| {
        let whole = run(codec, [bytes]);
        let cuts = proptest::collection::vec(0..=bytes.len(), 0..12);
        proptest!(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }, |(mut cuts in cuts)| {
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]);
            prop_assert_eq!(&run(codec, pieces), &whole, "{}", place);
        });
    });
}

/// Line ends and the space after the colon are the sender's choice.
#[test]
fn other_spellings_of_the_frames_give_the_same_chunks() {
    for_each(|place, codec, bytes| {
        let whole = run(codec, [bytes]);
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n");
        for other in
            [text.replace('\n', "\r\n"), text.replace('\n', "\r"), text.replace("\ndata: ", "\ndata:")]
        {
            assert_eq!(run(codec, [other.as_bytes()]), whole, "{place}");
        }
    });
}

const NOISE: [&str; 8] = [
    ": keep-alive\n\n",
    "\n\n",
    "id: 7\nretry: 100\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: ping\ndata:\n\n",
    "event: x_later\ndata: {\"type\":\"x_later\",\"index\":\"seven\",\"delta\":7,\"message\":[],\"usage\":null}\n\n",
    "data: {\"type\":\"x_later\",\"content_block\":null}\n\n",
    "data: {\"x_no_type\":true}\n\n",
];

#[test]
fn unknown_events_between_frames_are_harmless() {
    for_each(|place, codec, bytes| {
        let whole = run(codec, [bytes]);
        for noise in NOISE {
            let mut noisy = noise.as_bytes().to_vec();
            for event in events(bytes) {
                noisy.extend_from_slice(&render(&[event]));
                noisy.extend_from_slice(noise.as_bytes());
            }
            assert_eq!(told(&run(codec, [&*noisy])), told(&whole), "{place}: {noise:?}");
        }
    });
}

#[test]
fn unknown_fields_in_frames_are_harmless() {
    for_each(|place, codec, bytes| {
        let mut events = events(bytes);
        for event in &mut events {
            let Ok(mut data) = serde_json::from_slice::<Value>(&event.data) else { continue };
            each_object(&mut data, &mut |map| {
                drop(map.insert("x_unknown".to_owned(), json!({"a": [1, null]})));
            });
            event.data = data.to_string().into();
        }
        let mut got = told(&run(codec, [&*render(&events)]));
        each_object(&mut got, &mut |map| drop(map.shift_remove("x_unknown")));
        let expected = told(&run(codec, [bytes]));
        // Where a frame is cut depends on its length: the sentence about it differs.
        let both_faulty = got.as_array().zip(expected.as_array()).is_some_and(|(g, e)| {
            let faulty = |v: &Value| v["fault"]["malformed"].is_string();
            g.len() == e.len() && faulty(&g[g.len() - 1]) && faulty(&e[e.len() - 1])
        });
        assert!(got == expected || both_faulty, "{place}\n{got:#}\n{expected:#}");
    });
}

fn each_object(value: &mut Value, edit: &mut dyn FnMut(&mut wire::Object)) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|v| each_object(v, edit));
            edit(map);
        }
        Value::Array(items) => items.iter_mut().for_each(|v| each_object(v, edit)),
        _ => {}
    }
}

pub(crate) fn events(bytes: &[u8]) -> Vec<Event> {
    let mut parser = Parser::new(1 << 20);
    parser.push(bytes);
    let mut events = Vec::new();
    while let Some(event) = parser.next_event().unwrap() {
        events.push(event);
    }
    events.extend(parser.finish());
    events
}

fn render(events: &[Event]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for event in events {
        if !event.name.is_empty() {
            out.extend_from_slice(format!("event: {}\n", event.name).as_bytes());
        }
        write_data(&mut out, &event.data);
    }
    out.to_vec()
}
