//! A chat answer as candidates.

use serde_json::{Value, json};
use wire::Object;
use wire::chat::ChatResponse;
use wire::usage::Usage;

use crate::dialect::blocks::{Block, What, of_message};
use crate::dialect::opaque;

pub(super) fn write(reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
    let choice = reply.choices.into_iter().next().unwrap_or_default();
    let parts: Vec<Value> = of_message(choice.message).iter().flat_map(parts).collect();
    let finish = finish_reason(choice.finish_reason.as_deref());
    serde_json::to_vec(&response(&reply.id, &reply.model, parts, Some(finish), reply.usage.as_ref()))
}

pub(super) fn response(
    id: &str,
    model: &str,
    parts: Vec<Value>,
    finish: Option<&str>,
    counted: Option<&Usage>,
) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    let mut response = json!({"candidates": [candidate], "modelVersion": model, "responseId": id});
    if let Some(counted) = counted {
        response["usageMetadata"] = usage(counted);
    }
    response
}

/// A block that is over, as parts.
fn parts(block: &Block) -> Vec<Value> {
    match &block.what {
        What::Text if block.text.is_empty() => Vec::new(),
        What::Text => vec![json!({"text": block.text})],
        What::Thought { .. } if !block.text.is_empty() => {
            let mut part = json!({"text": block.text, "thought": true});
            if let Some(signature) = signature(&block.what) {
                part["thoughtSignature"] = signature.into();
            }
            vec![part]
        }
        What::Thought { .. } | What::Hidden(_) | What::Call { .. } => closing(block),
    }
}

/// What is left to be said of a block whose text has been.
pub(super) fn closing(block: &Block) -> Vec<Value> {
    if let What::Call { id, name, .. } = &block.what {
        let args = serde_json::from_str::<Value>(&block.text).ok().filter(Value::is_object);
        let args = args.unwrap_or_else(|| Value::Object(Object::new()));
        return vec![json!({"functionCall": {"id": id, "name": name, "args": args}})];
    }
    let signature = signature(&block.what);
    signature
        .map(|signature| json!({"text": "", "thought": true, "thoughtSignature": signature}))
        .into_iter()
        .collect()
}

fn signature(what: &What) -> Option<String> {
    match what {
        What::Thought { replay: Some(block) } | What::Hidden(block) => {
            opaque::seal(std::slice::from_ref(block))
        }
        _ => None,
    }
}

pub(super) fn finish_reason(finish_reason: Option<&str>) -> &'static str {
    match finish_reason {
        Some("length") => "MAX_TOKENS",
        Some("content_filter") => "SAFETY",
        _ => "STOP",
    }
}

/// The format counts thoughts apart from the candidates.
fn usage(usage: &Usage) -> Value {
    let thoughts = usage.reasoning_tokens().unwrap_or(0).min(usage.completion_tokens);
    let mut out = json!({
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": usage.completion_tokens - thoughts,
        "totalTokenCount": usage.total_tokens,
    });
    if thoughts > 0 {
        out["thoughtsTokenCount"] = thoughts.into();
    }
    if let Some(cached) = usage.cached_tokens() {
        out["cachedContentTokenCount"] = cached.into();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_candidate() {
        let block = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
        let reply = json!({"id": "c", "model": "m", "choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant", "content": "look",
                "thinking_blocks": [block], "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 2}}});
        let got: Value =
            serde_json::from_slice(&write(serde_json::from_value(reply).unwrap()).unwrap()).unwrap();
        let parts = &got["candidates"][0]["content"]["parts"];
        assert_eq!(opaque::open(parts[0]["thoughtSignature"].as_str().unwrap()).unwrap(), [block]);
        assert_eq!(parts[1], json!({"text": "look"}));
        assert_eq!(parts[2], json!({"functionCall": {"id": "t", "name": "f", "args": {"a": 1}}}));
        assert_eq!(got["candidates"][0]["finishReason"], "STOP");
        assert_eq!(
            got["usageMetadata"],
            json!({"promptTokenCount": 3, "candidatesTokenCount": 3, "totalTokenCount": 8, "thoughtsTokenCount": 2})
        );
    }
}
