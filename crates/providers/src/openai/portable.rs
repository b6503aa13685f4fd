//! A chat request that was translated from another format, made acceptable to engines of this one.

use serde_json::Value;
use wire::chat::{ChatRequest, Content, Message, Part};

use super::{Edits, renames_max_tokens};
use crate::codec::Refused;

/// Longest `user` that the API takes, in characters.
const USER_LIMIT: usize = 64;

/// What of the unified format is beyond OpenAI's own, as this API answers 400 to what it does not know.
/// An engine that is spoken to verbatim keeps what it may understand.
pub(super) fn portable(mut request: ChatRequest, model: &str, edits: Edits) -> Result<ChatRequest, Refused> {
    callable_tools(&mut request)?;
    let mut messages = Vec::with_capacity(request.messages.len());
    let mut pictures = Vec::new();
    for mut message in request.messages {
        if message.role != "tool" {
            show(&mut messages, &mut pictures);
        }
        take_pictures(&mut message, &mut pictures);
        if matches!(edits, Edits::OpenAi { .. }) {
            strip(&mut message);
        }
        messages.push(message);
    }
    show(&mut messages, &mut pictures);
    request.messages = messages;
    if matches!(edits, Edits::OpenAi { .. }) {
        // How long to think was said to a model that thinks; to others the API refuses the effort.
        if request.thinking.take().is_some() && !renames_max_tokens(model) {
            request.reasoning_effort = None;
        }
        request.top_k = None;
        request.user = request.user.filter(|user| user.chars().count() <= USER_LIMIT);
        request.tools.iter_mut().flatten().for_each(|tool| tool.cache_control = None);
    }
    Ok(request)
}

/// Tools that other providers run themselves are unknown here.
fn callable_tools(request: &mut ChatRequest) -> Result<(), Refused> {
    let Some(tools) = request.tools.as_mut().filter(|tools| !tools.is_empty()) else { return Ok(()) };
    let first = tools[0].kind.clone();
    tools.retain(|tool| tool.function.is_some() || tool.extra.contains_key("custom"));
    if tools.is_empty() {
        let reason = format!("this provider does not run tools such as {first:?}");
        return Err(Refused::new("tools", reason));
    }
    Ok(())
}

/// The result of a tool is text here: what else it holds is shown by the user, once all results are given.
fn take_pictures(message: &mut Message, pictures: &mut Vec<Part>) {
    let Some(Content::Parts(parts)) = message.content.as_mut().filter(|_| message.role == "tool") else {
        return;
    };
    let (texts, others): (Vec<Part>, Vec<Part>) =
        std::mem::take(parts).into_iter().partition(|part| part.text.is_some());
    *parts = texts;
    if parts.is_empty() {
        message.content = Some(Content::Text(if others.is_empty() { "" } else { "(see below)" }.to_owned()));
    }
    pictures.extend(others);
}

fn show(messages: &mut Vec<Message>, pictures: &mut Vec<Part>) {
    if !pictures.is_empty() {
        let content = Some(Content::Parts(std::mem::take(pictures)));
        messages.push(Message { role: "user".to_owned(), content, ..Message::default() });
    }
}

fn strip(message: &mut Message) {
    message.thinking_blocks = None;
    message.reasoning_content = None;
    ["cache_control", "is_error"].iter().for_each(|key| drop(message.extra.shift_remove(*key)));
    if let Some(Content::Parts(parts)) = &mut message.content {
        parts.iter_mut().for_each(|part| part.cache_control = None);
    }
    // A text alone is what every version of the API takes.
    if let Some(Content::Parts(parts)) = &message.content
        && let [Part { kind, text: Some(text), extra, .. }] = parts.as_slice()
        && kind == "text"
        && extra.values().all(Value::is_null)
    {
        message.content = Some(Content::Text(text.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OPENAI: Edits = Edits::OpenAi { stream_usage: true };

    fn sent(model: &str, edits: Edits, request: Value) -> Value {
        let request: ChatRequest = serde_json::from_value(request).unwrap();
        serde_json::to_value(portable(request, model, edits).unwrap()).unwrap()
    }

    #[test]
    fn what_the_api_refuses_stays_here() {
        let request = json!({
            "thinking": {"type": "adaptive"}, "reasoning_effort": "high", "top_k": 3, "user": "u".repeat(65),
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
                {"role": "assistant", "reasoning_content": "r", "thinking_blocks": [{}], "content": "a"},
                {"role": "tool", "tool_call_id": "c", "content": "no", "is_error": true}],
            "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {}}, {"type": "web_search_1"}]});
        let messages = json!([{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"},
            {"role": "tool", "tool_call_id": "c", "content": "no"}]);
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        assert_eq!(sent("gpt-4o", OPENAI, request.clone()), json!({"messages": messages, "tools": tools}));
        assert_eq!(
            sent("gpt-5", OPENAI, request.clone()),
            json!({"messages": messages, "tools": tools, "reasoning_effort": "high"})
        );
        let kept = sent("m", Edits::ModelOnly, request);
        assert!(kept["messages"][0]["content"][0]["cache_control"].is_object(), "{kept}");
    }

    #[test]
    fn pictures_of_results_follow_all_results() {
        let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}});
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": [picture]});
        let got = sent("m", Edits::ModelOnly, json!({"messages": [result("a"), result("b")]}));
        let seen = json!({"role": "user", "content": [picture, picture]});
        assert_eq!(got["messages"][2], seen);
        assert_eq!(got["messages"][0]["content"], "(see below)");
    }

    #[test]
    fn only_tools_that_nobody_here_runs_are_refused() {
        let request: ChatRequest =
            serde_json::from_value(json!({"messages": [], "tools": [{"type": "web_search_1"}]})).unwrap();
        assert_eq!(portable(request, "m", OPENAI).unwrap_err().field, "tools");
    }
}
