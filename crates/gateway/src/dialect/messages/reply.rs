//! A chat answer as a message.

use serde_json::{Value, json};
use wire::Object;
use wire::chat::ChatResponse;
use wire::usage::Usage;

use crate::dialect::blocks::{Block, What, of_message};

pub(super) fn write(reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
    let choice = reply.choices.into_iter().next().unwrap_or_default();
    let blocks = of_message(choice.message);
    let called = blocks.iter().any(|block| matches!(block.what, What::Call { .. }));
    let message = json!({
        "id": message_id(&reply.id),
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": blocks.iter().map(content_block).collect::<Vec<_>>(),
        "stop_reason": stop_reason(choice.finish_reason.as_deref(), called),
        "stop_sequence": null,
        "usage": usage(reply.usage.as_ref()),
    });
    serde_json::to_vec(&message)
}

pub(super) fn message_id(id: &str) -> String {
    if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") }
}

fn content_block(block: &Block) -> Value {
    match &block.what {
        What::Text => json!({"type": "text", "text": block.text}),
        What::Thought { replay: Some(replay) } => signed(replay),
        What::Thought { replay: None } => {
            json!({"type": "thinking", "thinking": block.text, "signature": ""})
        }
        What::Hidden(hidden) => hidden.clone(),
        What::Call { id, name, .. } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": input(&block.text)})
        }
    }
}

/// The block as the format has it: always with a signature, which a thought of another provider may lack.
fn signed(replay: &Value) -> Value {
    let mut block = replay.clone();
    if !block["signature"].is_string() {
        block["signature"] = "".into();
    }
    block
}

/// Arguments as the object that the format has; what the model wrote instead is not lost.
pub(crate) fn input(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return Value::Object(Object::new());
    }
    let read = serde_json::from_str(arguments).ok().filter(Value::is_object);
    read.unwrap_or_else(|| json!({"arguments": arguments}))
}

/// An answer that was cut or refused is that, also where it calls a tool.
pub(super) fn stop_reason(finish_reason: Option<&str>, called: bool) -> &'static str {
    match finish_reason {
        Some("length") => "max_tokens",
        Some("content_filter") => "refusal",
        Some("tool_calls" | "function_call") => "tool_use",
        _ if called => "tool_use",
        _ => "end_turn",
    }
}

/// The format counts cache reads and writes apart from the rest of the input.
pub(super) fn usage(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else { return json!({"input_tokens": 0, "output_tokens": 0}) };
    let (read, written) = (usage.cached_tokens(), usage.cache_creation_tokens());
    let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(cached),
        "cache_creation_input_tokens": written.unwrap_or(0),
        "cache_read_input_tokens": read.unwrap_or(0),
        "output_tokens": usage.completion_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(choice: Value, usage: Value) -> Value {
        let reply = json!({"id": "c1", "model": "m", "choices": [choice], "usage": usage});
        serde_json::from_slice(&write(serde_json::from_value(reply).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn an_answer_becomes_a_message() {
        let choice = json!({"finish_reason": "stop", "message": {"role": "assistant", "content": "look",
            "reasoning_content": "hm", "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": ""}}]}});
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_creation_tokens": 1}});
        assert_eq!(
            message(choice, usage),
            json!({"id": "msg_c1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "stop_sequence": null,
                "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "look"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {}}],
                "usage": {"input_tokens": 5, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 4, "output_tokens": 2}})
        );
    }

    #[test]
    fn a_thought_without_a_signature_has_an_empty_one() {
        let choice = json!({"message": {"role": "assistant", "content": "a",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]}});
        let block = &message(choice, Value::Null)["content"][0];
        assert_eq!(block, &json!({"type": "thinking", "thinking": "hm", "signature": ""}));
    }

    #[test]
    fn length_beats_a_call_and_a_call_beats_stop() {
        assert_eq!(stop_reason(Some("length"), true), "max_tokens");
        assert_eq!(stop_reason(Some("content_filter"), true), "refusal");
        assert_eq!(stop_reason(Some("stop"), true), "tool_use");
        assert_eq!(stop_reason(None, false), "end_turn");
    }

    #[test]
    fn arguments_that_are_no_object_are_kept() {
        assert_eq!(input("[1]"), json!({"arguments": "[1]"}));
        assert_eq!(input(" "), json!({}));
    }
}
