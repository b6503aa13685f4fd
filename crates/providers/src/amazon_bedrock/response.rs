//! Converse reply to unified reply, and errors.

use ::wire::chat::{ChatResponse, Choice, Message, ToolCall};
use ::wire::usage::Usage;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::codec::{Malformed, UpstreamError};
use crate::unified::{CacheCounts, Gathered};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    output: Option<Output>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output {
    message: Option<Said>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<Vec<Value>>,
}

/// Counts may be missing or null.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    /// How long what was written stays: `[{"ttl": "5m" or "1h", "inputTokens"}]`.
    #[serde(default)]
    cache_details: Value,
}

pub(super) fn decode(body: &[u8]) -> Result<ChatResponse, Malformed> {
    let reply: Reply = serde_json::from_slice(body)?;
    let content = reply.output.and_then(|o| o.message).and_then(|m| m.content);
    let content = content.ok_or_else(|| Malformed("the reply has no output.message.content".to_owned()))?;
    let message = message(content);
    let finish = finish_reason(reply.stop_reason.as_deref(), message.tool_calls.is_some());
    Ok(ChatResponse {
        object: "chat.completion".to_owned(),
        choices: vec![Choice { message, finish_reason: Some(finish.to_owned()), ..Choice::default() }],
        usage: reply.usage.and_then(usage),
        ..ChatResponse::default()
    })
}

fn message(content: Vec<Value>) -> Message {
    let mut gathered = Gathered::default();
    let Gathered { text, reasoning, thinking, calls } = &mut gathered;
    for block in content {
        if let Some(piece) = block["text"].as_str() {
            text.push_str(piece);
        } else if let Some(call) = block.get("toolUse") {
            calls.push(tool_call(call));
        } else if let Some(thought) = block.get("reasoningContent") {
            reasoning.push_str(thought["reasoningText"]["text"].as_str().unwrap_or_default());
            thinking.extend(thinking_block(thought));
        }
    }
    gathered.message()
}

/// What a follow-up turn needs: signed text, or what only the provider can read.
fn thinking_block(thought: &Value) -> Option<Value> {
    if let Some(data) = thought["redactedContent"].as_str() {
        return Some(json!({"type": "redacted_thinking", "data": data}));
    }
    let text = &thought["reasoningText"];
    let signature = text["signature"].as_str().filter(|s| !s.is_empty())?;
    Some(json!({"type": "thinking", "thinking": text["text"], "signature": signature}))
}

fn tool_call(call: &Value) -> ToolCall {
    let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
    ToolCall::with_input(text("toolUseId"), text("name"), &call["input"])
}

/// `called` stands in for a stop reason that was not told.
pub(super) fn finish_reason(stop_reason: Option<&str>, called: bool) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("guardrail_intervened" | "content_filtered") => "content_filter",
        None if called => "tool_calls",
        _ => "stop",
    }
}

/// The usage that `told`, the `usage` of a turn or of its last event, tells.
pub fn converse_usage(told: &Value) -> Option<Usage> {
    usage(Counts::deserialize(told).ok()?)
}

/// Cache reads and writes are counted apart from `inputTokens`.
pub(super) fn usage(counts: Counts) -> Option<Usage> {
    let details = counts.cache_details.as_array();
    let hours = details.into_iter().flatten().filter(|detail| detail["ttl"] == "1h");
    let counts = CacheCounts {
        input: counts.input_tokens,
        output: counts.output_tokens,
        read: counts.cache_read_input_tokens,
        written: counts.cache_write_input_tokens,
        written_1h: hours.map(|detail| detail["inputTokens"].as_u64()).sum(),
        reasoning: None,
    };
    counts.usage()
}

/// `{"message"}`, `{"Message"}` or `{"__type", "message"}`. What the service calls a timeout of the model
/// (408) and a fault of the model (424) are its own faults, and let another entity try.
pub(super) fn error(status: u16, body: &[u8]) -> UpstreamError {
    let status = match status {
        0 => 502,
        408 => 504,
        424 => 502,
        status => status,
    };
    UpstreamError::read(status, body, |body| {
        let text = body.get("message").or_else(|| body.get("Message"))?;
        Some(text.as_str()?.to_owned())
    })
}

/// The same, of an exception in a stream by the type that it names.
pub(super) fn failure(status: u16, body: &[u8]) -> UpstreamError {
    let mut error = error(status, body);
    if let Some(name) = error.body["__type"].as_str().filter(|_| status == 0) {
        error.status = exception_status(name);
    }
    error
}

/// The status of an exception in a stream, by its type in the service model.
pub(super) fn exception_status(name: &str) -> u16 {
    match name {
        "validationException" | "serviceQuotaExceededException" => 400,
        "accessDeniedException" => 403,
        "resourceNotFoundException" => 404,
        "throttlingException" | "modelNotReadyException" => 429,
        "internalServerException" => 500,
        "serviceUnavailableException" => 503,
        "modelTimeoutException" => 504,
        _ => 502,
    }
}
