//! Requests, replies and errors in one piece.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tollgate_providers::{Codec, Encoded, Refused, Task};
use wire::chat::ChatRequest;
use wire::raw::RawObject;

use crate::answer::check_usage;
use crate::embeddings::{EMBEDDINGS, embedding_subjects};
use crate::kit::{
    CASES, ERRORS, STREAMS, Subject, chat_subjects, expect_file, expect_no_file, expect_refusal, json,
    request, root, significant, subjects, updates,
};

/// What goes upstream for a case.
fn sent(subject: &Subject, case: &str) -> Result<Value, Refused> {
    let body = request(case);
    let parsed: ChatRequest = serde_json::from_slice(&body).unwrap();
    let model = subject.model(case);
    let Some(splice) = subject.splice() else {
        return encode(subject, model, &parsed).map(|e| e.body);
    };
    let mut raw = RawObject::parse(&body).unwrap();
    splice.splice(model, Task::Chat, parsed.stream == Some(true), &mut raw)?;
    let spliced = json(&raw.to_vec().unwrap());
    let encoded = encode(subject, model, &parsed)?.body;
    assert_eq!(significant(&encoded), significant(&spliced), "{}: {case}: encode and splice", subject.name());
    Ok(spliced)
}

fn encode(subject: &Subject, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
    subject.codec().unwrap().encode(model, request)
}

#[test]
fn every_task_has_its_codec() {
    for subject in subjects() {
        for task in subject.registration.tasks {
            let codec = subject.provider.codec(subject.setup.model_for(*task), *task);
            assert!(codec.is_some(), "{}: {}", subject.name(), task.as_str());
            let served = matches!(
                (task, codec),
                (_, Some(Codec::Splice(_)))
                    | (Task::Chat | Task::Completions, Some(Codec::Chat(_)))
                    | (Task::Embeddings, Some(Codec::Embeddings(_)))
            );
            assert!(served, "{}: {}: the codec is of another task", subject.name(), task.as_str());
        }
    }
}

#[test]
fn requests() {
    for subject in chat_subjects() {
        for case in CASES {
            let upstream = subject.path(&format!("chat/{case}.upstream.json"));
            let refused = subject.path(&format!("chat/{case}.refused.json"));
            match sent(&subject, case) {
                Ok(body) => {
                    expect_file(&upstream, &body);
                    expect_no_file(&refused);
                }
                Err(error) => {
                    expect_refusal(&refused, &error);
                    expect_no_file(&upstream);
                }
            }
        }
    }
}

#[test]
fn encode_is_deterministic() {
    for subject in chat_subjects() {
        for case in CASES {
            let parsed: ChatRequest = serde_json::from_slice(&request(case)).unwrap();
            let text = || encode(&subject, subject.model(case), &parsed).map(|e| e.body.to_string());
            assert_eq!(text(), text(), "{}: {case}", subject.name());
        }
    }
}

/// A stream is the same request but for the fields that ask for one.
#[test]
fn asking_for_a_stream_changes_nothing_else() {
    for subject in chat_subjects() {
        for case in CASES {
            let parsed: ChatRequest = serde_json::from_slice(&request(case)).unwrap();
            let streamed = ChatRequest { stream: Some(true), ..parsed.clone() };
            let body = |r: &ChatRequest| encode(&subject, subject.model(case), r).map(|e| e.body);
            let (Ok(plain), Ok(mut streamed)) = (body(&parsed), body(&streamed)) else { continue };
            let fields = streamed.as_object_mut().unwrap();
            // Where the address asks for a stream, the body does not.
            let url = |stream| subject.provider.target(subject.model(case), Task::Chat, stream).url;
            let asked = (url(false) == url(true)).then_some(Value::from(true));
            assert_eq!(fields.shift_remove("stream"), asked, "{}", subject.name());
            fields.shift_remove("stream_options");
            assert_eq!(plain, streamed, "{}: {case}", subject.name());
        }
    }
}

#[test]
fn replies() {
    for subject in chat_subjects() {
        for case in CASES {
            let Some(reply) = subject.reply(case) else { continue };
            let place = format!("{}: {case}", subject.name());
            let decoded = subject.codec().unwrap().decode(&reply).unwrap_or_else(|e| panic!("{place}: {e}"));
            check_usage(&place, decoded.usage.as_ref());
            assert_eq!(decoded.object, "chat.completion", "{place}");
            assert!(decoded.choices.iter().all(|c| c.finish_reason.is_some()), "{place}");
            let decoded = serde_json::to_value(decoded).unwrap();
            let path = subject.path(&format!("chat/{case}.unified-reply.json"));
            if subject.splice().is_some() {
                // Its bytes pass through: reading them may lose nothing either.
                assert_eq!(significant(&decoded), significant(&json(&reply)), "{place}");
                expect_file(&path, &json(&reply));
            } else {
                expect_file(&path, &decoded);
            }
        }
    }
}

#[test]
fn errors() {
    for subject in chat_subjects() {
        for status in ERRORS {
            let body = subject.read(&format!("error/{status}.json"));
            let error = subject.codec().unwrap().error(status, &body);
            let place = format!("{}: {status}", subject.name());
            assert_eq!((error.status, &error.body), (status, &json(&body)), "{place}");
            assert_eq!(error.allows_fallback(), matches!(status, 429 | 500..), "{place}");
            let unified = json!({"status": error.status, "message": error.message, "fallback": error.allows_fallback()});
            expect_file(&subject.path(&format!("error/{status}.unified.json")), &unified);
        }
    }
}

/// A proxy in between answers in its own words.
#[test]
fn errors_that_are_no_json_keep_their_text() {
    for subject in chat_subjects() {
        let codec = subject.codec().unwrap();
        let html = codec.error(503, b"<html><body>upstream connect error</body></html>");
        assert!(html.message.contains("upstream connect error") && html.body.is_string(), "{html:?}");
        for nothing in [&b""[..], b" \n", b"{\"error\":{\"message\":\"\"}}"] {
            assert!(!codec.error(502, nothing).message.trim().is_empty(), "{}", subject.name());
        }
        let long = codec.error(500, "ä".repeat(100_000).as_bytes());
        assert!(long.message.len() <= 2048 && long.message.starts_with("ää"), "{}", subject.name());
    }
}

#[test]
fn no_fixture_is_unknown_or_missing() {
    if updates() {
        return;
    }
    let shared = root().join("fixtures");
    let chat = CASES.iter().map(|c| format!("chat/{c}.unified.json"));
    let embeddings = EMBEDDINGS.iter().map(|c| format!("embeddings/{c}.unified.json"));
    assert_eq!(files(&shared), chat.chain(embeddings).collect());
    for subject in subjects() {
        let mut known = BTreeSet::from(["provider.json".to_owned()]);
        if subject.registration.tasks.contains(&Task::Chat) {
            known.insert("usage.json".to_owned());
            for case in CASES {
                let refused = format!("chat/{case}.refused.json");
                if subject.path(&refused).exists() {
                    known.insert(refused);
                } else {
                    known.extend(
                        ["upstream", "reply", "unified-reply"].map(|k| format!("chat/{case}.{k}.json")),
                    );
                }
            }
            for (name, _) in STREAMS {
                known.extend([subject.stream_file(name), format!("stream/{name}.chunks.json")]);
            }
            for status in ERRORS {
                known.extend([format!("error/{status}.json"), format!("error/{status}.unified.json")]);
            }
        }
        if embedding_subjects().iter().any(|s| s.name() == subject.name()) {
            for case in EMBEDDINGS {
                let refused = format!("embeddings/{case}.refused.json");
                if subject.path(&refused).exists() {
                    known.insert(refused);
                } else {
                    known.extend(
                        ["upstream", "reply", "vectors"].map(|k| format!("embeddings/{case}.{k}.json")),
                    );
                }
            }
        }
        assert_eq!(files(&subject.folder), known, "{}", subject.name());
    }
}

fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}
