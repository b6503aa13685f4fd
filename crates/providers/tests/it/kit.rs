//! Providers with their fixtures, and the comparison with files that can be written anew.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tollgate_providers::provider::Defaults;
use tollgate_providers::{ALL, ChatCodec, Provider, Registration, Task};
use wire::Object;

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
        self.provider.chat().or_else(|| self.provider.splice().map(|splice| -> &dyn ChatCodec { splice }))
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

    /// The file's bytes, or none where the provider refuses the case.
    pub(crate) fn reply(&self, case: &str) -> Option<Vec<u8>> {
        let refused = self.path(&format!("chat/{case}.refused.json"));
        (!refused.exists()).then(|| self.read(&format!("chat/{case}.reply.json")))
    }
}

pub(crate) fn subjects() -> Vec<Subject> {
    ALL.iter().map(subject).collect()
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
