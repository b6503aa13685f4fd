//! Signed reasoning is good only where it was made: another provider, or another account, refuses the whole
//! request for it. What an entity signs is marked with the entity on its way to the client; on its way back
//! it is unmarked for that entity, and left out for any other. Text and tool calls stay. A signature may also
//! stand in the id of a tool call ([`SIGNED_ID`]); for another entity the id is cut to what is before it.

use std::borrow::Cow;

use providers::SIGNED_ID;
use serde_json::Value;
use wire::Object;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse, Message};
use wire::error::ApiError;
use wire::raw::RawObject;

use crate::dialect::opaque;

/// What every mark begins with: no provider's signature does.
const PREFIX: &str = "tg1-";

/// The fields of a block that hold what was signed or encrypted.
const SEALED: [&str; 2] = ["signature", "data"];

pub(crate) fn mark_response(response: &mut ChatResponse, mark: &str) {
    for message in response.choices.iter_mut().map(|c| &mut c.message) {
        message.thinking_blocks.iter_mut().flatten().for_each(|block| mark_block(block, mark));
        message.tool_calls.iter_mut().flatten().for_each(|call| mark_id(&mut call.id, mark));
    }
}

pub(crate) fn mark_chunk(chunk: &mut ChatChunk, mark: &str) {
    for delta in chunk.choices.iter_mut().map(|c| &mut c.delta) {
        delta.thinking_blocks.iter_mut().flatten().for_each(|block| mark_block(block, mark));
        let ids = delta.tool_calls.iter_mut().flatten().filter_map(|call| call.id.as_mut());
        ids.for_each(|id| mark_id(id, mark));
    }
}

/// Ids hold letters, digits, `-` and `_` alone: the mark stands before the signature, its length known.
fn mark_id(id: &mut String, mark: &str) {
    if let Some((plain, signature)) = id.split_once(SIGNED_ID) {
        *id = format!("{plain}{SIGNED_ID}{mark}{signature}");
    }
}

/// The id as the entity with this mark gave it, or without the signature of another.
fn own_id(id: &mut String, mark: &str) {
    let Some((plain, signature)) = id.split_once(SIGNED_ID) else { return };
    *id = match signature.strip_prefix(mark).filter(|_| !mark.is_empty()) {
        Some(own) => format!("{plain}{SIGNED_ID}{own}"),
        None => plain.to_owned(),
    };
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

/// What to do with signatures that were never marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmarked {
    /// They did not come through us, and may be the entity's own.
    Keep,
    /// They may have passed through us, from an entity that speaks the client's format. The one that is
    /// asked does not, and would refuse them.
    Drop,
}

/// Leaves in `request` only the reasoning that the entity with this mark may see.
pub(crate) fn keep_own(request: &mut ChatRequest, mark: &str, unmarked: Unmarked) {
    for message in &mut request.messages {
        let Message { thinking_blocks, tool_calls, tool_call_id, .. } = message;
        tool_calls.iter_mut().flatten().for_each(|call| own_id(&mut call.id, mark));
        tool_call_id.iter_mut().for_each(|id| own_id(id, mark));
        if let Some(blocks) = thinking_blocks {
            blocks.retain_mut(|block| is_own(block, mark, unmarked));
            if blocks.is_empty() {
                *thinking_blocks = None;
            }
        }
    }
}

/// Takes the mark off; false for a block that another entity made.
fn is_own(block: &mut Value, mark: &str, unmarked: Unmarked) -> bool {
    if !block.is_object() {
        return true;
    }
    for field in SEALED {
        let Some(Value::String(text)) = block.get_mut(field) else { continue };
        let Some(marked) = text.strip_prefix(PREFIX) else {
            if unmarked == Unmarked::Drop && !text.is_empty() {
                return false;
            }
            continue;
        };
        match marked.strip_prefix(mark).and_then(|rest| rest.strip_prefix('.')) {
            Some(own) => *text = own.to_owned(),
            None => return false,
        }
    }
    true
}

/// Where a client's format keeps the conversation.
const CONVERSATIONS: [&str; 5] =
    ["messages", "input", "contents", "generateContentRequest", "generate_content_request"];
/// Where a turn keeps what was said.
const SAID: [&str; 2] = ["content", "parts"];
/// The fields that name a call.
const IDS: [&str; 5] = ["id", "tool_call_id", "tool_use_id", "toolUseId", "call_id"];
/// Where requests ask for thoughts, and what holds that in Converse, where it depends on the model.
const THINKING: [&str; 2] = ["thinking", "reasoning_config"];
const OF_THE_MODEL: &str = "additionalModelRequestFields";

/// What became of something on its way to an entity.
#[derive(Clone, Copy, Default)]
struct Cleaned {
    changed: bool,
    /// What another signed was left out of it.
    foreign: bool,
}

impl Cleaned {
    fn add(&mut self, other: Self) {
        self.changed |= other.changed;
        self.foreign |= other.foreign;
    }
}

/// The body that passes as it comes to the entity with this mark: without what others signed. The bytes are
/// touched only when there is any.
pub(crate) fn without_foreign<'a>(body: &RawObject<'a>, mark: &str) -> Result<RawObject<'a>, ApiError> {
    let mut body = body.clone();
    for field in CONVERSATIONS {
        if !body.raw(field).is_some_and(|raw| is_marked(raw.get())) {
            continue;
        }
        let unreadable = |e: serde_json::Error| ApiError::bad_request(format!("{field}: {e}"));
        let mut conversation: Value = body.get(field).map_err(unreadable)?.unwrap_or_default();
        let turns = match &mut conversation {
            // A request in the request.
            Value::Object(inner) => inner.get_mut("contents"),
            turns => Some(turns),
        };
        let Some(turns) = turns.and_then(Value::as_array_mut) else { continue };
        let (all, latest) = clean_turns(turns, mark);
        if latest.foreign && ends_in_a_result(turns) {
            // Within a loop of tools thinking has to be replayed, and cannot be: this answer goes without it.
            without_thinking(&mut body)?;
        }
        if all.changed {
            let raw = serde_json::value::to_raw_value(&conversation).map_err(unreadable)?;
            body.set_raw(Cow::Borrowed(field), Cow::Owned(raw));
        }
    }
    Ok(body)
}

fn without_thinking(body: &mut RawObject<'_>) -> Result<(), ApiError> {
    body.remove("thinking");
    let Ok(Some(mut fields)) = body.get::<Object>(OF_THE_MODEL) else { return Ok(()) };
    fields.retain(|name, _| !THINKING.contains(&name.as_str()));
    body.set(OF_THE_MODEL, &fields).map_err(|e| ApiError::bad_request(format!("{OF_THE_MODEL}: {e}")))
}

/// What became of all the turns, and of those after the last thing that the user said.
fn clean_turns(turns: &mut Vec<Value>, mark: &str) -> (Cleaned, Cleaned) {
    let asked = turns.iter().rposition(|turn| turn["role"] == "user" && !has_result(turn));
    let (mut all, mut latest) = (Cleaned::default(), Cleaned::default());
    let mut at = 0;
    turns.retain_mut(|turn| {
        let said_something = !is_empty(turn);
        let (kept, cleaned) = clean_item(turn, mark);
        all.add(cleaned);
        if asked.is_none_or(|asked| at > asked) {
            latest.add(cleaned);
        }
        at += 1;
        // A turn of nothing but what was left out would be refused.
        kept && !(said_something && is_empty(turn))
    });
    (all, latest)
}

/// Whether a turn is a list of nothing. One that calls tools says that.
fn is_empty(turn: &Value) -> bool {
    let lists = || SAID.iter().filter_map(|field| turn.get(*field)?.as_array());
    let calls = turn.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
    !calls && lists().next().is_some() && lists().all(Vec::is_empty)
}

fn ends_in_a_result(turns: &[Value]) -> bool {
    turns.last().is_some_and(has_result)
}

fn has_result(turn: &Value) -> bool {
    let blocks = turn.get("content").and_then(Value::as_array);
    let mut blocks = blocks.into_iter().flatten();
    blocks.any(|block| block["type"] == "tool_result" || block.get("toolResult").is_some())
}

/// As a thought of Converse has what is sealed: base64 of characters that begin with a mark.
const MARKED_BLOB: &str = "dGcxL";

/// A thought in the Converse format lies deeper than those of other formats.
fn is_own_thought(thought: &mut Value, mark: &str) -> bool {
    let sealed = thought["redactedContent"].as_str().is_some_and(|blob| blob.starts_with(MARKED_BLOB));
    !sealed && thought.get_mut("reasoningText").is_none_or(|text| is_own(text, mark, Unmarked::Keep))
}

fn is_marked(raw: &str) -> bool {
    [PREFIX, SIGNED_ID, opaque::PREFIX, MARKED_BLOB]
        .iter()
        .any(|text| memchr::memmem::find(raw.as_bytes(), text.as_bytes()).is_some())
}

/// Whether an item of a list stays, and what became of it.
fn clean_item(item: &mut Value, mark: &str) -> (bool, Cleaned) {
    let marked = SEALED
        .iter()
        .any(|field| item.get(*field).and_then(Value::as_str).is_some_and(|text| text.starts_with(PREFIX)));
    let thought = item.get_mut("reasoningContent");
    let is_foreign = thought.is_some_and(|thought| !is_own_thought(thought, mark));
    if is_foreign || is_ours_sealed(item) || !is_own(item, mark, Unmarked::Keep) {
        return (false, Cleaned { changed: true, foreign: true });
    }
    let mut cleaned = clean(item, mark);
    cleaned.changed |= marked;
    (true, cleaned)
}

/// As deep as serde reads it.
fn clean(value: &mut Value, mark: &str) -> Cleaned {
    let mut cleaned = Cleaned::default();
    match value {
        Value::Array(items) => items.retain_mut(|item| {
            let (kept, became) = clean_item(item, mark);
            cleaned.add(became);
            kept
        }),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::String(id) if IDS.contains(&name.as_str()) => {
                        if id.contains(SIGNED_ID) {
                            own_id(id, mark);
                            cleaned.add(Cleaned { changed: true, foreign: !id.contains(SIGNED_ID) });
                        }
                    }
                    other => cleaned.add(clean(other, mark)),
                }
            }
            if cleaned.changed {
                fields.retain(|name, value| {
                    name != "thinking_blocks" || value.as_array().is_none_or(|b| !b.is_empty())
                });
            }
        }
        _ => {}
    }
    cleaned
}

/// Where a client's format has a place for what we sealed.
const SEALED_BY_US: [&str; 3] = ["encrypted_content", "thoughtSignature", "thought_signature"];

/// Reasoning that we sealed for a client: what is in it is for an entity that is translated.
fn is_ours_sealed(item: &Value) -> bool {
    let starts = |field: &str| item.get(field)?.as_str().map(|text| text.starts_with(opaque::PREFIX));
    SEALED_BY_US.iter().any(|field| starts(field) == Some(true))
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
        keep_own(&mut request, mark, Unmarked::Keep);
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
    fn a_signature_in_an_id_goes_to_its_entity_alone() {
        let mut response: ChatResponse = serde_json::from_value(json!({"choices": [{"finish_reason": "tool_calls",
            "message": {"role": "assistant", "tool_calls": [{"id": "call_1__thought__c2ln", "function": {"name": "f"}}]}}]}))
        .unwrap();
        mark_response(&mut response, "aa");
        let turn = serde_json::to_value(&response.choices[0].message).unwrap();
        let id = turn["tool_calls"][0]["id"].as_str().unwrap();
        let messages = json!([turn, {"role": "tool", "tool_call_id": id, "content": "r"}]);
        for (mark, expected) in [("aa", "call_1__thought__c2ln"), ("bb", "call_1")] {
            let mut request: ChatRequest = serde_json::from_value(json!({ "messages": messages })).unwrap();
            keep_own(&mut request, mark, Unmarked::Keep);
            assert_eq!(request.messages[0].tool_calls.as_ref().unwrap()[0].id, expected);
            assert_eq!(request.messages[1].tool_call_id.as_deref(), Some(expected));
        }
        let body = json!({ "messages": messages }).to_string();
        let kept = without_foreign(&RawObject::parse(body.as_bytes()).unwrap(), "cc").unwrap();
        let kept: Value = serde_json::from_slice(&kept.to_vec().unwrap()).unwrap();
        assert_eq!(
            (&kept["messages"][0]["tool_calls"][0]["id"], &kept["messages"][1]["tool_call_id"]),
            (&json!("call_1"), &json!("call_1"))
        );
    }

    #[test]
    fn what_did_not_come_through_us_is_let_through() {
        let turn = json!({"role": "assistant", "content": "a", "thinking_blocks": blocks()});
        assert_eq!(sent(&turn, "aa"), Some(blocks().as_array().unwrap().clone()));
    }

    #[test]
    fn what_may_have_passed_through_us_is_not_for_an_entity_of_another_format() {
        let mut own = answered("aa");
        let plain = json!({"type": "thinking", "thinking": "said openly"});
        own["thinking_blocks"].as_array_mut().unwrap().extend([
            blocks()[0].clone(),
            blocks()[1].clone(),
            plain.clone(),
        ]);
        let mut request: ChatRequest = serde_json::from_value(json!({"messages": [own]})).unwrap();
        keep_own(&mut request, "aa", Unmarked::Drop);
        let kept = request.messages.remove(0).thinking_blocks.unwrap();
        assert_eq!(kept, [blocks()[0].clone(), blocks()[1].clone(), plain]);
    }

    #[test]
    fn what_we_sealed_into_contents_is_not_for_those_who_speak_the_format() {
        let body = json!({"contents": [{"role": "model", "parts": [
            {"text": "hm", "thought": true, "thoughtSignature": "dG9sbGdhdGUuW10="},
            {"functionCall": {"name": "f", "id": "c__thought__aax"}, "thoughtSignature": "c2ln"}]}]})
        .to_string();
        let kept = without_foreign(&RawObject::parse(body.as_bytes()).unwrap(), "cc").unwrap();
        let parts = &kept.get::<Value>("contents").unwrap().unwrap()[0]["parts"];
        assert_eq!(parts, &json!([{"functionCall": {"name": "f", "id": "c"}, "thoughtSignature": "c2ln"}]));
    }

    #[test]
    fn a_body_that_passes_loses_only_what_others_signed() {
        let turn = answered("aa");
        let body = json!({"model": "m", "x": 1.50, "messages": [{"role": "user", "content": "q", "odd": 2e-3}, turn]}).to_string();
        let kept = without_foreign(&RawObject::parse(body.as_bytes()).unwrap(), "cc").unwrap();
        let kept: Value = serde_json::from_slice(&kept.to_vec().unwrap()).unwrap();
        assert_eq!(kept["messages"][1], json!({"role": "assistant", "content": "a"}));
        let native = json!({"input": [{"type": "reasoning", "encrypted_content": "dG9sbGdhdGUuW10="},
            {"type": "reasoning", "encrypted_content": "gAAAAAB"}, {"type": "function_call", "call_id": "c__thought__aax"}]})
        .to_string();
        let kept = without_foreign(&RawObject::parse(native.as_bytes()).unwrap(), "cc").unwrap();
        let expected = json!([{"type": "reasoning", "encrypted_content": "gAAAAAB"}, {"type": "function_call", "call_id": "c"}]);
        assert_eq!(kept.get::<Value>("input").unwrap(), Some(expected));
        let looping = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "tg1-aa.c2ln"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "tg1-aa.c2ln"}, {"type": "tool_use", "id": "c"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]}]})
        .to_string();
        let kept = without_foreign(&RawObject::parse(looping.as_bytes()).unwrap(), "cc").unwrap();
        assert!(!kept.contains("thinking"));
        let turns = kept.get::<Vec<Value>>("messages").unwrap().unwrap();
        assert_eq!((turns.len(), &turns[1]["content"]), (3, &json!([{"type": "tool_use", "id": "c"}])));
        let plain = br#"{"messages":[ {"role":"user","thinking_blocks":[{"signature":"x"}]} ]}"#;
        let same = without_foreign(&RawObject::parse(plain).unwrap(), "cc").unwrap();
        assert_eq!(
            same.to_vec().unwrap(),
            br#"{"messages":[ {"role":"user","thinking_blocks":[{"signature":"x"}]} ]}"#
        );
    }

    fn passed(body: &Value) -> String {
        let body = body.to_string();
        let kept = without_foreign(&RawObject::parse(body.as_bytes()).unwrap(), "cc").unwrap();
        String::from_utf8(kept.to_vec().unwrap()).unwrap()
    }

    #[test]
    fn thinking_stays_where_only_earlier_turns_were_of_others() {
        let foreign = json!({"type": "thinking", "thinking": "t", "signature": "tg1-aa.c2ln"});
        let own = |signature: &str| json!({"type": "thinking", "thinking": "t", "signature": signature});
        let looping = |first: &Value, in_loop: &Value| {
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": [first, {"type": "text", "text": "a"}]},
                {"role": "user", "content": [{"type": "text", "text": "and then?"}]},
                {"role": "assistant", "content": [in_loop, {"type": "tool_use", "id": "c"}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}, {"type": "text", "text": "look"}]}]})
        };
        let thinks = |body: Value| RawObject::parse(passed(&body).as_bytes()).unwrap().contains("thinking");
        assert!(thinks(looping(&foreign, &own("c2ln"))));
        assert!(thinks(looping(&foreign, &own("tg1-cc.c2ln"))));
        assert!(!thinks(looping(&own("c2ln"), &foreign)));
    }

    #[test]
    fn what_only_looks_marked_passes_byte_for_byte() {
        for body in [
            r#"{"messages":[ {"role":"user","content":"what is tg1-?","n":1.50} ]}"#,
            r#"{"input": "say __thought__" }"#,
        ] {
            let kept = without_foreign(&RawObject::parse(body.as_bytes()).unwrap(), "cc").unwrap();
            assert_eq!(
                kept.to_vec().unwrap(),
                body.replace(": \"say", ":\"say").replace("\" }", "\"}").as_bytes()
            );
        }
    }

    #[test]
    fn what_others_sealed_is_not_for_those_who_speak_converse() {
        let thought = |inner: Value| json!({ "reasoningContent": inner });
        let text = |signature: &str| thought(json!({"reasoningText": {"text": "t", "signature": signature}}));
        let turn = |blocks: Value| json!({"messages": [{"role": "assistant", "content": blocks}]});
        let foreign = thought(json!({"redactedContent": "dGcxLWFhLng="}));
        let own = [text("c2ln"), thought(json!({"redactedContent": "eHl6"})), json!({"text": "a"})];
        let given = json!([text("tg1-aa.c2ln"), foreign, own[0], own[1], own[2]]);
        assert_eq!(passed(&turn(given)), turn(json!(own)).to_string());
    }

    #[test]
    fn converse_thinks_no_more_within_a_loop_of_tools_of_which_another_signed_a_part() {
        let foreign =
            json!({"reasoningContent": {"reasoningText": {"text": "t", "signature": "tg1-aa.c2ln"}}});
        let call = json!({"toolUse": {"toolUseId": "c", "name": "f", "input": {}}});
        let result = json!({"toolResult": {"toolUseId": "c", "content": [{"text": "r"}]}});
        for field in ["thinking", "reasoning_config"] {
            let body = json!({
                "additionalModelRequestFields": {field: {"type": "enabled", "budget_tokens": 2000}, "top_k": 5},
                "messages": [{"role": "user", "content": [{"text": "q"}]},
                    {"role": "assistant", "content": [foreign, call]}, {"role": "user", "content": [result]}]});
            let got: Value = serde_json::from_str(&passed(&body)).unwrap();
            assert_eq!(got["additionalModelRequestFields"], json!({"top_k": 5}));
            assert_eq!(got["messages"][1]["content"], json!([call]));
            let mut over = body.clone();
            over["messages"]
                .as_array_mut()
                .unwrap()
                .push(json!({"role": "user", "content": [{"text": "and?"}]}));
            let got: Value = serde_json::from_str(&passed(&over)).unwrap();
            assert_eq!(got["additionalModelRequestFields"], body["additionalModelRequestFields"]);
        }
    }

    #[test]
    fn only_turns_that_were_emptied_here_are_dropped() {
        let sealed = json!({"text": "hm", "thought": true, "thoughtSignature": "dG9sbGdhdGUuW10="});
        let contents = json!([{"role": "user", "parts": []}, {"role": "model", "parts": [sealed]},
            {"role": "user", "parts": [{"text": "q"}]}]);
        let left = json!([{"role": "user", "parts": []}, {"role": "user", "parts": [{"text": "q"}]}]);
        assert_eq!(passed(&json!({ "contents": contents })), json!({ "contents": left }).to_string());
        for inner in ["generateContentRequest", "generate_content_request"] {
            let body = json!({ inner: { "contents": contents } });
            assert_eq!(passed(&body), json!({ inner: { "contents": left } }).to_string());
        }
        let foreign = json!({"type": "thinking", "thinking": "t", "signature": "tg1-aa.c2ln"});
        let call = json!([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]);
        let messages = json!({"messages": [{"role": "user", "content": []},
            {"role": "assistant", "content": [foreign], "tool_calls": call},
            {"role": "assistant", "content": [foreign], "tool_calls": []}]});
        let left = json!({"messages": [{"role": "user", "content": []},
            {"role": "assistant", "content": [], "tool_calls": call}]});
        assert_eq!(passed(&messages), left.to_string());
    }
}
