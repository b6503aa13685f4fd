//! Embeddings in a provider's own format, and in the unified one when a request is split.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_providers::{Codec, EmbeddingsCodec, Reply, Task};
use wire::embeddings::EmbeddingsRequest;

use crate::kit::{Subject, embeddings_request, expect_file, expect_no_file, expect_refusal, subjects};

/// What every embeddings provider answers to, or refuses with a reason.
pub(crate) const EMBEDDINGS: [&str; 5] = ["string", "batch", "dimensions", "tokens", "empty"];

/// The answer to one body: `embeddings/<case>.reply.json` is a list of these.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
}

/// Providers with an embeddings format of their own.
pub(crate) fn embedding_subjects() -> Vec<Subject> {
    subjects().into_iter().filter(|s| codec(s).is_some()).collect()
}

fn codec(subject: &Subject) -> Option<&dyn EmbeddingsCodec> {
    match subject.provider.codec(subject.setup.model_for(Task::Embeddings), Task::Embeddings)? {
        Codec::Embeddings(codec) => Some(codec),
        Codec::Splice(_) | Codec::Chat(_) => None,
    }
}

fn request(case: &str) -> EmbeddingsRequest {
    serde_json::from_slice(&embeddings_request(case)).unwrap()
}

#[test]
fn requests() {
    for subject in embedding_subjects() {
        for case in EMBEDDINGS {
            let upstream = subject.path(&format!("embeddings/{case}.upstream.json"));
            let refused = subject.path(&format!("embeddings/{case}.refused.json"));
            match codec(&subject).unwrap().encode(subject.setup.model_for(Task::Embeddings), &request(case)) {
                Ok(bodies) => {
                    assert!(!bodies.is_empty(), "{}: {case}", subject.name());
                    expect_file(&upstream, &Value::Array(bodies));
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
fn replies() {
    for subject in embedding_subjects() {
        let codec = codec(&subject).unwrap();
        for case in EMBEDDINGS {
            if subject.path(&format!("embeddings/{case}.refused.json")).exists() {
                continue;
            }
            let place = format!("{}: {case}", subject.name());
            let model = subject.setup.model_for(Task::Embeddings);
            let bodies = codec.encode(model, &request(case)).unwrap();
            let answers: Vec<Answer> =
                serde_json::from_slice(&subject.read(&format!("embeddings/{case}.reply.json"))).unwrap();
            assert_eq!(answers.len(), bodies.len(), "{place}: one answer a call");
            let (mut vectors, mut tokens) = (Vec::new(), None);
            for answer in answers {
                let body = answer.body.to_string();
                let header = |name: &str| answer.headers.get(name).cloned();
                let embedded = codec.decode(&Reply { body: body.as_bytes(), header: &header }).unwrap();
                vectors.extend(embedded.vectors);
                tokens = embedded.prompt_tokens.map(|n| n + tokens.unwrap_or(0)).or(tokens);
            }
            assert_eq!(vectors.len(), request(case).input.len(), "{place}: one vector an input");
            let told = json!({"vectors": vectors, "prompt_tokens": tokens});
            expect_file(&subject.path(&format!("embeddings/{case}.vectors.json")), &told);
        }
    }
}

#[test]
fn hostile_replies_never_panic() {
    for subject in embedding_subjects() {
        let codec = codec(&subject).unwrap();
        let none = |_: &str| None;
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "{\"embeddings\":7}",
            "{\"embedding\":{\"a\":1}}",
            "{\"predictions\":[7]}",
        ] {
            let decoded = codec.decode(&Reply { body: body.as_bytes(), header: &none });
            assert!(decoded.is_err(), "{}: {body}", subject.name());
            let _ = codec.error(400, body.as_bytes());
        }
    }
}
