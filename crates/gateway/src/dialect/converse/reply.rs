//! A chat answer as the next turn.

use serde_json::{Value, json};
use wire::chat::ChatResponse;
use wire::usage::Usage;

use super::blob;
use crate::dialect::blocks::{Block, What, of_message};
use crate::dialect::messages;

pub(super) fn write(reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
    let choice = reply.choices.into_iter().next().unwrap_or_default();
    let blocks = of_message(choice.message);
    let called = blocks.iter().any(|block| matches!(block.what, What::Call { .. }));
    let content: Vec<Value> = blocks.iter().map(content_block).collect();
    serde_json::to_vec(&json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop_reason(choice.finish_reason.as_deref(), called),
        "usage": usage(reply.usage.as_ref()),
    }))
}

fn content_block(block: &Block) -> Value {
    match &block.what {
        What::Text => json!({ "text": block.text }),
        What::Thought { replay } => {
            let mut text = json!({ "text": block.text });
            if let Some(signature) = replay.as_ref().and_then(|replay| replay["signature"].as_str()) {
                text["signature"] = signature.into();
            }
            json!({"reasoningContent": {"reasoningText": text}})
        }
        What::Hidden(hidden) => json!({"reasoningContent": {"redactedContent": redacted(hidden)}}),
        What::Call { id, name, .. } => {
            json!({"toolUse": {"toolUseId": id, "name": name, "input": messages::input(&block.text)}})
        }
    }
}

pub(super) fn redacted(hidden: &Value) -> String {
    blob(hidden["data"].as_str().unwrap_or_default())
}

pub(super) fn stop_reason(finish_reason: Option<&str>, called: bool) -> &'static str {
    match finish_reason {
        Some("length") => "max_tokens",
        Some("content_filter") => "content_filtered",
        Some("tool_calls" | "function_call") => "tool_use",
        _ if called => "tool_use",
        _ => "end_turn",
    }
}

/// The format counts cache reads and writes apart from the rest of the input.
pub(super) fn usage(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else { return json!({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}) };
    let (read, written) = (usage.cached_tokens().unwrap_or(0), usage.cache_creation_tokens().unwrap_or(0));
    json!({
        "inputTokens": usage.prompt_tokens.saturating_sub(read.saturating_add(written)),
        "outputTokens": usage.completion_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": written,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_turn() {
        let reply = json!({"id": "c1", "model": "m", "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "look",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "r"}],
            "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}}});
        let got: Value =
            serde_json::from_slice(&write(serde_json::from_value(reply).unwrap()).unwrap()).unwrap();
        assert_eq!(got["stopReason"], "tool_use");
        assert_eq!(
            got["usage"],
            json!({"inputTokens": 6, "outputTokens": 2, "totalTokens": 12, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 0})
        );
        let content = got["output"]["message"]["content"].as_array().unwrap();
        for block in [
            json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}),
            json!({"reasoningContent": {"redactedContent": "cg=="}}),
            json!({"text": "look"}),
            json!({"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}}),
        ] {
            assert!(content.contains(&block), "{block} {got}");
        }
    }

    #[test]
    fn length_beats_a_call_and_a_call_beats_stop() {
        assert_eq!(stop_reason(Some("length"), true), "max_tokens");
        assert_eq!(stop_reason(Some("content_filter"), true), "content_filtered");
        assert_eq!(stop_reason(Some("stop"), true), "tool_use");
        assert_eq!(stop_reason(None, false), "end_turn");
    }
}
