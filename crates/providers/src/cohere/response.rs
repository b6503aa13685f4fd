//! `/v2/chat`'s reply to the unified one.

use ::wire::chat::{ChatResponse, Choice, Content, Message, ToolCall};
use ::wire::usage::{PromptDetails, Usage};
use serde_json::Value;

use crate::codec::{Malformed, UpstreamError};

pub(super) fn decode(body: &[u8]) -> Result<ChatResponse, Malformed> {
    let reply: Value = serde_json::from_slice(body)?;
    // Any object would do otherwise: an error that came with status 200 must not become an empty answer.
    let message = reply["message"].as_object();
    let message = message.ok_or_else(|| Malformed("the reply has no message".to_owned()))?;
    let field = |key: &str| message.get(key).unwrap_or(&Value::Null);
    let message = read(field("content"), field("tool_plan"), field("tool_calls"));
    let reason = reply["finish_reason"].as_str();
    if let Some(said) = failure(reason, &reply["error"]) {
        return Err(Malformed(format!("the answer failed: {said}")));
    }
    let finish = finish_reason(reason, message.tool_calls.is_some());
    Ok(ChatResponse {
        id: reply["id"].as_str().unwrap_or_default().to_owned(),
        object: "chat.completion".to_owned(),
        choices: vec![Choice { message, finish_reason: Some(finish.to_owned()), ..Choice::default() }],
        usage: usage(&reply["usage"]),
        ..ChatResponse::default()
    })
}

fn read(content: &Value, plan: &Value, calls: &Value) -> Message {
    let parts = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let joined = |kind: &str| -> String {
        parts.iter().filter(|part| part["type"] == kind).filter_map(|part| part[kind].as_str()).collect()
    };
    let text = content.as_str().map_or_else(|| joined("text"), str::to_owned);
    // The plan is what the model thinks before it calls.
    let reasoning = joined("thinking") + plan.as_str().unwrap_or_default();
    let calls: Vec<ToolCall> = calls.as_array().into_iter().flatten().map(tool_call).collect();
    Message {
        role: "assistant".to_owned(),
        content: (!text.is_empty() || calls.is_empty()).then_some(Content::Text(text)),
        reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
        tool_calls: (!calls.is_empty()).then_some(calls),
        ..Message::default()
    }
}

fn tool_call(call: &Value) -> ToolCall {
    let function = &call["function"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let arguments = Some(text(&function["arguments"])).filter(|arguments| !arguments.is_empty());
    let arguments = arguments.unwrap_or_else(|| "{}".to_owned());
    ToolCall::function(text(&call["id"]), text(&function["name"]), arguments)
}

/// What is said of an answer that was not finished because something broke; whole or streamed, the client
/// must not take it for an answer.
pub(super) fn failure<'a>(reason: Option<&'a str>, said: &'a Value) -> Option<&'a str> {
    let reason = reason.filter(|reason| matches!(*reason, "ERROR" | "ERROR_LIMIT" | "TIMEOUT"))?;
    Some(said.as_str().filter(|said| !said.is_empty()).unwrap_or(reason))
}

/// `called` stands in for a reason that was not told.
pub(super) fn finish_reason(reason: Option<&str>, called: bool) -> &'static str {
    match reason {
        Some("MAX_TOKENS") => "length",
        Some("TOOL_CALL") => "tool_calls",
        Some("ERROR_TOXIC") => "content_filter",
        None if called => "tool_calls",
        _ => "stop",
    }
}

/// What went through the model, not what is billed; the counts are floats on the wire. `None` where nothing
/// was counted.
pub(super) fn usage(usage: &Value) -> Option<Usage> {
    let tokens = &usage["tokens"];
    let (input, output) = (count(&tokens["input_tokens"]), count(&tokens["output_tokens"]));
    if input.is_none() && output.is_none() {
        return None;
    }
    let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
    let cached = count(&usage["cached_tokens"]);
    Some(Usage {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input.saturating_add(output),
        prompt_tokens_details: cached
            .map(|cached| PromptDetails { cached_tokens: Some(cached), ..PromptDetails::default() }),
        ..Usage::default()
    })
}

/// A count, however it is written.
pub(super) fn count(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count; the cast saturates"
    )]
    value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
}

/// `{"id", "message"}`; some of the older errors are `{"data"}` or `{"error"}`.
pub(super) fn error(status: u16, body: &[u8]) -> UpstreamError {
    UpstreamError::read(if status == 0 { 502 } else { status }, body, |body| {
        let said = ["message", "error", "data"].iter().find_map(|key| body[*key].as_str());
        said.map(str::to_owned)
    })
}
