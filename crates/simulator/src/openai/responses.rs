//! The Responses API.

use serde::Serialize;
use serde_json::{Map, Value};

use super::CREATED;
use super::chat::json_shape;
use crate::echo::{Answer, Prompt, Said, Text, Tokens, Tool, chars_of, names_of, text_of};
use crate::format::{Call, Refusal, Reply};
use crate::frames::{Frame, FrameWriter, Kind};

/// The ids of a response and of its item, behind their prefixes.
struct Ids {
    response: String,
    item: String,
}

impl Ids {
    /// Of a response that is kept: nobody else's.
    fn of(call: &Call<'_>) -> Self {
        if call.body.get("store") == Some(&Value::Bool(false)) {
            return Self { response: "simulated".to_owned(), item: "simulated".to_owned() };
        }
        let (response, item) = call.responses.next_ids();
        Self { response, item }
    }

    fn item(&self, said: &Said) -> String {
        let prefix = match said {
            Said::Text(_) => "msg",
            Said::Call { .. } => "fc",
        };
        format!("{prefix}_{}", self.item)
    }
}

#[derive(Clone, Serialize)]
struct Response<'a> {
    id: &'a str,
    object: &'a str,
    created_at: u64,
    status: &'a str,
    background: bool,
    error: Option<&'a str>,
    incomplete_details: Option<&'a str>,
    instructions: Option<&'a Value>,
    max_output_tokens: Option<u64>,
    metadata: Map<String, Value>,
    model: &'a str,
    output: &'a [Item<'a>],
    parallel_tool_calls: bool,
    previous_response_id: Option<&'a str>,
    temperature: f64,
    tool_choice: ToolChoice<'a>,
    tools: &'a [Value],
    top_p: f64,
    truncation: &'a str,
    usage: Option<Usage>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum ToolChoice<'a> {
    Given(&'a Value),
    Default(&'static str),
}

#[derive(Clone, Copy, Serialize)]
struct Usage {
    input_tokens: usize,
    input_tokens_details: InputDetails,
    output_tokens: usize,
    output_tokens_details: OutputDetails,
    total_tokens: usize,
}

#[derive(Clone, Copy, Serialize)]
struct InputDetails {
    cached_tokens: usize,
}

#[derive(Clone, Copy, Serialize)]
struct OutputDetails {
    reasoning_tokens: usize,
}

#[derive(Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item<'a> {
    Message { id: &'a str, status: &'a str, role: &'a str, content: Vec<Part<'a>> },
    FunctionCall { id: &'a str, call_id: &'a str, name: &'a str, arguments: &'a str, status: &'a str },
}

#[derive(Clone, Copy, Serialize)]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    text: &'a str,
    annotations: [(); 0],
    logprobs: [(); 0],
}

#[derive(Serialize)]
struct Event<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct OfResponse<'a> {
    response: &'a Response<'a>,
}

#[derive(Serialize)]
struct OfItem<'a> {
    output_index: u32,
    item: Item<'a>,
}

#[derive(Serialize)]
struct OfPart<'a> {
    item_id: &'a str,
    output_index: u32,
    content_index: u32,
    part: Part<'a>,
}

#[derive(Serialize)]
struct OfText<'a> {
    item_id: &'a str,
    output_index: u32,
    content_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: [(); 0],
}

#[derive(Serialize)]
struct OfArguments<'a> {
    item_id: &'a str,
    output_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
}

pub(super) fn reply(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.responses.check(call.body)?;
    let answer = call.answer(&prompt(call.body)?);
    let call_id = answer.said.call_id("call_");
    let ids = Ids::of(call);
    let (id, item_id) = (format!("resp_{}", ids.response), ids.item(&answer.said));
    let output = [match &answer.said {
        Said::Text(text) => message(&item_id, "completed", vec![part(&text.whole)]),
        Said::Call { name, arguments, .. } => {
            function_call(&item_id, "completed", &call_id, name, &arguments.whole)
        }
    }];
    let usage = call.with_usage().then(|| usage(answer.tokens));
    let completed = response(call, &id, &output, usage);
    if call.body.get("store") != Some(&Value::Bool(false)) {
        call.responses.keep(serde_json::to_value(&completed)?, &call.body["input"]);
    }
    if call.wants_stream() {
        return Ok(Reply::Stream(stream(&completed, &item_id, &answer)?));
    }
    Reply::json(&completed)
}

fn prompt(body: &Value) -> Result<Prompt<'_>, Refusal> {
    let (chars, last_user, results) = match body.get("input") {
        Some(Value::String(text)) => (text.chars().count(), text.clone(), 0),
        Some(Value::Array(items)) if !items.is_empty() => read_items(items),
        _ => return Err(Refusal::bad_param("input", "missing required parameter: input")),
    };
    let instructions = body.get("instructions").map_or(0, chars_of);
    Ok(Prompt {
        chars: chars + instructions,
        last_user,
        results,
        offered: names_of(body.get("tools"), "/name"),
        tool: if results > 0 { None } else { tool(body) },
        json: json_shape(body.pointer("/text/format"), "/schema"),
    })
}

fn read_items(items: &[Value]) -> (usize, String, usize) {
    let content =
        |item: &Value| item.get("content").or_else(|| item.get("output")).cloned().unwrap_or_default();
    let chars = items.iter().map(|item| chars_of(&content(item))).sum();
    let is = |item: &Value, key: &str, wanted: &str| item.get(key).and_then(Value::as_str) == Some(wanted);
    let last_user = items.iter().rfind(|item| is(item, "role", "user"));
    let last_user = last_user.map(|item| text_of(content_of(item)).into_owned()).unwrap_or_default();
    (chars, last_user, items.iter().filter(|item| is(item, "type", "function_call_output")).count())
}

fn content_of(item: &Value) -> &Value {
    item.get("content").or_else(|| item.get("output")).unwrap_or(&Value::Null)
}

fn tool(body: &Value) -> Option<Tool<'_>> {
    let choice = body.get("tool_choice");
    if choice.and_then(Value::as_str) == Some("none") {
        return None;
    }
    let wanted = choice.and_then(|choice| choice.get("name"));
    let mut tools = body.get("tools")?.as_array()?.iter().filter(|tool| {
        let is_function = tool.get("type").and_then(Value::as_str) == Some("function");
        is_function && (wanted.is_none() || tool.get("name") == wanted)
    });
    let tool = tools.next()?;
    Some(Tool { name: tool.get("name")?.as_str()?, schema: tool.get("parameters").unwrap_or(&Value::Null) })
}

fn response<'a>(call: &Call<'a>, id: &'a str, output: &'a [Item<'a>], usage: Option<Usage>) -> Response<'a> {
    let tool_choice = call.body.get("tool_choice").filter(|choice| !choice.is_null());
    Response {
        id,
        object: "response",
        created_at: CREATED,
        status: "completed",
        background: call.body.get("background") == Some(&Value::Bool(true)),
        error: None,
        incomplete_details: None,
        instructions: call.body.get("instructions"),
        max_output_tokens: call.body.get("max_output_tokens").and_then(Value::as_u64),
        metadata: Map::new(),
        model: call.model,
        output,
        parallel_tool_calls: true,
        previous_response_id: call.body.get("previous_response_id").and_then(Value::as_str),
        temperature: 1.0,
        tool_choice: tool_choice.map_or(ToolChoice::Default("auto"), ToolChoice::Given),
        tools: call.body.get("tools").and_then(Value::as_array).map_or(&[], Vec::as_slice),
        top_p: 1.0,
        truncation: "disabled",
        usage,
    }
}

fn usage(tokens: Tokens) -> Usage {
    Usage {
        input_tokens: tokens.input,
        input_tokens_details: InputDetails { cached_tokens: tokens.cached },
        output_tokens: tokens.output,
        output_tokens_details: OutputDetails { reasoning_tokens: tokens.reasoning },
        total_tokens: tokens.total(),
    }
}

fn part(text: &str) -> Part<'_> {
    Part { kind: "output_text", text, annotations: [], logprobs: [] }
}

fn message<'a>(id: &'a str, status: &'a str, content: Vec<Part<'a>>) -> Item<'a> {
    Item::Message { id, status, role: "assistant", content }
}

fn function_call<'a>(
    id: &'a str,
    status: &'a str,
    call_id: &'a str,
    name: &'a str,
    arguments: &'a str,
) -> Item<'a> {
    Item::FunctionCall { id, call_id, name, arguments, status }
}

fn stream(completed: &Response<'_>, item_id: &str, answer: &Answer) -> Result<Vec<Frame>, serde_json::Error> {
    let mut events = Events { item_id, writer: FrameWriter::default(), next: 0 };
    let started = Response { status: "in_progress", output: &[], usage: None, ..completed.clone() };
    events.put(Kind::Head, "response.created", OfResponse { response: &started })?;
    events.put(Kind::Head, "response.in_progress", OfResponse { response: &started })?;
    match &answer.said {
        Said::Text(text) => events.text(text)?,
        Said::Call { name, arguments, .. } => events.call(&answer.said.call_id("call_"), name, arguments)?,
    }
    // There is no [DONE] in this format: the completed response is the terminator.
    events.put(Kind::Done, "response.completed", OfResponse { response: completed })?;
    Ok(events.writer.finish())
}

struct Events<'i> {
    item_id: &'i str,
    writer: FrameWriter,
    next: u64,
}

impl Events<'_> {
    fn put<T: Serialize>(&mut self, kind: Kind, name: &str, rest: T) -> Result<(), serde_json::Error> {
        let sequence_number = self.next;
        self.next += 1;
        self.writer.sse(kind, Some(name), &Event { kind: name, sequence_number, rest })
    }

    fn item(&mut self, kind: Kind, name: &str, item: Item<'_>) -> Result<(), serde_json::Error> {
        self.put(kind, name, OfItem { output_index: 0, item })
    }

    fn part(&mut self, kind: Kind, name: &str, part: Part<'_>) -> Result<(), serde_json::Error> {
        self.put(kind, name, OfPart { item_id: self.item_id, output_index: 0, content_index: 0, part })
    }

    fn text(&mut self, text: &Text) -> Result<(), serde_json::Error> {
        let of_text = OfText {
            item_id: self.item_id,
            output_index: 0,
            content_index: 0,
            delta: None,
            text: None,
            logprobs: [],
        };
        self.item(
            Kind::Head,
            "response.output_item.added",
            message(self.item_id, "in_progress", Vec::new()),
        )?;
        self.part(Kind::Head, "response.content_part.added", part(""))?;
        for piece in text.chunks() {
            let delta = OfText { delta: Some(piece), ..of_text };
            self.put(Kind::Chunk, "response.output_text.delta", delta)?;
        }
        let done = OfText { text: Some(&text.whole), ..of_text };
        self.put(Kind::Tail, "response.output_text.done", done)?;
        let part = part(&text.whole);
        self.part(Kind::Tail, "response.content_part.done", part)?;
        self.item(Kind::Tail, "response.output_item.done", message(self.item_id, "completed", vec![part]))
    }

    fn call(&mut self, call_id: &str, name: &str, arguments: &Text) -> Result<(), serde_json::Error> {
        let of_arguments =
            OfArguments { item_id: self.item_id, output_index: 0, delta: None, arguments: None };
        self.item(
            Kind::Head,
            "response.output_item.added",
            function_call(self.item_id, "in_progress", call_id, name, ""),
        )?;
        for piece in arguments.chunks() {
            let delta = OfArguments { delta: Some(piece), ..of_arguments };
            self.put(Kind::Chunk, "response.function_call_arguments.delta", delta)?;
        }
        let done = OfArguments { arguments: Some(&arguments.whole), ..of_arguments };
        self.put(Kind::Tail, "response.function_call_arguments.done", done)?;
        let item = function_call(self.item_id, "completed", call_id, name, &arguments.whole);
        self.item(Kind::Tail, "response.output_item.done", item)
    }
}
