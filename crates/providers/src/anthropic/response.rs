//! Messages reply to unified reply.

use ::wire::chat::{ChatResponse, Choice, Message, ToolCall};
use ::wire::usage::{CompletionDetails, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::wire::{MessageReply, UsageCounts};
use crate::codec::{Malformed, UpstreamError};
use crate::unified::{CacheCounts, Gathered};

pub(super) fn decode(body: &[u8]) -> Result<ChatResponse, Malformed> {
    let reply: MessageReply = serde_json::from_slice(body)?;
    // Any object would do otherwise: an error that came with status 200 must not become an empty answer.
    let content = reply.content.ok_or_else(|| Malformed("the reply has no content".to_owned()))?;
    let message = message(content);
    let finish = finish_reason(reply.stop_reason.as_deref(), message.tool_calls.is_some());
    Ok(ChatResponse {
        id: reply.id.unwrap_or_default(),
        object: "chat.completion".to_owned(),
        model: reply.model.unwrap_or_default(),
        choices: vec![Choice { message, finish_reason: Some(finish.to_owned()), ..Choice::default() }],
        usage: usage(&reply.usage.unwrap_or_default()),
        ..ChatResponse::default()
    })
}

fn message(content: Vec<Value>) -> Message {
    let mut gathered = Gathered::default();
    let Gathered { text, reasoning, thinking, calls } = &mut gathered;
    for block in content {
        match block["type"].as_str() {
            Some("text") => text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("thinking") => {
                reasoning.push_str(block["thinking"].as_str().unwrap_or_default());
                thinking.push(block);
            }
            Some("redacted_thinking") => thinking.push(block),
            Some("tool_use") => calls.push(tool_call(&block)),
            // server_tool_use and its results are the API's own business, not calls to the client.
            _ => {}
        }
    }
    gathered.message()
}

fn tool_call(block: &Value) -> ToolCall {
    let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
    ToolCall::with_input(text("id"), text("name"), &block["input"])
}

/// `called` stands in for a stop reason that was not told.
pub(super) fn finish_reason(stop_reason: Option<&str>, called: bool) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        None if called => "tool_calls",
        _ => "stop",
    }
}

/// The usage of a message, whole or as the events of a stream tell it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagesUsage(UsageCounts);

impl MessagesUsage {
    /// Reads the `usage` of a message or of an event, on top of what earlier events told. What cannot be
    /// read tells nothing.
    pub fn read(&mut self, usage: &Value) {
        self.0.merge(UsageCounts::deserialize(usage).unwrap_or_default());
    }

    /// `None` where nothing was counted.
    pub fn usage(&self) -> Option<Usage> {
        usage(&self.0)
    }
}

/// The API counts cache reads and writes apart from `input_tokens`.
pub(super) fn usage(counts: &UsageCounts) -> Option<Usage> {
    let thought = counts.output_tokens_details.and_then(|d| d.thinking_tokens);
    let told = CacheCounts {
        input: counts.input_tokens,
        output: counts.output_tokens,
        read: counts.cache_read_input_tokens,
        written: counts.cache_creation_input_tokens,
        written_1h: counts.cache_creation.and_then(|c| c.ephemeral_1h_input_tokens),
        reasoning: thought,
    };
    let details = |n| CompletionDetails { reasoning_tokens: Some(n), ..CompletionDetails::default() };
    Some(Usage { completion_tokens_details: thought.map(details), ..told.usage()? })
}

/// `{"type": "error", "error": {"type", "message"}}`, as a body or as the data of an `error` event.
pub(super) fn error(status: u16, body: &[u8]) -> UpstreamError {
    let mut error =
        UpstreamError::read(status, body, |body| Some(body["error"]["message"].as_str()?.to_owned()));
    if status == 0 {
        error.status = match error.body["error"]["type"].as_str().unwrap_or_default() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        };
    }
    error
}
