//! Streams: bytes in, chunks and an ending out, wherever the reads are cut.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_providers::{ChatCodec, Framing, Malformed, StreamFault};
use wire::chat::ChatChunk;
use wire::sse::Event;

use crate::answer::{Answer, check_usage};
use crate::kit::{Reader, STREAMS, Subject, chat_subjects, events, expect_file, render};

/// Chunks, and how the stream ended.
type Outcome = (Vec<ChatChunk>, Result<(), StreamFault>);

pub(crate) fn run<'a>(
    codec: &dyn ChatCodec,
    framing: Framing,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let (mut reader, mut stream, mut chunks) = (Reader::new(framing), codec.stream(), Vec::new());
    for piece in pieces {
        reader.push(piece);
        while let Some(event) = reader.next_event() {
            if let Err(fault) = stream.event(&event.name, &event.data, &mut chunks) {
                return (chunks, Err(fault));
            }
        }
    }
    let last = reader.finish().map_or(Ok(()), |event| stream.event(&event.name, &event.data, &mut chunks));
    let cut = reader.is_cut().then(|| Malformed("the stream ended within a frame".to_owned()));
    let ending = last.and_then(|()| Ok(cut.map_or_else(|| stream.finish(&mut chunks), Err)?));
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
fn for_each(mut check: impl FnMut(&str, &dyn Fn(&[&[u8]]) -> Outcome, Framing, &[u8])) {
    for subject in chat_subjects() {
        let (codec, framing) = (subject.codec().unwrap(), subject.framing());
        for (name, _) in STREAMS {
            let run = |pieces: &[&[u8]]| run(codec, framing, pieces.iter().copied());
            check(&format!("{}: {name}", subject.name()), &run, framing, &subject.stream(name));
        }
    }
}

fn outcome(subject: &Subject, name: &str) -> Outcome {
    run(subject.codec().unwrap(), subject.framing(), [&*subject.stream(name)])
}

#[test]
fn streams() {
    for subject in chat_subjects() {
        for (name, paired) in STREAMS {
            let outcome = outcome(&subject, name);
            assert_eq!(outcome.1.is_ok(), paired.is_some(), "{}: {name}: {:?}", subject.name(), outcome.1);
            expect_file(&subject.path(&format!("stream/{name}.chunks.json")), &told(&outcome));
        }
    }
}

#[test]
fn the_ending_says_whose_fault_it_was() {
    for subject in chat_subjects() {
        let ending = |name: &str| outcome(&subject, name).1;
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
            let (chunks, _) = outcome(&subject, name);
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
    for_each(|place, run, framing, bytes| {
        let events = events(framing, bytes);
        let (_, whole) = run(&[bytes]);
        for count in 0..events.len() {
            let (chunks, ending) = run(&[&render(framing, &events[..count])]);
            let finished = chunks.iter().flat_map(|c| &c.choices).any(|c| c.finish_reason.is_some());
            assert!(ending.is_err() || (finished && whole.is_ok()), "{place}: {count} events");
        }
    });
}

#[test]
fn one_byte_at_a_time_gives_the_same_chunks() {
    for_each(|place, run, _framing, bytes| {
        assert_eq!(run(&bytes.chunks(1).collect::<Vec<_>>()), run(&[bytes]), "{place}");
    });
}

#[test]
fn any_split_gives_the_same_chunks() {
    for_each(|place, run, _framing, bytes| {
        let whole = run(&[bytes]);
        let cuts = proptest::collection::vec(0..=bytes.len(), 0..12);
        proptest!(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }, |(mut cuts in cuts)| {
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(&run(&pieces), &whole, "{}", place);
        });
    });
}

/// Line ends and the space after the colon are the sender's choice.
#[test]
fn other_spellings_of_the_frames_give_the_same_chunks() {
    for_each(|place, run, framing, bytes| {
        if framing != Framing::Sse {
            return;
        }
        let whole = run(&[bytes]);
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n");
        for other in
            [text.replace('\n', "\r\n"), text.replace('\n', "\r"), text.replace("\ndata: ", "\ndata:")]
        {
            assert_eq!(run(&[other.as_bytes()]), whole, "{place}");
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

/// What may stand between two events without meaning anything to us.
fn noise(framing: Framing) -> Vec<Vec<u8>> {
    if framing == Framing::Sse {
        return NOISE.iter().map(|noise| noise.as_bytes().to_vec()).collect();
    }
    let datas = [r#"{"p":"abcd"}"#, r#"{"contentBlockIndex":"seven","delta":7,"usage":null}"#, ""];
    let event = |data: &str| Event { name: "xLater".to_owned(), data: data.to_owned().into() };
    datas.iter().map(|data| render(framing, &[event(data)])).collect()
}

#[test]
fn unknown_events_between_frames_are_harmless() {
    for_each(|place, run, framing, bytes| {
        let whole = run(&[bytes]);
        for noise in noise(framing) {
            let mut noisy = noise.clone();
            let events = events(framing, bytes);
            for event in &events {
                noisy.extend_from_slice(&render(framing, std::slice::from_ref(event)));
                noisy.extend_from_slice(&noise);
            }
            if framing != Framing::Sse {
                // What a cut frame left.
                noisy.extend_from_slice(&bytes[render(framing, &events).len()..]);
            }
            let noise = String::from_utf8_lossy(&noise);
            assert_eq!(told(&run(&[&noisy])), told(&whole), "{place}: {noise:?}");
        }
    });
}

#[test]
fn unknown_fields_in_frames_are_harmless() {
    for_each(|place, run, framing, bytes| {
        let mut events = events(framing, bytes);
        for event in &mut events {
            let Ok(mut data) = serde_json::from_slice::<Value>(&event.data) else { continue };
            each_object(&mut data, &mut |map| {
                drop(map.insert("x_unknown".to_owned(), json!({"a": [1, null]})));
            });
            event.data = data.to_string().into();
        }
        let mut got = told(&run(&[&render(framing, &events)]));
        each_object(&mut got, &mut |map| drop(map.shift_remove("x_unknown")));
        let expected = told(&run(&[bytes]));
        // Where a frame is cut depends on its length: the sentence about it differs.
        let both_faulty = got.as_array().zip(expected.as_array()).is_some_and(|(g, e)| {
            let faulty = |v: &Value| v["fault"]["malformed"].is_string();
            g.len() == e.len() && faulty(&g[g.len() - 1]) && faulty(&e[e.len() - 1])
        });
        assert!(got == expected || both_faulty, "{place}\n{got:#}\n{expected:#}");
    });
}

/// But for the arguments of calls, where they are objects: what is in them is no field of the format.
fn each_object(value: &mut Value, edit: &mut dyn FnMut(&mut wire::Object)) {
    match value {
        Value::Object(map) => {
            let fields = map.iter_mut().filter(|(key, _)| *key != "args");
            fields.for_each(|(_, v)| each_object(v, edit));
            edit(map);
        }
        Value::Array(items) => items.iter_mut().for_each(|v| each_object(v, edit)),
        _ => {}
    }
}
