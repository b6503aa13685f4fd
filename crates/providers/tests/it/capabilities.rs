//! What each provider can be asked for, found out by asking: the table in `docs/providers.md`.
//!
//! A feature is probed with a request that uses it and one that does not. What is sent tells whether the
//! provider's format expresses it, the codec refuses it, or it is left out as a hint.

use serde_json::{Value, json};
use tollgate_providers::{Codec, EmbeddingsCodec, Refused, Task};
use wire::chat::ChatRequest;
use wire::embeddings::EmbeddingsRequest;

use crate::kit::{Subject, read, root, subjects, updates};

const BEGIN: &str = "<!-- made by crates/providers/tests/it/capabilities.rs -->\n";
const END: &str = "<!-- end -->\n";

/// What became of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It passes as it comes: the upstream speaks the unified format.
    Passed,
    Expressed,
    Refused,
    LeftOut,
    NotServed,
}

impl Outcome {
    fn cell(self) -> &'static str {
        match self {
            Self::Passed => "as sent",
            Self::Expressed => "yes",
            Self::Refused => "400",
            Self::LeftOut => "left out",
            Self::NotServed => "–",
        }
    }
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "description": "d", "parameters": {"type": "object", "properties": {}}}})
}

fn said(part: Value) -> Value {
    json!([{"role": "user", "content": [{"type": "text", "text": "hello"}, part]}])
}

const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

/// Feature, what the request has beside the base, and what the base must have for the feature to mean anything.
fn features() -> Vec<(&'static str, Value, Value)> {
    let tools = json!({"tools": [tool("f"), tool("g")]});
    let choice = |choice: Value| json!({"tools": [tool("f"), tool("g")], "tool_choice": choice});
    let schema = json!({"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}});
    let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"});
    let turn = |extra: Value| {
        let mut reply = json!({"role": "assistant", "content": "hi"});
        reply.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"messages": [{"role": "user", "content": "hello"}, reply, {"role": "user", "content": "go on"}]})
    };
    vec![
        (
            "system role",
            json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hello"}]}),
            json!({}),
        ),
        (
            "developer role",
            json!({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "hello"}]}),
            json!({}),
        ),
        (
            "image, base64",
            json!({"messages": said(json!({"type": "image_url", "image_url": {"url": PNG}}))}),
            json!({}),
        ),
        (
            "image, URL",
            json!({"messages": said(json!({"type": "image_url", "image_url": {"url": "https://h/a.png"}}))}),
            json!({}),
        ),
        (
            "audio",
            json!({"messages": said(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}))}),
            json!({}),
        ),
        (
            "file",
            json!({"messages": said(json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}))}),
            json!({}),
        ),
        ("tools", tools.clone(), json!({})),
        ("tool choice: none", choice(json!("none")), tools.clone()),
        ("tool choice: required", choice(json!("required")), tools.clone()),
        (
            "tool choice: a function",
            choice(json!({"type": "function", "function": {"name": "f"}})),
            tools.clone(),
        ),
        (
            "one tool call a turn",
            json!({"tools": [tool("f"), tool("g")], "parallel_tool_calls": false}),
            tools,
        ),
        ("JSON mode", json!({"response_format": {"type": "json_object"}}), json!({})),
        (
            "JSON schema",
            json!({"response_format": {"type": "json_schema", "json_schema": schema}}),
            json!({}),
        ),
        (
            "reasoning effort",
            json!({"reasoning_effort": "high", "max_tokens": 9000}),
            json!({"max_tokens": 9000}),
        ),
        (
            "thinking budget",
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 9000}),
            json!({"max_tokens": 9000}),
        ),
        (
            "signed reasoning of the turn before",
            turn(json!({"thinking_blocks": [thinking]})),
            turn(json!({})),
        ),
        (
            "prompt cache markers",
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]}]}),
            json!({}),
        ),
        ("max_tokens", json!({"max_tokens": 7}), json!({})),
        ("temperature", json!({"temperature": 0.3}), json!({})),
        ("top_p", json!({"top_p": 0.3}), json!({})),
        ("top_k", json!({"top_k": 3}), json!({})),
        ("stop", json!({"stop": ["x"]}), json!({})),
        ("n", json!({"n": 2}), json!({})),
        ("seed", json!({"seed": 2}), json!({})),
        ("penalties", json!({"presence_penalty": 0.3, "frequency_penalty": 0.3}), json!({})),
        ("logprobs", json!({"logprobs": true, "top_logprobs": 2}), json!({})),
        ("user", json!({"user": "u-1"}), json!({})),
        ("fields we do not know", json!({"x_unknown": 1}), json!({})),
    ]
}

fn chat(subject: &Subject, fields: &Value) -> Result<Value, Refused> {
    let mut body = json!({"messages": [{"role": "user", "content": "hello"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request: ChatRequest = serde_json::from_value(body).unwrap();
    let thinks = fields.get("reasoning_effort").is_some() || fields.get("thinking").is_some();
    let model = subject.model(if thinks { "reasoning" } else { "basic" });
    Ok(subject.codec().unwrap().encode(model, &request)?.body)
}

fn chat_outcome(subject: &Subject, with: &Value, base: &Value) -> Outcome {
    if subject.splice().is_some() && subject.codec().is_some() {
        return match chat(subject, with) {
            Ok(_) => Outcome::Passed,
            Err(_) => Outcome::Refused,
        };
    }
    if subject.codec().is_none() {
        return Outcome::NotServed;
    }
    // A base that asks for the reasoning model too, so that only the feature differs.
    match (chat(subject, with), chat(subject, base)) {
        (Err(_), _) => Outcome::Refused,
        (Ok(with), base) if base.as_ref().ok() == Some(&with) => Outcome::LeftOut,
        (Ok(_), _) => Outcome::Expressed,
    }
}

fn embeddings(subject: &Subject) -> Option<&dyn EmbeddingsCodec> {
    match subject.provider.codec(subject.setup.model_for(Task::Embeddings), Task::Embeddings)? {
        Codec::Embeddings(codec) => Some(codec),
        Codec::Splice(_) | Codec::Chat(_) => None,
    }
}

fn embeddings_outcome(subject: &Subject, fields: &Value) -> Outcome {
    let model = subject.setup.model_for(Task::Embeddings);
    if !subject.registration.tasks.contains(&Task::Embeddings) {
        return Outcome::NotServed;
    }
    let Some(codec) = embeddings(subject) else { return Outcome::Passed };
    let encode = |fields: &Value| {
        let mut body = json!({"input": "hello"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let request: EmbeddingsRequest = serde_json::from_value(body).unwrap();
        codec.encode(model, &request)
    };
    match (encode(fields), encode(&json!({}))) {
        (Err(_), _) => Outcome::Refused,
        (Ok(with), Ok(without)) if with == without => Outcome::LeftOut,
        (Ok(_), _) => Outcome::Expressed,
    }
}

fn row(name: &str, outcomes: impl Iterator<Item = Outcome>) -> String {
    let cells: Vec<&str> = outcomes.map(Outcome::cell).collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}

fn table(subjects: &[Subject]) -> String {
    let names: Vec<&str> = subjects.iter().map(Subject::name).collect();
    let mut table = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for task in Task::ALL {
        let served = subjects.iter().map(|s| serves(s, task));
        table += &format!("| **{}** | {} |\n", task.as_str(), served.collect::<Vec<_>>().join(" | "));
    }
    for (name, with, base) in features() {
        table += &row(name, subjects.iter().map(|s| chat_outcome(s, &with, &base)));
    }
    let embeddings = [
        ("embeddings: dimensions", json!({"dimensions": 256})),
        ("embeddings: tokens as input", json!({"input": [1, 2, 3]})),
    ];
    for (name, fields) in embeddings {
        table += &row(name, subjects.iter().map(|s| embeddings_outcome(s, &fields)));
    }
    table
}

fn serves(subject: &Subject, task: Task) -> &'static str {
    if !subject.registration.tasks.contains(&task) {
        return "–";
    }
    match subject.provider.codec(subject.setup.model_for(task), task) {
        Some(Codec::Chat(_)) if task == Task::Completions => "yes, through chat",
        Some(_) => "yes",
        None => "–",
    }
}

#[test]
fn the_documented_capabilities_are_the_real_ones() {
    let path = root().join("../../docs/providers.md");
    let docs = String::from_utf8(read(&path)).unwrap();
    let (before, rest) = docs.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let made = format!("{before}{BEGIN}\n{}\n{END}{after}", table(&subjects()));
    if updates() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(
        docs == made || updates(),
        "docs/providers.md is out of date, make it with UPDATE_FIXTURES=1:\n{made}"
    );
}

/// The registry promises what the codecs do: a task that is listed is served, with a codec of that task.
#[test]
fn what_the_registry_lists_is_served() {
    for subject in subjects() {
        for &task in subject.registration.tasks {
            assert_ne!(serves(&subject, task), "–", "{}: {}", subject.name(), task.as_str());
        }
    }
}
