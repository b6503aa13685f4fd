//! Signed reasoning is good only where it was made: another provider, or another account, refuses the whole
//! request for it. What an entity signs is marked with the entity on its way to the client; on its way back
//! it is unmarked for that entity, and left out for any other. Text and tool calls stay.

use std::borrow::Cow;

use serde_json::Value;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse, Message};
use wire::error::ApiError;
use wire::raw::RawObject;

/// What every mark begins with: no provider's signature does.
const PREFIX: &str = "tg1-";

/// The fields of a block that hold what was signed or encrypted.
const SEALED: [&str; 2] = ["signature", "data"];

pub(crate) fn mark_response(response: &mut ChatResponse, mark: &str) {
    let blocks = response.choices.iter_mut().filter_map(|c| c.message.thinking_blocks.as_mut());
    blocks.flatten().for_each(|block| mark_block(block, mark));
}

pub(crate) fn mark_chunk(chunk: &mut ChatChunk, mark: &str) {
    let blocks = chunk.choices.iter_mut().filter_map(|c| c.delta.thinking_blocks.as_mut());
    blocks.flatten().for_each(|block| mark_block(block, mark));
}

fn mark_block(block: &mut Value, mark: &str) {
    for field in SEALED {
        if let Some(Value::String(text)) =
            block.get_mut(field).filter(|v| v.as_str().is_some_and(|s| !s.is_empty()))
        {
            *text = format!("{PREFIX}{mark}.{text}");
        }
    }
}

/// Leaves in `request` only the reasoning that the entity with this mark may see: its own, and what was
/// never marked, since that did not come through us.
pub(crate) fn keep_own(request: &mut ChatRequest, mark: &str) {
    for message in &mut request.messages {
        let Message { thinking_blocks, .. } = message;
        if let Some(blocks) = thinking_blocks {
            blocks.retain_mut(|block| is_own(block, mark));
            if blocks.is_empty() {
                *thinking_blocks = None;
            }
        }
    }
}

/// Takes the mark off; false for a block that another entity made.
fn is_own(block: &mut Value, mark: &str) -> bool {
    for field in SEALED {
        let Some(Value::String(text)) = block.get_mut(field) else { continue };
        let Some(marked) = text.strip_prefix(PREFIX) else { continue };
        match marked.strip_prefix(mark).and_then(|rest| rest.strip_prefix('.')) {
            Some(own) => *text = own.to_owned(),
            None => return false,
        }
    }
    true
}

/// The body for an entity that speaks the unified format and signs nothing: without what others signed. The
/// bytes are touched only when there is any.
pub(crate) fn without_foreign<'a>(body: &RawObject<'a>) -> Result<RawObject<'a>, ApiError> {
    let mut body = body.clone();
    let marked = |raw: &str| memchr::memmem::find(raw.as_bytes(), PREFIX.as_bytes()).is_some();
    if !body.raw("messages").is_some_and(|raw| marked(raw.get())) {
        return Ok(body);
    }
    let unreadable = |e: serde_json::Error| ApiError::bad_request(format!("messages: {e}"));
    let mut messages: Vec<Value> = body.get("messages").map_err(unreadable)?.unwrap_or_default();
    for message in messages.iter_mut().filter_map(Value::as_object_mut) {
        let Some(blocks) = message.get_mut("thinking_blocks").and_then(Value::as_array_mut) else { continue };
        blocks.retain_mut(|block| is_own(block, ""));
        if blocks.is_empty() {
            message.shift_remove("thinking_blocks");
        }
    }
    let raw = serde_json::value::to_raw_value(&messages).map_err(unreadable)?;
    body.set_raw(Cow::Borrowed("messages"), Cow::Owned(raw));
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn blocks() -> Value {
        json!([{"type": "thinking", "thinking": "t", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "ZGF0YQ"}])
    }

    fn answered(mark: &str) -> Value {
        let mut response: ChatResponse =
            serde_json::from_value(json!({"choices": [{"message": {"role": "assistant",
            "content": "a", "thinking_blocks": blocks()}, "finish_reason": "stop"}]}))
            .unwrap();
        mark_response(&mut response, mark);
        serde_json::to_value(&response.choices[0].message).unwrap()
    }

    fn sent(turn: &Value, mark: &str) -> Option<Vec<Value>> {
        let mut request: ChatRequest = serde_json::from_value(json!({"messages": [turn]})).unwrap();
        keep_own(&mut request, mark);
        request.messages.remove(0).thinking_blocks
    }

    #[test]
    fn an_entity_gets_its_own_reasoning_back_and_no_other_does() {
        let turn = answered("aa");
        assert!(turn["thinking_blocks"][0]["signature"].as_str().unwrap().starts_with("tg1-aa."));
        assert_eq!(sent(&turn, "aa"), Some(blocks().as_array().unwrap().clone()));
        assert_eq!(sent(&turn, "bb"), None);
        assert_eq!(sent(&turn, "a"), None);
    }

    #[test]
    fn what_did_not_come_through_us_is_let_through() {
        let turn = json!({"role": "assistant", "content": "a", "thinking_blocks": blocks()});
        assert_eq!(sent(&turn, "aa"), Some(blocks().as_array().unwrap().clone()));
    }

    #[test]
    fn a_body_that_passes_loses_only_what_others_signed() {
        let turn = answered("aa");
        let body = json!({"model": "m", "x": 1.50, "messages": [{"role": "user", "content": "q", "odd": 2e-3}, turn]}).to_string();
        let kept = without_foreign(&RawObject::parse(body.as_bytes()).unwrap()).unwrap();
        let kept: Value = serde_json::from_slice(&kept.to_vec().unwrap()).unwrap();
        assert_eq!(kept["messages"][1], json!({"role": "assistant", "content": "a"}));
        let plain = br#"{"messages":[ {"role":"user","thinking_blocks":[{"signature":"x"}]} ]}"#;
        let same = without_foreign(&RawObject::parse(plain).unwrap()).unwrap();
        assert_eq!(
            same.to_vec().unwrap(),
            br#"{"messages":[ {"role":"user","thinking_blocks":[{"signature":"x"}]} ]}"#
        );
    }
}
