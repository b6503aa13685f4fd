//! Bedrock: Converse, ConverseStream in binary frames, and InvokeModel for Claude and for embeddings of Titan.

use std::borrow::Cow;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::anthropic::Anthropic;
use crate::echo::{Answer, Prompt, Said, Shape, Tokens, Tool, chars_of, names_of, text_of, tokens_of};
use crate::format::{Call, Format, Refusal, Reply, decoded};
use crate::frames::{Frame, FrameWriter, Kind};

const TOOL_USE: &str = "tooluse_";
const INVOKE_STREAM: &str = "/invoke-with-response-stream";

/// Amazon Bedrock's runtime.
pub(crate) struct Bedrock;

impl Format for Bedrock {
    fn claims(&self, path: &str) -> bool {
        path.contains("/model/")
            && ["/converse", "/converse-stream", "/invoke", INVOKE_STREAM].iter().any(|o| path.ends_with(o))
    }

    /// Present and well-formed; whether the signature is right needs the key, which the simulator has not.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let signature =
            text("authorization").strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap_or_default();
        let parts: Vec<&str> = signature.split(", ").collect();
        let scope: Vec<&str> = parts.first().map(|s| s.split('/').collect()).unwrap_or_default();
        let signed = parts.get(1).and_then(|p| p.strip_prefix("SignedHeaders=")).unwrap_or_default();
        let is_whole = scope.len() == 5
            && scope[3..] == ["bedrock", "aws4_request"]
            && text("x-amz-date").starts_with(scope[1])
            && ["host", "x-amz-date"].iter().all(|name| signed.split(';').any(|s| s == *name))
            && parts.get(2).and_then(|p| p.strip_prefix("Signature=")).is_some_and(|s| s.len() == 64);
        if is_whole {
            return Ok(());
        }
        let message =
            "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters.";
        Err(Refusal::new(StatusCode::FORBIDDEN, message))
    }

    fn model<'a>(&self, path: &'a str, _body: &'a Value) -> Option<Cow<'a, str>> {
        let (_, rest) = path.split_once("/model/")?;
        let (model, _) = rest.rsplit_once('/')?;
        Some(decoded(model))
    }

    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        if call.body.get("anthropic_version").is_some() {
            return messages_of_claude(call);
        }
        if call.path.ends_with("/invoke") {
            return embedding(call);
        }
        let messages = validated(call.body)?;
        let answer = call.answer(&prompt(call.body, messages));
        if call.path.ends_with("-stream") {
            return Ok(Reply::Stream(stream(call, &answer)?));
        }
        let mut body = json!({"metrics": {"latencyMs": 1}, "stopReason": stop_reason(&answer.said),
            "output": {"message": {"role": "assistant", "content": [block(&answer.said)?]}}});
        if call.with_usage() {
            body["usage"] = usage(&answer);
        }
        Reply::json(&body)
    }

    fn error_body(&self, refusal: &Refusal, _request_id: &str) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&json!({ "message": refusal.message }))
    }

    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error> {
        let payload = json!({"message": refusal.message, "originalStatusCode": refusal.status.as_u16()});
        frame(writer, Kind::Tail, (":exception-type", "modelStreamErrorException"), &payload)
    }

    /// A frame whose checksum is wrong.
    fn broken(&self, frame: &Frame) -> Bytes {
        let mut bytes = frame.bytes.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 0xff;
        }
        bytes.into()
    }

    fn stream_type(&self) -> &'static str {
        "application/vnd.amazon.eventstream"
    }

    fn request_id_header(&self) -> &'static str {
        "x-amzn-requestid"
    }
}

fn extraneous(body: &Value) -> Option<&str> {
    const KNOWN: [&str; 12] = [
        "messages",
        "system",
        "inferenceConfig",
        "toolConfig",
        "guardrailConfig",
        "additionalModelRequestFields",
        "promptVariables",
        "additionalModelResponseFieldPaths",
        "requestMetadata",
        "performanceConfig",
        "serviceTier",
        "outputConfig",
    ];
    body.as_object()?.keys().map(String::as_str).find(|key| !KNOWN.contains(key))
}

/// The rules that the service holds a conversation to.
fn validated(body: &Value) -> Result<&[Value], Refusal> {
    if let Some(key) = extraneous(body) {
        return Err(Refusal::bad_request(format!("extraneous key [{key}] is not permitted")));
    }
    let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if messages.first().is_none_or(|m| m["role"] != "user") {
        return Err(Refusal::bad_request("A conversation must start with a user message."));
    }
    if messages.windows(2).any(|pair| pair[0]["role"] == pair[1]["role"]) {
        return Err(Refusal::bad_request("A conversation must alternate between user and assistant roles."));
    }
    let blocks = || messages.iter().flat_map(blocks_of);
    if blocks().any(|b| b["text"].as_str().is_some_and(|t| t.trim().is_empty())) {
        return Err(Refusal::bad_request("The text field in the ContentBlock object is blank."));
    }
    let uses_tools = blocks().any(|b| b.get("toolUse").is_some() || b.get("toolResult").is_some());
    if uses_tools && body.get("toolConfig").is_none() {
        return Err(Refusal::bad_request(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        ));
    }
    let ids = |turn: &Value, kind: &str| {
        let ids = blocks_of(turn).filter_map(|b| b.get(kind)?.get("toolUseId")?.as_str().map(str::to_owned));
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids
    };
    let unanswered = |pair: &[Value]| ids(&pair[0], "toolUse") != ids(&pair[1], "toolResult");
    let calls = messages.windows(2).filter(|pair| pair[0]["role"] == "assistant");
    if calls.clone().any(unanswered) {
        return Err(Refusal::bad_request(
            "Expected toolResult blocks for the toolUse Ids of the turn before.",
        ));
    }
    Ok(messages)
}

fn blocks_of(message: &Value) -> impl Iterator<Item = &Value> {
    message["content"].as_array().into_iter().flatten()
}

fn results_of(message: &Value) -> impl Iterator<Item = &Value> {
    blocks_of(message).filter_map(|b| b.get("toolResult"))
}

fn prompt<'a>(body: &'a Value, messages: &'a [Value]) -> Prompt<'a> {
    let has_result = |message: &Value| results_of(message).next().is_some();
    // A turn of tool results only is not what the user said last.
    let spoken = |message: &&Value| {
        message["role"] == "user" && (!has_result(message) || !text_of(&message["content"]).is_empty())
    };
    let last_user = messages.iter().rfind(spoken);
    let answered = messages.iter().flat_map(results_of).map(|r| chars_of(&r["content"])).sum::<usize>();
    let said = messages.iter().map(|m| chars_of(&m["content"])).sum::<usize>();
    let results = messages.iter().flat_map(results_of).count();
    Prompt {
        chars: body.get("system").map_or(0, chars_of) + said + answered,
        last_user: last_user.map(|m| text_of(&m["content"]).into_owned()).unwrap_or_default(),
        results,
        offered: names_of(body.pointer("/toolConfig/tools"), "/toolSpec/name"),
        tool: tool(body, results > 0),
        json: shape(body),
    }
}

fn tool(body: &Value, has_result: bool) -> Option<Tool<'_>> {
    let config = body.get("toolConfig")?;
    let wanted = config.pointer("/toolChoice/tool/name");
    let forced = wanted.is_some() || config.pointer("/toolChoice/any").is_some();
    if has_result && !forced {
        return None;
    }
    let mut specs = config.get("tools")?.as_array()?.iter().filter_map(|t| t.get("toolSpec"));
    let spec = specs.find(|spec| wanted.is_none() || spec.get("name") == wanted)?;
    Some(Tool { name: spec.get("name")?.as_str()?, schema: spec.pointer("/inputSchema/json")? })
}

/// The schema comes as text, so that only its presence shapes the answer.
fn shape(body: &Value) -> Option<Shape<'_>> {
    body.pointer("/outputConfig/textFormat").map(|_| Shape::Any)
}

fn stop_reason(said: &Said) -> &'static str {
    match said {
        Said::Text(_) => "end_turn",
        Said::Call { .. } => "tool_use",
    }
}

fn usage(answer: &Answer) -> Value {
    let tokens = answer.tokens;
    json!({"inputTokens": tokens.uncached(), "outputTokens": tokens.output, "totalTokens": tokens.total(),
        "cacheReadInputTokens": tokens.cached, "cacheWriteInputTokens": tokens.cache_written})
}

fn block(said: &Said) -> Result<Value, serde_json::Error> {
    Ok(match said {
        Said::Text(text) => json!({ "text": text.whole }),
        Said::Call { name, arguments, .. } => {
            let input: Value = serde_json::from_str(&arguments.whole)?;
            json!({"toolUse": {"toolUseId": said.call_id(TOOL_USE), "name": name, "input": input}})
        }
    })
}

fn stream(call: &Call<'_>, answer: &Answer) -> Result<Vec<Frame>, serde_json::Error> {
    let mut writer = FrameWriter::default();
    let event = |writer: &mut FrameWriter, kind, name: &str, payload: &Value| {
        frame(writer, kind, (":event-type", name), payload)
    };
    event(&mut writer, Kind::Head, "messageStart", &json!({"role": "assistant", "p": "abcd"}))?;
    let text = match &answer.said {
        Said::Text(text) => text,
        Said::Call { name, arguments, .. } => {
            let start = json!({"toolUse": {"toolUseId": answer.said.call_id(TOOL_USE), "name": name}});
            let payload = json!({"contentBlockIndex": 0, "start": start, "p": "ab"});
            event(&mut writer, Kind::Head, "contentBlockStart", &payload)?;
            arguments
        }
    };
    for piece in text.chunks() {
        let delta = match &answer.said {
            Said::Text(_) => json!({ "text": piece }),
            Said::Call { .. } => json!({"toolUse": {"input": piece}}),
        };
        let payload = json!({"contentBlockIndex": 0, "delta": delta, "p": "abcdef"});
        event(&mut writer, Kind::Chunk, "contentBlockDelta", &payload)?;
    }
    event(&mut writer, Kind::Tail, "contentBlockStop", &json!({"contentBlockIndex": 0}))?;
    event(&mut writer, Kind::Tail, "messageStop", &json!({"stopReason": stop_reason(&answer.said)}))?;
    let mut metadata = json!({"metrics": {"latencyMs": 1}});
    if call.with_usage() {
        metadata["usage"] = usage(answer);
    }
    event(&mut writer, Kind::Done, "metadata", &metadata)?;
    Ok(writer.finish())
}

/// A frame of the binary event stream; `named` is the header that says what it is.
fn frame(
    writer: &mut FrameWriter,
    kind: Kind,
    named: (&'static str, &str),
    payload: &Value,
) -> Result<(), serde_json::Error> {
    let header =
        |name: &'static str, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let message_type = if named.0 == ":event-type" { "event" } else { "exception" };
    let message = Message::new(serde_json::to_vec(payload)?)
        .add_header(header(named.0, named.1))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", message_type));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).map_err(|e| serde::ser::Error::custom(e.to_string()))?;
    writer.raw(kind, &bytes);
    Ok(())
}

/// Claude takes the format of its maker; the path names the model and says whether the answer is a stream.
fn messages_of_claude(call: &Call<'_>) -> Result<Reply, Refusal> {
    if let Some(key) = ["model", "stream"].iter().find(|key| call.body.get(**key).is_some()) {
        return Err(Refusal::bad_request(format!("{key}: Extra inputs are not permitted")));
    }
    let mut body = call.body.clone();
    body["stream"] = call.path.ends_with(INVOKE_STREAM).into();
    let frames = match Anthropic.reply(&Call { body: &body, ..*call })? {
        Reply::Stream(frames) => frames,
        whole @ Reply::Whole(_) => return Ok(whole),
    };
    let mut writer = FrameWriter::default();
    for event in frames {
        let text = String::from_utf8_lossy(&event.bytes);
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
        frame(
            &mut writer,
            event.kind,
            (":event-type", "chunk"),
            &json!({"bytes": STANDARD.encode(data), "p": "ab"}),
        )?;
    }
    Ok(Reply::Stream(writer.finish()))
}

/// Titan takes one text a call.
fn embedding(call: &Call<'_>) -> Result<Reply, Refusal> {
    let text = call.body.get("inputText").and_then(Value::as_str);
    let text = text.ok_or_else(|| Refusal::bad_request("required key [inputText] not found"))?;
    let size = call.body.get("dimensions").and_then(Value::as_u64).unwrap_or(8).min(1024);
    let first = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX)) / 100.0;
    let vector: Vec<f64> = (0..size).map(|at| if at == 0 { first } else { 0.5 }).collect();
    let tokens = tokens_of(text.chars().count());
    call.bill(Tokens::new(tokens, 0));
    Reply::json(&json!({"embedding": vector, "inputTextTokenCount": tokens}))
}
