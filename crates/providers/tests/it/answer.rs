//! What a client ends up with, from a reply or from chunks, in one comparable form.

use std::collections::BTreeMap;

use serde_json::Value;
use wire::chat::{ChatChunk, ChatResponse, Content, Message};
use wire::usage::Usage;

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    id: String,
    model: String,
    role: String,
    content: String,
    reasoning: String,
    thinking: Vec<Value>,
    calls: BTreeMap<u64, Call>,
    finish: Option<String>,
    usage: Option<Usage>,
}

#[derive(Debug, Default, PartialEq)]
struct Call {
    id: String,
    kind: String,
    name: String,
    arguments: Value,
}

impl Answer {
    pub(crate) fn of_reply(reply: &ChatResponse) -> Self {
        let [choice] = reply.choices.as_slice() else { panic!("not one choice: {reply:?}") };
        let message = &choice.message;
        let calls = message.tool_calls.iter().flatten().zip(0..).map(|(call, at)| {
            let arguments = serde_json::from_str(&call.function.arguments).unwrap();
            let name = call.function.name.clone();
            (at, Call { id: call.id.clone(), kind: call.kind.clone(), name, arguments })
        });
        Self {
            id: reply.id.clone(),
            model: reply.model.clone(),
            role: message.role.clone(),
            content: message.content.as_ref().map(Content::text).unwrap_or_default(),
            reasoning: message.reasoning_content.clone().unwrap_or_else(|| summaries(message)),
            thinking: message.thinking_blocks.clone().unwrap_or_default(),
            calls: calls.collect(),
            finish: choice.finish_reason.clone(),
            usage: reply.usage.clone(),
        }
    }

    pub(crate) fn of_chunks(chunks: &[ChatChunk]) -> Self {
        let mut answer = Self::default();
        let mut arguments: BTreeMap<u64, String> = BTreeMap::new();
        for chunk in chunks {
            assert!(answer.id.is_empty() || answer.id == chunk.id, "the id changes: {chunk:?}");
            (answer.id, answer.model) = (chunk.id.clone(), chunk.model.clone());
            answer.usage = chunk.usage.clone().or(answer.usage);
            for choice in &chunk.choices {
                assert_eq!(choice.index, 0);
                assert!(answer.finish.is_none(), "a choice after its finish reason: {chunk:?}");
                answer.finish.clone_from(&choice.finish_reason);
                let delta = &choice.delta;
                answer.role += delta.role.as_deref().unwrap_or_default();
                answer.content += delta.content.as_deref().unwrap_or_default();
                answer.reasoning += delta.reasoning_content.as_deref().unwrap_or_default();
                answer.thinking.extend(delta.thinking_blocks.iter().flatten().cloned());
                for call in delta.tool_calls.iter().flatten() {
                    answer.add_call(call, &mut arguments);
                }
            }
        }
        for (index, text) in arguments {
            answer.calls.entry(index).or_default().arguments = serde_json::from_str(&text).unwrap();
        }
        answer
    }

    fn add_call(&mut self, delta: &wire::chat::ToolCallDelta, arguments: &mut BTreeMap<u64, String>) {
        assert!(delta.index <= self.calls.len() as u64, "the indexes of calls have a gap: {delta:?}");
        let call = self.calls.entry(delta.index).or_default();
        call.id += delta.id.as_deref().unwrap_or_default();
        call.kind += delta.kind.as_deref().unwrap_or_default();
        if let Some(function) = &delta.function {
            call.name += function.name.as_deref().unwrap_or_default();
            *arguments.entry(delta.index).or_default() += function.arguments.as_deref().unwrap_or_default();
        }
        assert!(!call.id.is_empty() && !call.name.is_empty(), "arguments before id and name: {delta:?}");
    }
}

/// The reasoning of a reply whose content is a list of parts, one of them for it.
fn summaries(message: &Message) -> String {
    let Some(Content::Parts(parts)) = &message.content else { return String::new() };
    let summaries = parts.iter().filter_map(|part| part.extra.get("summary")?.as_array()).flatten();
    summaries.filter_map(|summary| summary["text"].as_str()).collect()
}

/// The counts are there and add up.
pub(crate) fn check_usage(place: &str, usage: Option<&Usage>) {
    let usage = usage.unwrap_or_else(|| panic!("{place}: no usage"));
    assert!(usage.prompt_tokens > 0 && usage.completion_tokens > 0, "{place}: {usage:?}");
    assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "{place}");
    let parts = usage.cached_tokens().unwrap_or(0) + usage.cache_creation_tokens().unwrap_or(0);
    assert!(parts <= usage.prompt_tokens, "{place}: {usage:?}");
    assert!(usage.reasoning_tokens().unwrap_or(0) <= usage.completion_tokens, "{place}: {usage:?}");
}
