//! Anthropic Messages.

use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::echo::{Answer, Prompt, Said, Shape, Tool, chars_of, names_of, text_of, tokens_of};
use crate::format::{Call, Format, Refusal, Reply};
use crate::frames::{Frame, FrameWriter, Kind};
use crate::openai::bearer;

const ID: &str = "msg_simulated";
const TOOL_USE: &str = "toolu_";
/// Where the tokens of a message are counted, without an answer to it.
const COUNT: &str = "/messages/count_tokens";

/// Anthropic Messages.
pub(crate) struct Anthropic;

impl Format for Anthropic {
    fn claims(&self, path: &str) -> bool {
        path.ends_with("/messages") || path.ends_with(COUNT)
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        // The newer versions of the client send the key as a bearer token.
        if headers.get("x-api-key").is_none_or(|key| key.is_empty()) && bearer(headers).is_err() {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "x-api-key header is required"));
        }
        if !headers.contains_key("anthropic-version") {
            return Err(Refusal::bad_request("anthropic-version: header is required"));
        }
        Ok(())
    }

    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        if call.path.ends_with(COUNT) {
            let chars = prompt(call.body, messages(call)?).chars;
            return Reply::json(&json!({"input_tokens": tokens_of(chars)}));
        }
        let messages = validated(call)?;
        let answer = call.answer(&prompt(call.body, messages));
        if call.wants_stream() {
            return Ok(Reply::Stream(stream(call, &answer)?));
        }
        let content = [block(&answer.said)?];
        Reply::json(&message(call, &content, Some(stop_reason(&answer.said)), usage(call, &answer)))
    }

    fn error_body(&self, refusal: &Refusal, request_id: &str) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&ErrorBody::new(refusal, Some(request_id)))
    }

    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error> {
        writer.sse(Kind::Tail, Some("error"), &ErrorBody::new(refusal, None))
    }

    fn request_id_header(&self) -> &'static str {
        "request-id"
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: ErrorDetail<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ErrorDetail<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

impl<'a> ErrorBody<'a> {
    fn new(refusal: &'a Refusal, request_id: Option<&'a str>) -> Self {
        let kind = match refusal.status.as_u16() {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        let error = ErrorDetail { kind, message: &refusal.message };
        Self { kind: "error", error, request_id }
    }
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    role: &'a str,
    model: &'a str,
    content: &'a [Block<'a>],
    stop_reason: Option<&'a str>,
    stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Clone, Copy, Serialize)]
struct Usage {
    input_tokens: usize,
    cache_creation_input_tokens: usize,
    cache_read_input_tokens: usize,
    output_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Serialize)]
struct OutputDetails {
    thinking_tokens: usize,
}

#[derive(Serialize)]
struct DeltaUsage {
    input_tokens: usize,
    output_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: &'a str },
    ToolUse { id: String, name: &'a str, input: Value },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart {
        message: Message<'a>,
    },
    ContentBlockStart {
        index: u32,
        content_block: Block<'a>,
    },
    Ping,
    ContentBlockDelta {
        index: u32,
        delta: Delta<'a>,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        delta: Stop<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        usage: Option<DeltaUsage>,
    },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta<'a> {
    TextDelta { text: &'a str },
    InputJsonDelta { partial_json: &'a str },
}

#[derive(Serialize)]
struct Stop<'a> {
    stop_reason: &'a str,
    stop_sequence: Option<&'a str>,
}

fn validated<'a>(call: &Call<'a>) -> Result<&'a [Value], Refusal> {
    if call.model.is_empty() {
        return Err(Refusal::bad_request("model: field required"));
    }
    if call.body.get("max_tokens").and_then(Value::as_u64).is_none_or(|most| most == 0) {
        return Err(Refusal::bad_request("max_tokens: field required"));
    }
    messages(call)
}

fn messages<'a>(call: &Call<'a>) -> Result<&'a [Value], Refusal> {
    match call.body.get("messages").and_then(Value::as_array) {
        Some(messages) if messages.iter().any(|m| m.get("role").and_then(Value::as_str).is_none()) => {
            Err(Refusal::bad_request("messages: each message must be an object with a role"))
        }
        Some(messages) if !messages.is_empty() => Ok(messages),
        Some(_) => Err(Refusal::bad_request("messages: at least one message is required")),
        None => Err(Refusal::bad_request("messages: field required")),
    }
}

fn prompt<'a>(body: &'a Value, messages: &'a [Value]) -> Prompt<'a> {
    let content = |message: &'a Value| message.get("content").unwrap_or(&Value::Null);
    let is_user = |message: &&Value| message.get("role").and_then(Value::as_str) == Some("user");
    let spoken = |message: &&'a Value| {
        // A turn of tool results only is not what the user said last.
        !has_tool_result(content(message)) || !text_of(content(message)).is_empty()
    };
    let last_user = messages.iter().filter(is_user).rfind(spoken);
    let system = body.get("system").map_or(0, chars_of);
    let results = messages.iter().map(|message| tool_results(content(message)).count()).sum();
    Prompt {
        chars: system + messages.iter().map(|message| chars_with_results(content(message))).sum::<usize>(),
        last_user: last_user.map(|message| text_of(content(message)).into_owned()).unwrap_or_default(),
        results,
        offered: names_of(body.get("tools"), "/name"),
        tool: tool(body, results > 0),
        json: json_shape(body),
    }
}

fn tool_results(content: &Value) -> impl Iterator<Item = &Value> {
    let blocks = content.as_array().into_iter().flatten();
    blocks.filter(|block| block.get("type").and_then(Value::as_str) == Some("tool_result"))
}

fn has_tool_result(content: &Value) -> bool {
    tool_results(content).next().is_some()
}

fn chars_with_results(content: &Value) -> usize {
    let results = tool_results(content).filter_map(|block| block.get("content"));
    chars_of(content) + results.map(chars_of).sum::<usize>()
}

fn tool(body: &Value, has_result: bool) -> Option<Tool<'_>> {
    let choice = body.get("tool_choice");
    let forced = match choice.and_then(|choice| choice.get("type")).and_then(Value::as_str) {
        Some("none") => return None,
        Some("any" | "tool") => true,
        _ => false,
    };
    if has_result && !forced {
        return None;
    }
    let wanted = choice.and_then(|choice| choice.get("name"));
    // Without a schema it is one of the provider's own tools, which is not for the client to run.
    let mut tools = body.get("tools")?.as_array()?.iter().filter(|tool| tool.get("input_schema").is_some());
    let tool = tools.find(|tool| wanted.is_none() || tool.get("name") == wanted)?;
    Some(Tool { name: tool.get("name")?.as_str()?, schema: tool.get("input_schema")? })
}

fn json_shape(body: &Value) -> Option<Shape<'_>> {
    let format = body.pointer("/output_config/format").or_else(|| body.get("output_format"))?;
    let is_schema = format.get("type").and_then(Value::as_str) == Some("json_schema");
    is_schema.then(|| format.get("schema").map_or(Shape::Any, Shape::Schema))
}

fn stop_reason(said: &Said) -> &'static str {
    match said {
        Said::Text(_) => "end_turn",
        Said::Call { .. } => "tool_use",
    }
}

fn usage(call: &Call<'_>, answer: &Answer) -> Option<Usage> {
    call.with_usage().then_some(Usage {
        input_tokens: answer.tokens.uncached(),
        cache_creation_input_tokens: answer.tokens.cache_written,
        cache_read_input_tokens: answer.tokens.cached,
        output_tokens: answer.tokens.output,
        output_tokens_details: details(answer),
    })
}

fn details(answer: &Answer) -> Option<OutputDetails> {
    let thinking_tokens = answer.tokens.reasoning;
    (thinking_tokens > 0).then_some(OutputDetails { thinking_tokens })
}

fn message<'a>(
    call: &Call<'a>,
    content: &'a [Block<'a>],
    stop_reason: Option<&'a str>,
    usage: Option<Usage>,
) -> Message<'a> {
    let (kind, role) = ("message", "assistant");
    Message { id: ID, kind, role, model: call.model, content, stop_reason, stop_sequence: None, usage }
}

fn block(said: &Said) -> Result<Block<'_>, serde_json::Error> {
    Ok(match said {
        Said::Text(text) => Block::Text { text: &text.whole },
        Said::Call { name, arguments, .. } => {
            let input = serde_json::from_str(&arguments.whole)?;
            Block::ToolUse { id: said.call_id(TOOL_USE), name, input }
        }
    })
}

fn stream(call: &Call<'_>, answer: &Answer) -> Result<Vec<Frame>, serde_json::Error> {
    let mut writer = FrameWriter::default();
    // The provider starts counting the output at one and gives the real number at the end.
    let started =
        usage(call, answer).map(|usage| Usage { output_tokens: 1, output_tokens_details: None, ..usage });
    let start = Event::MessageStart { message: message(call, &[], None, started) };
    writer.sse(Kind::Head, Some("message_start"), &start)?;
    content(&mut writer, &answer.said)?;
    writer.sse(Kind::Tail, Some("content_block_stop"), &Event::ContentBlockStop { index: 0 })?;
    let delta = Stop { stop_reason: stop_reason(&answer.said), stop_sequence: None };
    let usage = call.with_usage().then_some(DeltaUsage {
        input_tokens: answer.tokens.uncached(),
        output_tokens: answer.tokens.output,
        output_tokens_details: details(answer),
    });
    writer.sse(Kind::Tail, Some("message_delta"), &Event::MessageDelta { delta, usage })?;
    writer.sse(Kind::Done, Some("message_stop"), &Event::MessageStop)?;
    Ok(writer.finish())
}

fn content(writer: &mut FrameWriter, said: &Said) -> Result<(), serde_json::Error> {
    let (content_block, text) = match said {
        Said::Text(text) => (Block::Text { text: "" }, text),
        Said::Call { name, arguments, .. } => {
            let input = Value::Object(serde_json::Map::new());
            (Block::ToolUse { id: said.call_id(TOOL_USE), name, input }, arguments)
        }
    };
    let start = Event::ContentBlockStart { index: 0, content_block };
    writer.sse(Kind::Head, Some("content_block_start"), &start)?;
    writer.sse(Kind::Head, Some("ping"), &Event::Ping)?;
    for piece in text.chunks() {
        let delta = match said {
            Said::Text(_) => Delta::TextDelta { text: piece },
            Said::Call { .. } => Delta::InputJsonDelta { partial_json: piece },
        };
        let event = Event::ContentBlockDelta { index: 0, delta };
        writer.sse(Kind::Chunk, Some("content_block_delta"), &event)?;
    }
    Ok(())
}
