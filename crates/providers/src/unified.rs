//! What every format of its own reads from and writes to the unified one in the same way.

use ::wire::Object;
use ::wire::chat::{Content, Delta, FunctionDelta, Message, ToolCall, ToolCallDelta};
use ::wire::counts::{TokenCounts, TokenKind};
use ::wire::usage::{PromptDetails, Usage};
use serde_json::Value;

use crate::codec::Refused;

/// Stands between the id of a tool call and a signature that the id carries, where a format signs calls:
/// the id is the one place that every client keeps.
pub const SIGNED_ID: &str = "__thought__";

/// Media type and data of `data:<type>;base64,<data>`.
pub(crate) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?.split(';').next()?;
    Some((media_type, data))
}

/// The arguments of a call as the object they spell; none at all is an empty one. `path` is the call's.
pub(crate) fn arguments(path: &str, call: &ToolCall) -> Result<Value, Refused> {
    let arguments = call.function.arguments.trim();
    if arguments.is_empty() {
        return Ok(Value::Object(Object::new()));
    }
    let object = serde_json::from_str(arguments).ok().filter(Value::is_object);
    object.ok_or_else(|| Refused::new(format!("{path}.function.arguments"), "is no JSON object"))
}

/// A message where it must be a text: refusals are part of it, the reasoning of an assistant is not. `Err` has
/// the place and the type of a part that is no text.
pub(crate) fn plain_text(message: &Message) -> Result<String, (usize, &str)> {
    let mut text = String::new();
    match &message.content {
        None => {}
        Some(Content::Text(whole)) => text.push_str(whole),
        Some(Content::Parts(parts)) => {
            for (at, part) in parts.iter().enumerate() {
                let refusal = || part.extra.get("refusal")?.as_str();
                match part.kind.as_str() {
                    "text" => text.push_str(part.text.as_deref().unwrap_or_default()),
                    "refusal" => text.push_str(part.text.as_deref().or_else(refusal).unwrap_or_default()),
                    "reasoning" if message.role == "assistant" => {}
                    kind => return Err((at, kind)),
                }
            }
        }
    }
    text.push_str(message.refusal.as_deref().unwrap_or_default());
    Ok(text)
}

/// What an answer is made of, gathered from the format's own parts.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    /// Blocks that a follow-up turn sends back.
    pub(crate) thinking: Vec<Value>,
    pub(crate) calls: Vec<ToolCall>,
}

impl Gathered {
    /// The message: what is empty is absent, but for the text of an answer that has nothing else.
    pub(crate) fn message(self) -> Message {
        let Self { text, reasoning, thinking, calls } = self;
        Message {
            role: "assistant".to_owned(),
            content: (!text.is_empty() || calls.is_empty()).then_some(Content::Text(text)),
            reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
            thinking_blocks: (!thinking.is_empty()).then_some(thinking),
            tool_calls: (!calls.is_empty()).then_some(calls),
            ..Message::default()
        }
    }
}

/// Counts of a format that counts cache reads and writes apart from the input.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CacheCounts {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) read: Option<u64>,
    pub(crate) written: Option<u64>,
    /// Of what was written, what stays for an hour.
    pub(crate) written_1h: Option<u64>,
    /// Of the output, what the model wrote to itself.
    pub(crate) reasoning: Option<u64>,
}

impl CacheCounts {
    /// The unified counts, whose input includes the cache. `None` where nothing was counted: a zero would be
    /// a claim. The counts are not ours: sums saturate.
    pub(crate) fn usage(self) -> Option<Usage> {
        let Self { input, output, read, written, written_1h, reasoning } = self;
        let inputs = [input, read, written];
        if inputs.iter().all(Option::is_none) && output.is_none() {
            return None;
        }
        let counts = TokenCounts::new(input.unwrap_or(0), output.unwrap_or(0))
            .and(TokenKind::CacheRead, read.unwrap_or(0))
            .and(TokenKind::CacheWrite5m, written.unwrap_or(0))
            .of(TokenKind::CacheWrite5m, TokenKind::CacheWrite1h, written_1h)
            .of_which(TokenKind::Reasoning, reasoning);
        let prompt =
            PromptDetails { cached_tokens: read, cache_creation_tokens: written, ..PromptDetails::default() };
        let usage = Usage {
            prompt_tokens: counts.input(),
            completion_tokens: counts.output(),
            total_tokens: counts.total(),
            prompt_tokens_details: (prompt != PromptDetails::default()).then_some(prompt),
            ..Usage::default()
        };
        Some(usage.with_counts(counts))
    }
}

/// The first delta of a tool call.
pub(crate) fn call_opened(index: u64, id: String, name: String) -> Delta {
    let function =
        FunctionDelta { name: Some(name), arguments: Some(String::new()), ..FunctionDelta::default() };
    let call = ToolCallDelta {
        index,
        id: Some(id),
        kind: Some("function".to_owned()),
        function: Some(function),
        ..ToolCallDelta::default()
    };
    Delta { tool_calls: Some(vec![call]), ..Delta::default() }
}

/// More of a tool call's arguments.
pub(crate) fn call_arguments(index: u64, arguments: String) -> Delta {
    let function = FunctionDelta { arguments: Some(arguments), ..FunctionDelta::default() };
    let call = ToolCallDelta { index, function: Some(function), ..ToolCallDelta::default() };
    Delta { tool_calls: Some(vec![call]), ..Delta::default() }
}
