//! Cohere's v2 chat and embed.

use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::echo::{Answer, Prompt, Said, Shape, Tokens, Tool, chars_of, names_of, text_of, tokens_of};
use crate::format::{Call, Format, Refusal, Reply};
use crate::frames::{Frame, FrameWriter, Kind};
use crate::openai::{bearer, vector};

const ID: &str = "c14c80c3-18eb-4519-9460-6c92edd8cfb4";
const CALL: &str = "call_simulated_";
const MAX_TEXTS: usize = 96;
const DIMENSIONS: u64 = 8;

/// Fields of a chat request: any other is refused, as the real API does.
const CHAT_FIELDS: [&str; 22] = [
    "model",
    "messages",
    "tools",
    "strict_tools",
    "documents",
    "citation_options",
    "response_format",
    "safety_mode",
    "max_tokens",
    "stop_sequences",
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "k",
    "p",
    "logprobs",
    "tool_choice",
    "thinking",
    "priority",
    "raw_prompting",
    "stream",
];
const EMBED_FIELDS: [&str; 9] = [
    "model",
    "texts",
    "images",
    "inputs",
    "input_type",
    "embedding_types",
    "output_dimension",
    "truncate",
    "max_tokens",
];

/// Cohere v2.
pub(crate) struct Cohere;

impl Format for Cohere {
    fn claims(&self, path: &str) -> bool {
        path.ends_with("/v2/chat") || path.ends_with("/v2/embed")
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        bearer(headers).map_err(|_| Refusal::new(StatusCode::UNAUTHORIZED, "no api key supplied"))
    }

    fn reply(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        if call.model.is_empty() {
            return Err(Refusal::bad_request("invalid request: model is required"));
        }
        if call.path.ends_with("/embed") {
            return embed(call);
        }
        let messages = validated(call.body)?;
        let answer = call.answer(&prompt(call.body, messages));
        if call.wants_stream() {
            return Ok(Reply::Stream(stream(call, &answer)?));
        }
        let mut reply =
            json!({"id": ID, "finish_reason": finish_reason(&answer.said), "message": message(&answer.said)});
        if call.with_usage() {
            reply["usage"] = usage(&answer);
        }
        Reply::json(&reply)
    }

    fn error_body(&self, refusal: &Refusal, request_id: &str) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&ErrorBody { id: request_id, message: &refusal.message })
    }

    fn error_frame(&self, writer: &mut FrameWriter, refusal: &Refusal) -> Result<(), serde_json::Error> {
        let delta = json!({"finish_reason": "ERROR", "error": refusal.message});
        event(writer, Kind::Tail, json!({"type": "message-end", "id": ID, "delta": delta}))
    }

    fn request_id_header(&self) -> &'static str {
        "x-debug-trace-id"
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    id: &'a str,
    message: &'a str,
}

fn known(body: &Value, fields: &[&str]) -> Result<(), Refusal> {
    let unknown = body.as_object().into_iter().flatten().find(|(key, _)| !fields.contains(&key.as_str()));
    match unknown {
        Some((key, _)) => Err(Refusal::bad_request(format!("invalid request: unknown field {key:?}"))),
        None => Ok(()),
    }
}

fn validated(body: &Value) -> Result<&[Value], Refusal> {
    known(body, &CHAT_FIELDS)?;
    let invalid = |text: String| Err(Refusal::bad_request(format!("invalid request: {text}")));
    let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if messages.is_empty() {
        return invalid("messages must have at least one message".to_owned());
    }
    for (at, message) in messages.iter().enumerate() {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        let fields: &[&str] = match role {
            "system" | "user" => &["role", "content"],
            "assistant" => &["role", "content", "tool_calls", "tool_plan", "citations"],
            "tool" => &["role", "content", "tool_call_id"],
            _ => return invalid(format!("message at index {at} has unknown role {role:?}")),
        };
        known(message, fields)?;
        let blank = text_of(message.get("content").unwrap_or(&Value::Null)).trim().is_empty();
        if blank && message.get("tool_calls").is_none() && !has_image(message) {
            return invalid(format!("message at index {at} must have content"));
        }
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            known(call, &["id", "type", "function"])?;
        }
    }
    match body.get("tool_choice").map(|choice| choice.as_str().unwrap_or("an object")) {
        None | Some("REQUIRED" | "NONE") => Ok(messages),
        Some(other) => invalid(format!("tool_choice must be REQUIRED or NONE, not {other}")),
    }
}

fn has_image(message: &Value) -> bool {
    let parts = message.get("content").and_then(Value::as_array).into_iter().flatten();
    parts.into_iter().any(|part| part.get("type").is_some_and(|kind| kind == "image_url"))
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
        json: json_shape(body),
    }
}

fn tool(body: &Value) -> Option<Tool<'_>> {
    if body.get("tool_choice").is_some_and(|choice| choice == "NONE") {
        return None;
    }
    let function = body.pointer("/tools/0/function")?;
    let schema = function.get("parameters").unwrap_or(&Value::Null);
    Some(Tool { name: function.get("name")?.as_str()?, schema })
}

fn json_shape(body: &Value) -> Option<Shape<'_>> {
    let format = body.get("response_format").filter(|format| format["type"] == "json_object")?;
    Some(format.get("json_schema").map_or(Shape::Any, Shape::Schema))
}

fn finish_reason(said: &Said) -> &'static str {
    match said {
        Said::Text(_) => "COMPLETE",
        Said::Call { .. } => "TOOL_CALL",
    }
}

fn message(said: &Said) -> Value {
    match said {
        Said::Text(text) => json!({"role": "assistant", "content": [{"type": "text", "text": text.whole}]}),
        Said::Call { name, arguments, .. } => {
            let function = json!({"name": name, "arguments": arguments.whole});
            json!({"role": "assistant", "tool_plan": "I will call a tool.",
                "tool_calls": [{"id": said.call_id(CALL), "type": "function", "function": function}]})
        }
    }
}

/// The counts are floats on the wire.
fn usage(answer: &Answer) -> Value {
    let float = |count: usize| Value::from(count as f64);
    let tokens =
        json!({"input_tokens": float(answer.tokens.input), "output_tokens": float(answer.tokens.output)});
    json!({"billed_units": tokens, "tokens": tokens, "cached_tokens": float(answer.tokens.cached)})
}

fn event(writer: &mut FrameWriter, kind: Kind, event: Value) -> Result<(), serde_json::Error> {
    writer.sse(kind, event["type"].as_str(), &event)
}

fn stream(call: &Call<'_>, answer: &Answer) -> Result<Vec<Frame>, serde_json::Error> {
    let mut writer = FrameWriter::default();
    let empty =
        json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
    event(&mut writer, Kind::Head, json!({"type": "message-start", "id": ID, "delta": {"message": empty}}))?;
    let wrapped =
        |kind: &str, message: Value| json!({"type": kind, "index": 0, "delta": {"message": message}});
    match &answer.said {
        Said::Text(text) => {
            let start = json!({"content": {"type": "text", "text": ""}});
            event(&mut writer, Kind::Head, wrapped("content-start", start))?;
            for piece in text.chunks() {
                event(
                    &mut writer,
                    Kind::Chunk,
                    wrapped("content-delta", json!({"content": {"text": piece}})),
                )?;
            }
            event(&mut writer, Kind::Tail, json!({"type": "content-end", "index": 0}))?;
        }
        Said::Call { name, arguments, .. } => {
            let plan = json!({"tool_plan": "I will call a tool."});
            event(&mut writer, Kind::Head, json!({"type": "tool-plan-delta", "delta": {"message": plan}}))?;
            let function = json!({"name": name, "arguments": ""});
            let start = json!({"tool_calls": {"id": answer.said.call_id(CALL), "type": "function", "function": function}});
            event(&mut writer, Kind::Head, wrapped("tool-call-start", start))?;
            for piece in arguments.chunks() {
                let delta = json!({"tool_calls": {"function": {"arguments": piece}}});
                event(&mut writer, Kind::Chunk, wrapped("tool-call-delta", delta))?;
            }
            event(&mut writer, Kind::Tail, json!({"type": "tool-call-end", "index": 0}))?;
        }
    }
    let mut delta = json!({"finish_reason": finish_reason(&answer.said)});
    if call.with_usage() {
        delta["usage"] = usage(answer);
    }
    event(&mut writer, Kind::Done, json!({"type": "message-end", "id": ID, "delta": delta}))?;
    Ok(writer.finish())
}

fn embed(call: &Call<'_>) -> Result<Reply, Refusal> {
    known(call.body, &EMBED_FIELDS)?;
    let list = |name: &str| -> Vec<&str> {
        let items = call.body.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect()
    };
    let (texts, images) = (list("texts"), list("images"));
    if call.body.get("input_type").and_then(Value::as_str).is_none() {
        return Err(Refusal::bad_request("invalid request: input_type is required"));
    }
    if texts.len() + images.len() == 0 || texts.len() > MAX_TEXTS || images.len() > 1 {
        return Err(Refusal::bad_request(format!(
            "invalid request: valid inputs are 1 to {MAX_TEXTS} texts or one image"
        )));
    }
    let dimensions = call.body.get("output_dimension").and_then(Value::as_u64).unwrap_or(DIMENSIONS);
    let dimensions = usize::try_from(dimensions).unwrap_or(usize::MAX).min(4_096);
    let vectors: Vec<Vec<f32>> = texts.iter().chain(&images).map(|text| vector(text, dimensions)).collect();
    let chars = texts.iter().map(|text| text.chars().count()).sum();
    call.bill(Tokens::new(tokens_of(chars), 0));
    Reply::json(&json!({"id": ID, "texts": texts, "images": [], "embeddings": {"float": vectors},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens_of(chars) as f64}},
        "response_type": "embeddings_by_type"}))
}
