//! A reply to the unified one.

use ::wire::Object;
use ::wire::chat::{ChatResponse, Choice, Content, Message};
use serde_json::{Value, json};

use super::calls::tool_call;
use super::usage::usage;
use super::wire::{Blob, Candidate, Logprobs, PromptFeedback, Reply, Token};
use crate::codec::{Malformed, UpstreamError};
use crate::unified::Gathered;

pub(super) fn decode(body: &[u8]) -> Result<ChatResponse, Malformed> {
    let reply: Reply = serde_json::from_slice(body)?;
    let id = reply.response_id.unwrap_or_default();
    let candidates = reply.candidates.unwrap_or_default();
    let choices: Vec<Choice> = if candidates.is_empty() {
        vec![blocked(reply.prompt_feedback)?]
    } else {
        (0..).zip(candidates).map(|(at, candidate)| choice(&id, at, candidate)).collect()
    };
    Ok(ChatResponse {
        id,
        object: "chat.completion".to_owned(),
        model: reply.model_version.unwrap_or_default(),
        choices,
        usage: usage(&reply.usage_metadata.unwrap_or_default()),
        ..ChatResponse::default()
    })
}

/// The answer to a prompt that was blocked. A reply that says neither is none: an error that came with
/// status 200 must not become an empty answer.
fn blocked(feedback: Option<PromptFeedback>) -> Result<Choice, Malformed> {
    let refusal = refusal(feedback).ok_or_else(|| Malformed("the reply has no candidates".to_owned()))?;
    let message = Message {
        role: "assistant".to_owned(),
        content: Some(Content::Text(String::new())),
        refusal: Some(refusal),
        ..Message::default()
    };
    Ok(Choice { message, finish_reason: Some("content_filter".to_owned()), ..Choice::default() })
}

/// Why the prompt was blocked, when it was.
pub(super) fn refusal(feedback: Option<PromptFeedback>) -> Option<String> {
    let PromptFeedback { block_reason, block_reason_message } = feedback?;
    let reason = block_reason?;
    Some(block_reason_message.unwrap_or_else(|| format!("the prompt was blocked: {reason}")))
}

fn choice(response_id: &str, at: u64, mut candidate: Candidate) -> Choice {
    let message = message(response_id, &mut candidate);
    let finish = finish_reason(candidate.finish_reason(), message.tool_calls.is_some());
    let mut extra = Object::new();
    if let Some(found) = candidate.logprobs_result.take().and_then(logprobs) {
        extra.insert("logprobs".to_owned(), found);
    }
    let index = candidate.index.unwrap_or(at);
    Choice { index, message, finish_reason: Some(finish.to_owned()), extra }
}

fn message(response_id: &str, candidate: &mut Candidate) -> Message {
    let (mut gathered, mut images) = (Gathered::default(), Vec::new());
    let Gathered { text, reasoning, thinking, calls } = &mut gathered;
    for mut part in candidate.take_parts() {
        let signature = part.take_signature();
        if let Some(call) = part.function_call {
            calls.push(tool_call(call, signature.as_deref(), response_id, calls.len() as u64));
            continue;
        }
        let said = part.text.unwrap_or_default();
        if part.thought == Some(true) {
            reasoning.push_str(&said);
        } else {
            text.push_str(&said);
            images.extend(part.inline_data.and_then(image));
        }
        thinking.extend(signature.map(signature_block));
    }
    if !reasoning.is_empty() {
        thinking.insert(0, thinking_block(reasoning));
    }
    let mut message = gathered.message();
    if !images.is_empty() {
        message.extra.insert("images".to_owned(), Value::Array(images));
    }
    message
}

/// A summary of thoughts. It carries no signature: those stand on the parts that came of it.
pub(super) fn thinking_block(text: &str) -> Value {
    json!({"type": "thinking", "thinking": text})
}

/// The signature of a part that is no call. The kind is one that no other provider takes for its own.
pub(super) fn signature_block(signature: String) -> Value {
    json!({"type": "thought_signature", "signature": signature})
}

/// An image that was made, in the form in which requests carry one.
pub(super) fn image(blob: Blob) -> Option<Value> {
    let (mime_type, data) = (blob.mime_type?, blob.data?);
    Some(json!({"type": "image_url", "image_url": {"url": format!("data:{mime_type};base64,{data}")}}))
}

/// The format says `STOP` for an answer that calls as well.
pub(super) fn finish_reason(reason: Option<&str>, called: bool) -> &'static str {
    match reason {
        Some("MAX_TOKENS") => "length",
        Some(
            "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
            | "MODEL_ARMOR",
        ) => "content_filter",
        Some(image) if image.starts_with("IMAGE_") => "content_filter",
        _ if called => "tool_calls",
        _ => "stop",
    }
}

/// OpenAI's form of the probabilities.
pub(super) fn logprobs(result: Logprobs) -> Option<Value> {
    let chosen = result.chosen_candidates?;
    let mut tops = result.top_candidates.unwrap_or_default().into_iter();
    let entries = chosen.into_iter().map(|token| {
        let top = tops.next().and_then(|top| top.candidates).unwrap_or_default();
        let mut entry = probability(&token);
        entry["top_logprobs"] = top.iter().map(probability).collect();
        entry
    });
    Some(json!({"content": entries.collect::<Vec<_>>()}))
}

fn probability(token: &Token) -> Value {
    let text = token.token.as_deref().unwrap_or_default();
    json!({"token": text, "logprob": token.log_probability, "bytes": text.as_bytes()})
}

/// `{"error": {"code", "message", "status"}}`, which streams and some gateways put into a list.
pub(crate) fn error(status: u16, body: &[u8]) -> UpstreamError {
    let inner = |body: &Value| body.get(0).unwrap_or(body)["error"].clone();
    let mut error =
        UpstreamError::read(status, body, |body| Some(inner(body)["message"].as_str()?.to_owned()));
    if status == 0 {
        let told = inner(&error.body);
        let code = told["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        error.status = code.filter(|code| (400..600).contains(code)).unwrap_or_else(|| match told["status"]
            .as_str()
            .unwrap_or_default()
        {
            "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
            "UNAUTHENTICATED" => 401,
            "PERMISSION_DENIED" => 403,
            "NOT_FOUND" => 404,
            "RESOURCE_EXHAUSTED" => 429,
            "UNAVAILABLE" => 503,
            "DEADLINE_EXCEEDED" => 504,
            _ => 500,
        });
    }
    error
}
