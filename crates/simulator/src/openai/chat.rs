//! Chat completions.

use serde::Serialize;
use serde_json::Value;

use super::{CREATED, Usage, streams_usage};
use crate::echo::{Answer, Prompt, Said, Shape, Tool, chars_of, names_of, text_of};
use crate::format::{Call, Refusal, Reply};
use crate::frames::{Frame, FrameWriter, Kind};

const ID: &str = "chatcmpl-simulated";

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'a str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    system_fingerprint: Option<&'a str>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<&'a str>,
    finish_reason: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: Option<&'a str>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCall<'a>; 1]>,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'a str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'a str,
    created: u64,
    model: &'a str,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    finish_reason: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct ToolDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

pub(super) fn reply(call: &Call<'_>) -> Result<Reply, Refusal> {
    let messages = call.body.get("messages").and_then(Value::as_array);
    let messages =
        messages.ok_or_else(|| Refusal::bad_param("messages", "missing required parameter: messages"))?;
    if messages.is_empty() {
        return Err(Refusal::bad_param("messages", "messages is empty: at least one message is required"));
    }
    if let Some(at) = messages.iter().position(|m| m.get("role").and_then(Value::as_str).is_none()) {
        return Err(Refusal::bad_param("messages", format!("messages[{at}] must be an object with a role")));
    }
    let answer = call.answer(&prompt(call.body, messages));
    if call.wants_stream() {
        return Ok(Reply::Stream(stream(call, &answer)?));
    }
    Reply::json(&whole(call, &answer))
}

fn prompt<'a>(body: &'a Value, messages: &'a [Value]) -> Prompt<'a> {
    let content = |message: &'a Value| message.get("content").unwrap_or(&Value::Null);
    let role = |message: &'a Value| message.get("role").and_then(Value::as_str);
    let last_user = messages.iter().rfind(|message| role(message) == Some("user"));
    let results = messages.iter().filter(|message| role(message) == Some("tool")).count();
    Prompt {
        chars: messages.iter().map(|message| chars_of(content(message))).sum(),
        last_user: last_user.map(|message| text_of(content(message)).into_owned()).unwrap_or_default(),
        results,
        offered: names_of(body.get("tools"), "/function/name"),
        tool: if results > 0 { None } else { tool(body) },
        json: json_shape(body.get("response_format"), "/json_schema/schema"),
    }
}

fn tool(body: &Value) -> Option<Tool<'_>> {
    let choice = body.get("tool_choice");
    if choice.and_then(Value::as_str) == Some("none") {
        return None;
    }
    let functions = || body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let mut functions = functions().filter_map(|tool| tool.get("function"));
    let wanted = choice.and_then(|choice| choice.pointer("/function/name"));
    let function = functions.find(|function| wanted.is_none() || function.get("name") == wanted)?;
    let schema = function.get("parameters").unwrap_or(&Value::Null);
    Some(Tool { name: function.get("name")?.as_str()?, schema })
}

/// The JSON that a `response_format` (or what other formats call it) asks for.
pub(super) fn json_shape<'a>(format: Option<&'a Value>, schema: &str) -> Option<Shape<'a>> {
    let format = format?;
    match format.get("type")?.as_str()? {
        "json_schema" => Some(format.pointer(schema).map_or(Shape::Any, Shape::Schema)),
        "json_object" => Some(Shape::Any),
        _ => None,
    }
}

fn whole<'a>(call: &Call<'a>, answer: &'a Answer) -> Completion<'a> {
    let (content, tool_calls) = match &answer.said {
        Said::Text(text) => (Some(text.whole.as_str()), None),
        Said::Call { name, arguments, .. } => {
            let function = Function { name, arguments: &arguments.whole };
            (None, Some([ToolCall { id: answer.said.call_id("call_"), kind: "function", function }]))
        }
    };
    let message = Message { role: "assistant", content, refusal: None, tool_calls };
    Completion {
        id: ID,
        object: "chat.completion",
        created: CREATED,
        model: call.model,
        choices: [Choice { index: 0, message, logprobs: None, finish_reason: finish_reason(&answer.said) }],
        usage: call.with_usage().then(|| Usage::of(answer.tokens)),
        system_fingerprint: None,
    }
}

fn finish_reason(said: &Said) -> &'static str {
    match said {
        Said::Text(_) => "stop",
        Said::Call { .. } => "tool_calls",
    }
}

fn stream(call: &Call<'_>, answer: &Answer) -> Result<Vec<Frame>, serde_json::Error> {
    let mut chunks = Chunks { writer: FrameWriter::default(), model: call.model };
    match &answer.said {
        Said::Text(text) => {
            chunks.delta(
                Kind::Head,
                Delta { role: Some("assistant"), content: Some(""), ..Delta::default() },
            )?;
            for piece in text.chunks() {
                chunks.delta(Kind::Chunk, Delta { content: Some(piece), ..Delta::default() })?;
            }
        }
        Said::Call { name, arguments, .. } => {
            let id = answer.said.call_id("call_");
            chunks.delta(Kind::Head, Delta { role: Some("assistant"), ..Delta::default() })?;
            chunks.tool(Kind::Head, Some((&id, name)), "")?;
            for piece in arguments.chunks() {
                chunks.tool(Kind::Chunk, None, piece)?;
            }
        }
    }
    chunks.choice(Kind::Tail, Delta::default(), Some(finish_reason(&answer.said)))?;
    if streams_usage(call) {
        chunks.chunk(Kind::Tail, &[], Some(Usage::of(answer.tokens)))?;
    }
    chunks.writer.raw(Kind::Done, b"data: [DONE]\n\n");
    Ok(chunks.writer.finish())
}

struct Chunks<'a> {
    writer: FrameWriter,
    model: &'a str,
}

impl Chunks<'_> {
    fn tool(
        &mut self,
        kind: Kind,
        begins: Option<(&str, &str)>,
        arguments: &str,
    ) -> Result<(), serde_json::Error> {
        // Only the first delta of a call says which call it is.
        let call = ToolDelta {
            index: 0,
            id: begins.map(|(id, _)| id),
            kind: begins.map(|_| "function"),
            function: FunctionDelta { name: begins.map(|(_, name)| name), arguments },
        };
        self.delta(kind, Delta { tool_calls: Some([call]), ..Delta::default() })
    }

    fn delta(&mut self, kind: Kind, delta: Delta<'_>) -> Result<(), serde_json::Error> {
        self.choice(kind, delta, None)
    }

    fn choice(
        &mut self,
        kind: Kind,
        delta: Delta<'_>,
        finish: Option<&str>,
    ) -> Result<(), serde_json::Error> {
        self.chunk(kind, &[ChunkChoice { index: 0, delta, finish_reason: finish }], None)
    }

    fn chunk(
        &mut self,
        kind: Kind,
        choices: &[ChunkChoice<'_>],
        usage: Option<Usage>,
    ) -> Result<(), serde_json::Error> {
        let object = "chat.completion.chunk";
        let chunk = Chunk { id: ID, object, created: CREATED, model: self.model, choices, usage };
        self.writer.sse(kind, None, &chunk)
    }
}
