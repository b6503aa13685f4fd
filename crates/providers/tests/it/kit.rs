//! Providers with their fixtures, and the comparison with files that can be written anew.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::Value;
use tollgate_providers::provider::Defaults;
use tollgate_providers::{ALL, ChatCodec, Codec, Framing, Provider, Refused, Registration, Splice, Task};
use wire::sse::Event;
use wire::{Object, eventstream, sse};

/// What every chat provider answers to, or refuses with a reason.
pub(crate) const CASES: [&str; 12] = [
    "basic",
    "system",
    "multi-turn",
    "tools",
    "tool-result",
    "parallel-tools",
    "image",
    "json-schema",
    "stop",
    "max-tokens",
    "extra-params",
    "reasoning",
];

/// Streams, each with the reply that says the same in one piece.
pub(crate) const STREAMS: [(&str, Option<&str>); 5] = [
    ("text", Some("basic")),
    ("tools", Some("tools")),
    ("reasoning", Some("reasoning")),
    ("cut-mid-frame", None),
    ("error-mid-stream", None),
];

pub(crate) const ERRORS: [u16; 7] = [400, 401, 403, 404, 429, 500, 529];

/// `fixtures/provider.json`: what the suite cannot know of a provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    pub(crate) model: String,
    /// Models of single cases.
    #[serde(default)]
    pub(crate) models: std::collections::HashMap<String, String>,
    /// The smallest config block that is valid.
    pub(crate) config: Object,
}

/// A binary stream, as its file tells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frames {
    events: Vec<Frame>,
    /// Bytes that are missing at the end.
    #[serde(default)]
    cut: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    /// As `wire::eventstream` names it: `exception:…` for an exception.
    event: String,
    payload: Value,
}

impl Frame {
    fn event(&self) -> Event {
        Event { name: self.event.clone(), data: self.payload.to_string().into() }
    }
}

/// Bytes in any pieces to events.
pub(crate) enum Reader {
    Sse(sse::Parser),
    EventStream(eventstream::Parser),
}

impl Reader {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(sse::Parser::new(1 << 20)),
            Framing::AwsEventStream => Self::EventStream(eventstream::Parser::new(1 << 20)),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Sse(parser) => parser.push(bytes),
            Self::EventStream(parser) => parser.push(bytes),
        }
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        match self {
            Self::Sse(parser) => parser.next_event().unwrap(),
            Self::EventStream(parser) => parser.next_event().ok().flatten(),
        }
    }

    /// The event that the stream ended in.
    pub(crate) fn finish(&mut self) -> Option<Event> {
        match self {
            Self::Sse(parser) => parser.finish(),
            Self::EventStream(_) => None,
        }
    }

    /// Whether the stream ended within a frame.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self, Self::EventStream(parser) if parser.is_cut())
    }
}

/// All events of `bytes`.
pub(crate) fn events(framing: Framing, bytes: &[u8]) -> Vec<Event> {
    let mut reader = Reader::new(framing);
    reader.push(bytes);
    let mut events: Vec<Event> = std::iter::from_fn(|| reader.next_event()).collect();
    events.extend(reader.finish());
    events
}

/// The bytes of `events`.
pub(crate) fn render(framing: Framing, events: &[Event]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for event in events {
        match framing {
            Framing::Sse => {
                if !event.name.is_empty() {
                    out.extend_from_slice(format!("event: {}\n", event.name).as_bytes());
                }
                sse::write_data(&mut out, &event.data);
            }
            Framing::AwsEventStream => out.extend_from_slice(&eventstream::frame(event).unwrap()),
        }
    }
    out.to_vec()
}

impl Setup {
    /// The model of a task: `models` may name one under `completions` and `embeddings`.
    pub(crate) fn model_for(&self, task: Task) -> &str {
        let key = match task {
            Task::Chat => return &self.model,
            Task::Completions => "completions",
            Task::Embeddings => "embeddings",
        };
        self.models.get(key).unwrap_or(&self.model)
    }
}

#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) registration: &'static Registration,
    pub(crate) setup: Setup,
    pub(crate) provider: Box<dyn Provider>,
    pub(crate) folder: PathBuf,
}

impl Subject {
    pub(crate) fn name(&self) -> &'static str {
        self.registration.name
    }

    /// The chat codec, in whichever of the two ways the provider has one.
    pub(crate) fn codec(&self) -> Option<&dyn ChatCodec> {
        match self.provider.codec(&self.setup.model, Task::Chat)? {
            Codec::Splice(splice) => Some(splice),
            Codec::Chat(codec) => Some(codec),
            Codec::Embeddings(_) => None,
        }
    }

    /// The edit of a provider that speaks the unified format.
    pub(crate) fn splice(&self) -> Option<&dyn Splice> {
        match self.provider.codec(&self.setup.model, Task::Chat)? {
            Codec::Splice(splice) => Some(splice),
            Codec::Chat(_) | Codec::Embeddings(_) => None,
        }
    }

    pub(crate) fn model(&self, case: &str) -> &str {
        self.setup.models.get(case).unwrap_or(&self.setup.model)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    pub(crate) fn read(&self, file: &str) -> Vec<u8> {
        read(&self.path(file))
    }

    /// How its streams are framed.
    pub(crate) fn framing(&self) -> Framing {
        self.provider.target(&self.setup.model, Task::Chat, true).framing
    }

    /// The file of a stream: the bytes themselves, or, where they are binary, the events they are made of.
    pub(crate) fn stream_file(&self, name: &str) -> String {
        match self.framing() {
            Framing::Sse => format!("stream/{name}.sse"),
            Framing::AwsEventStream => format!("stream/{name}.events.json"),
        }
    }

    /// The bytes of a stream as the upstream sends them.
    pub(crate) fn stream(&self, name: &str) -> Vec<u8> {
        let file = self.read(&self.stream_file(name));
        match self.framing() {
            Framing::Sse => file,
            Framing::AwsEventStream => {
                let Frames { events, cut } = serde_json::from_slice(&file).unwrap();
                let mut bytes =
                    render(Framing::AwsEventStream, &events.iter().map(Frame::event).collect::<Vec<_>>());
                bytes.truncate(bytes.len() - cut);
                bytes
            }
        }
    }

    /// The file's bytes, or none where the provider refuses the case.
    pub(crate) fn reply(&self, case: &str) -> Option<Vec<u8>> {
        let refused = self.path(&format!("chat/{case}.refused.json"));
        (!refused.exists()).then(|| self.read(&format!("chat/{case}.reply.json")))
    }
}

pub(crate) fn subjects() -> Vec<Subject> {
    // One without tasks is gone, and builds nothing.
    ALL.iter().filter(|r| !r.tasks.is_empty()).map(subject).collect()
}

/// The providers with a chat codec, which is what most of the suite is about.
pub(crate) fn chat_subjects() -> Vec<Subject> {
    subjects().into_iter().filter(|s| s.registration.tasks.contains(&Task::Chat)).collect()
}

fn subject(registration: &'static Registration) -> Subject {
    let folder = root().join("src").join(registration.name.replace('-', "_")).join("fixtures");
    let setup: Setup = serde_json::from_slice(&read(&folder.join("provider.json"))).unwrap();
    let provider = (registration.build)(&setup.config, &Defaults::default())
        .unwrap_or_else(|e| panic!("{}: the minimal block is refused: {e}", registration.name));
    Subject { registration, setup, provider, folder }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// The shared request of a case.
pub(crate) fn request(case: &str) -> Vec<u8> {
    read(&root().join("fixtures/chat").join(format!("{case}.unified.json")))
}

/// The shared request for embeddings of a case.
pub(crate) fn embeddings_request(case: &str) -> Vec<u8> {
    read(&root().join("fixtures/embeddings").join(format!("{case}.unified.json")))
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

pub(crate) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[expect(clippy::disallowed_methods, reason = "a switch of the test, not configuration")]
pub(crate) fn updates() -> bool {
    std::env::var("UPDATE_FIXTURES").is_ok_and(|v| v == "1")
}

/// Compares with a file, order of keys included, or writes it.
pub(crate) fn expect_file(path: &Path, actual: &Value) {
    let actual = pretty(actual);
    if updates() {
        std::fs::write(path, &actual).unwrap();
        return;
    }
    let expected = pretty(&json(&read(path)));
    assert!(actual == expected, "{}\n--- expected\n{expected}\n--- actual\n{actual}", path.display());
}

/// A refusal is compared with its file, which also says by which of the provider's own documents the case
/// cannot be expressed; that is written by hand and kept.
pub(crate) fn expect_refusal(path: &Path, refused: &Refused) {
    let source = std::fs::read(path).ok().map(|file| json(&file)["source"].clone());
    let source = source.unwrap_or_default();
    assert!(updates() || source.as_str().is_some_and(|s| !s.is_empty()), "{}: no source", path.display());
    let told = serde_json::json!({"field": refused.field, "reason": refused.reason, "source": source});
    expect_file(path, &told);
}

/// Removes a file that a changed outcome has left behind, when files are being written.
pub(crate) fn expect_no_file(path: &Path) {
    if updates() && path.exists() {
        std::fs::remove_file(path).unwrap();
    }
    assert!(!path.exists(), "{} contradicts its neighbour", path.display());
}

/// The value without what says nothing: nulls and empty lists in objects, and whether 0 is 0.0.
pub(crate) fn significant(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, v)| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()));
            Value::Object(kept.map(|(k, v)| (k.clone(), significant(v))).collect())
        }
        Value::Array(items) => items.iter().map(significant).collect(),
        Value::Number(number) => number.as_f64().into(),
        other => other.clone(),
    }
}
