//! What guardrails meet: each path by which an endpoint is asked, in each mode, and a request of its format for
//! whoever says something.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_gateway::Access;

use crate::client::Got;
use crate::world::{CHAT, COMPLETIONS, EMBEDDINGS, World};

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
    Arguments,
    Result,
}

pub(crate) const ROLES: [Role; 5] =
    [Role::System, Role::User, Role::Assistant, Role::Arguments, Role::Result];

/// How a surface is asked: its path, its task, and a request in which `role` says `text`.
#[derive(Clone)]
pub(crate) struct Surface {
    pub(crate) path: String,
    pub(crate) task: &'static str,
    pub(crate) body: fn(Role, &str) -> Option<Value>,
    /// The only ways it answers here; of those whose path says it, each has a row of its own.
    streams: &'static [bool],
}

const BOTH: &[bool] = &[false, true];
/// What is told where only streams that are arrays are asked for.
const ARRAY: &str = ":streamGenerateContent";

/// Every path of the gateway by which an endpoint is asked for an answer, once for each task and mode. One that
/// has no format here is a panic, so that no surface is forgotten.
pub(crate) fn surfaces() -> Vec<Surface> {
    let paths = tollgate_gateway::routes().filter(|route| route.access == Access::Query).map(|r| r.path);
    paths.filter(|path| !counts(path)).flat_map(rows).collect()
}

/// Paths that count what is asked and give no answer.
pub(crate) fn counting() -> Vec<Surface> {
    let paths = tollgate_gateway::routes().filter(|route| route.access == Access::Query).map(|r| r.path);
    let rows = paths.flat_map(|path| match path {
        path if path.ends_with("/count_tokens") => vec![row(path, CHAT, messages)],
        path if path.ends_with("/models/{call}") => vec![row(&called(path, ":countTokens"), CHAT, contents)],
        _ => Vec::new(),
    });
    rows.collect()
}

fn counts(path: &str) -> bool {
    path.ends_with("/count_tokens")
}

fn row(path: &str, task: &'static str, body: fn(Role, &str) -> Option<Value>) -> Surface {
    let streams = if task == EMBEDDINGS { &[false] } else { BOTH };
    Surface { path: path.replace("{name}", "e"), task, body, streams }
}

fn called(path: &str, method: &str) -> String {
    path.replace("{version}", "v1beta").replace("{call}", &format!("e{method}"))
}

fn rows(path: &'static str) -> Vec<Surface> {
    let ends = |end: &str| path.ends_with(end);
    if ends("/{name}/invocations") {
        return vec![
            row(path, CHAT, chat),
            row(path, COMPLETIONS, completions),
            row(path, EMBEDDINGS, embeddings),
        ];
    }
    if ends("/models/{call}") {
        let array = Surface { streams: &[true], ..row(&called(path, ARRAY), CHAT, contents) };
        return vec![row(&called(path, ":generateContent"), CHAT, contents), array];
    }
    if ends("/converse-stream") {
        return vec![Surface { streams: &[true], ..row(path, CHAT, turns) }];
    }
    if ends("/converse") {
        return vec![Surface { streams: &[false], ..row(path, CHAT, turns) }];
    }
    vec![match path {
        _ if ends("/chat/completions") => row(path, CHAT, chat),
        _ if ends("/completions") => row(path, COMPLETIONS, completions),
        _ if ends("/embeddings") => row(path, EMBEDDINGS, embeddings),
        _ if ends("/messages") => row(path, CHAT, messages),
        _ if ends("/responses") => row(path, CHAT, responses),
        _ => panic!("{path} is not in the grid of guardrails: say here what its format is"),
    }]
}

/// `more` after `first`.
fn said(first: Value, more: Vec<Value>) -> Vec<Value> {
    std::iter::once(first).chain(more).collect()
}

fn chat(role: Role, text: &str) -> Option<Value> {
    let user = json!({"role": "user", "content": if role == Role::User { text } else { "hello" }});
    let call = |arguments: Value| json!({"role": "assistant", "content": null, "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": arguments.to_string()}}]});
    let result = |text: &str| json!({"role": "tool", "tool_call_id": "t", "content": text});
    let more = match role {
        Role::System => {
            return Some(json!({"model": "e", "messages": [{"role": "system", "content": text}, user]}));
        }
        Role::User => vec![],
        Role::Assistant => vec![
            json!({"role": "assistant", "content": [{"type": "text", "text": text}]}),
            json!({"role": "user", "content": "go on"}),
        ],
        Role::Arguments => vec![call(json!({ "q": text })), result("ok")],
        Role::Result => vec![call(json!({})), result(text)],
    };
    Some(json!({"model": "e", "messages": said(user, more)}))
}

fn completions(role: Role, text: &str) -> Option<Value> {
    (role == Role::User).then(|| json!({"model": "e", "prompt": text}))
}

fn embeddings(role: Role, text: &str) -> Option<Value> {
    (role == Role::User).then(|| json!({"model": "e", "input": ["hello", text]}))
}

pub(crate) fn messages(role: Role, text: &str) -> Option<Value> {
    let user = json!({"role": "user", "content": if role == Role::User { text } else { "hello" }});
    let call = |input: Value| json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": input}]});
    let result = |text: &str| json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": text}]}]});
    let (system, more) = match role {
        Role::System => (json!([{"type": "text", "text": text}]), vec![]),
        Role::User => (json!("be brief"), vec![]),
        Role::Assistant => (
            json!("be brief"),
            vec![json!({"role": "assistant", "content": text}), json!({"role": "user", "content": "go on"})],
        ),
        Role::Arguments => (json!("be brief"), vec![call(json!({ "q": text })), result("ok")]),
        Role::Result => (json!("be brief"), vec![call(json!({})), result(text)]),
    };
    Some(json!({"model": "e", "max_tokens": 50, "system": system, "messages": said(user, more)}))
}

fn responses(role: Role, text: &str) -> Option<Value> {
    let user = json!({"role": "user", "content": [{"type": "input_text", "text": if role == Role::User { text } else { "hello" }}]});
    let call = |arguments: Value| json!({"type": "function_call", "call_id": "t", "name": "f", "arguments": arguments.to_string()});
    let result = |text: &str| json!({"type": "function_call_output", "call_id": "t", "output": text});
    let more = match role {
        Role::System => return Some(json!({"model": "e", "instructions": text, "input": [user]})),
        Role::User => vec![],
        Role::Assistant => vec![
            json!({"role": "assistant", "content": [{"type": "output_text", "text": text}]}),
            json!({"role": "user", "content": "go on"}),
        ],
        Role::Arguments => vec![call(json!({ "q": text })), result("ok")],
        Role::Result => vec![call(json!({})), result(text)],
    };
    Some(json!({"model": "e", "input": said(user, more)}))
}

fn contents(role: Role, text: &str) -> Option<Value> {
    let user = json!({"role": "user", "parts": [{"text": if role == Role::User { text } else { "hello" }}]});
    let call =
        |args: Value| json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": args}}]});
    let result = |text: &str| json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": text}}}]});
    let more = match role {
        Role::System => {
            return Some(json!({"systemInstruction": {"parts": [{"text": text}]}, "contents": [user]}));
        }
        Role::User => vec![],
        Role::Assistant => vec![
            json!({"role": "model", "parts": [{"text": text}]}),
            json!({"role": "user", "parts": [{"text": "go on"}]}),
        ],
        Role::Arguments => vec![call(json!({ "q": text })), result("ok")],
        Role::Result => vec![call(json!({})), result(text)],
    };
    Some(json!({"contents": said(user, more)}))
}

pub(crate) fn turns(role: Role, text: &str) -> Option<Value> {
    let turn = |role: &str, block: Value| json!({"role": role, "content": [block]});
    let user = turn("user", json!({"text": if role == Role::User { text } else { "hello" }}));
    let call =
        |input: Value| turn("assistant", json!({"toolUse": {"toolUseId": "t", "name": "f", "input": input}}));
    let result =
        |content: Value| turn("user", json!({"toolResult": {"toolUseId": "t", "content": [content]}}));
    let more = match role {
        Role::System => return Some(json!({"system": [{"text": text}], "messages": [user]})),
        Role::User => vec![],
        Role::Assistant => {
            vec![turn("assistant", json!({"text": text})), turn("user", json!({"text": "go on"}))]
        }
        Role::Arguments => vec![call(json!({ "q": text })), result(json!({"text": "ok"}))],
        Role::Result => vec![call(json!({})), result(json!({"json": {"said": text}}))],
    };
    let tool = json!({"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}});
    Some(json!({"messages": said(user, more), "toolConfig": {"tools": [tool]}}))
}

impl Surface {
    pub(crate) fn is_serving(&self) -> bool {
        self.path.starts_with("/serving-endpoints/")
    }

    /// Whether a block is an answer there.
    pub(crate) fn blocks_by_answer(&self) -> bool {
        !self.is_serving() && self.task != EMBEDDINGS
    }

    pub(crate) async fn ask(&self, world: &World, mut body: Value, stream: bool) -> Got {
        if self.path.contains(":generateContent") && stream {
            let path = self.path.replace(":generateContent", ":streamGenerateContent?alt=sse");
            return world.post(&path, &body).await;
        }
        if let Some(path) = self.path.strip_suffix("-stream") {
            return self.frames(world, path, &body).await;
        }
        if stream && !self.is_array() {
            body["stream"] = true.into();
        }
        world.post(&self.path, &body).await
    }

    /// Offers the tool `f`.
    pub(crate) fn offer(&self, body: &mut Value) {
        let schema = json!({"type": "object"});
        let tool = match &self.path {
            path if path.contains("/converse") => return,
            path if path.contains("models/") => {
                json!({"functionDeclarations": [{"name": "f", "parameters": schema}]})
            }
            path if path.ends_with("/messages") => json!({"name": "f", "input_schema": schema}),
            path if path.ends_with("/responses") => {
                json!({"type": "function", "name": "f", "parameters": schema})
            }
            _ => json!({"type": "function", "function": {"name": "f", "parameters": schema}}),
        };
        body["tools"] = json!([tool]);
    }

    /// Frames as if they were events.
    async fn frames(&self, world: &World, path: &str, body: &Value) -> Got {
        let got = crate::converse::stream(world, path, body).await;
        let text = if got.status == 200 {
            got.events().iter().map(|(name, said)| format!("event: {name}\ndata: {said}\n\n")).collect()
        } else {
            String::from_utf8_lossy(&got.bytes).into_owned()
        };
        let (broke, waited, took) = (false, Duration::ZERO, Duration::ZERO);
        Got { status: got.status, headers: got.headers, text, broke, waited, took }
    }

    fn is_array(&self) -> bool {
        self.path.ends_with(ARRAY)
    }

    pub(crate) fn streams(&self) -> &'static [bool] {
        self.streams
    }

    /// What an answer of this surface is made of.
    pub(crate) fn events(&self, got: &Got, stream: bool) -> Vec<Value> {
        if !stream {
            return vec![got.json()];
        }
        if self.is_array() {
            return got.json().as_array().unwrap().clone();
        }
        let data =
            got.text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// Those whose format it may meet; what serves only chat is left out elsewhere.
    pub(crate) fn providers(&self) -> &'static [&'static str] {
        match self.task {
            CHAT if self.path.contains("/converse") => &["openai", "anthropic", "google", "amazon-bedrock"],
            CHAT => &["openai", "anthropic", "google"],
            _ => &["openai"],
        }
    }
}

/// Whether `path` is one of the route `of`.
fn is_of(path: &str, of: &str) -> bool {
    let (path, of): (Vec<_>, Vec<_>) = (path.split('/').collect(), of.split('/').collect());
    path.len() == of.len() && path.iter().zip(of).all(|(part, of)| of.starts_with('{') || *part == of)
}

#[test]
fn every_path_by_which_an_endpoint_is_asked_has_its_rows() {
    let (rows, counting) = (surfaces(), counting());
    let mut asked = 0;
    for route in tollgate_gateway::routes().filter(|route| route.access == Access::Query) {
        let rows: Vec<&Surface> =
            rows.iter().chain(&counting).filter(|row| is_of(&row.path, route.path)).collect();
        assert!(!rows.is_empty(), "{}", route.path);
        asked += rows.len();
    }
    assert_eq!(asked, rows.len() + counting.len(), "a row is of no path, or of two");
    // Whole and streamed, of every format; embeddings have no streams.
    let formats = [chat, completions, embeddings, messages, responses, contents, turns];
    for (at, format) in formats.into_iter().enumerate() {
        for prefix in ["/serving-endpoints/", "/ai-gateway/", "/"] {
            let is_one = |row: &&Surface| {
                row.path.starts_with(prefix) && (row.body)(Role::User, "x") == format(Role::User, "x")
            };
            let modes: BTreeSet<bool> =
                rows.iter().filter(is_one).flat_map(|row| row.streams).copied().collect();
            let least = match (at, prefix) {
                (6, "/serving-endpoints/") => 0,
                (2, _) => 1,
                _ => 2,
            };
            assert_eq!(modes.len(), least, "{prefix} {at}");
        }
    }
}
