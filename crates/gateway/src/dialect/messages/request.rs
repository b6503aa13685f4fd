//! A Messages request as a chat request.

use serde::Deserialize;
use serde_json::{Value, json};
use wire::Object;
use wire::chat::{ChatRequest, Content, FunctionSpec, ImageUrl, Message, OneOrMany, Part, Tool, ToolCall};
use wire::error::ApiError;
use wire::raw::RawObject;

use crate::dialect;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    messages: Vec<Turn>,
    system: Option<Value>,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u64>,
    stop_sequences: Option<Vec<String>>,
    stream: Option<bool>,
    tools: Option<Vec<Object>>,
    tool_choice: Option<Object>,
    thinking: Option<Value>,
    output_config: Option<Object>,
    /// An older name of `output_config.format`.
    output_format: Option<Value>,
    metadata: Option<Object>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Value,
    cache_control: Option<Value>,
}

pub(super) fn read(body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
    let request: Request = dialect::read(body, "messages")?;
    if request.messages.is_empty() {
        return Err(ApiError::bad_request("messages: at least one message is required"));
    }
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    messages.extend(request.system.and_then(system));
    for (at, turn) in request.messages.into_iter().enumerate() {
        read_turn(&format!("messages[{at}]"), turn, &mut messages)?;
    }
    let config = request.output_config.unwrap_or_default();
    let choice = request.tool_choice.as_ref();
    let parallel = choice.and_then(|c| c.get("disable_parallel_tool_use")).and_then(Value::as_bool);
    let user = request.metadata.as_ref().and_then(|m| m.get("user_id")).and_then(Value::as_str);
    Ok(ChatRequest {
        model: request.model,
        messages,
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        stop: request.stop_sequences.filter(|stops| !stops.is_empty()).map(OneOrMany::Many),
        stream: request.stream,
        tools: request.tools.filter(|tools| !tools.is_empty()).map(|t| t.into_iter().map(tool).collect()),
        tool_choice: choice.map(tool_choice).transpose()?,
        parallel_tool_calls: parallel.filter(|disabled| *disabled).map(|disabled| !disabled),
        response_format: config.get("format").or(request.output_format.as_ref()).and_then(response_format),
        reasoning_effort: effort(config.get("effort"), request.thinking.as_ref()),
        thinking: request.thinking.filter(|thinking| thinking["type"] != "disabled"),
        user: user.map(str::to_owned),
        ..ChatRequest::default()
    })
}

/// Text or blocks, one message.
fn system(system: Value) -> Option<Message> {
    let content = match system {
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => Content::Text(text),
        Value::Array(blocks) => Content::Parts(blocks.into_iter().filter_map(part).collect()),
        _ => return None,
    };
    Some(Message { role: "system".to_owned(), content: Some(content), ..Message::default() })
}

fn read_turn(path: &str, turn: Turn, out: &mut Vec<Message>) -> Result<(), ApiError> {
    let blocks = match turn.content {
        Value::String(text) => {
            let message =
                Message { role: turn.role, content: Some(Content::Text(text)), ..Message::default() };
            out.push(marked(message, turn.cache_control));
            return Ok(());
        }
        Value::Array(blocks) => blocks,
        _ => {
            return Err(ApiError::bad_request(format!("{path}.content: must be a text or a list of blocks")));
        }
    };
    match turn.role.as_str() {
        "assistant" => out.push(marked(assistant(blocks), turn.cache_control)),
        "user" | "system" => user(turn.role, blocks, turn.cache_control, out),
        other => {
            return Err(ApiError::bad_request(format!(
                "{path}.role: {other:?} is none of user, assistant, system"
            )));
        }
    }
    Ok(())
}

fn marked(mut message: Message, cache_control: Option<Value>) -> Message {
    if let Some(cache) = cache_control {
        message.extra.insert("cache_control".to_owned(), cache);
    }
    message
}

/// Results of tools are messages of their own, before what the user says beside them.
fn user(role: String, blocks: Vec<Value>, cache_control: Option<Value>, out: &mut Vec<Message>) {
    let (results, others): (Vec<Value>, Vec<Value>) =
        blocks.into_iter().partition(|block| block["type"] == "tool_result");
    out.extend(results.into_iter().map(tool_result));
    let parts: Vec<Part> = others.into_iter().filter_map(part).collect();
    if !parts.is_empty() {
        let message = Message { role, content: Some(Content::Parts(parts)), ..Message::default() };
        out.push(marked(message, cache_control));
    }
}

fn tool_result(mut block: Value) -> Message {
    let content = match block["content"].take() {
        Value::String(text) => Content::Text(text),
        Value::Array(blocks) => content(blocks.into_iter().filter_map(part).collect()),
        _ => Content::Text(String::new()),
    };
    let mut message = Message {
        role: "tool".to_owned(),
        tool_call_id: block["tool_use_id"].as_str().map(str::to_owned),
        content: Some(content),
        ..Message::default()
    };
    if block["is_error"] == true {
        message.extra.insert("is_error".to_owned(), true.into());
    }
    let cache = block.get_mut("cache_control").map(Value::take);
    marked(message, cache.filter(|cache| !cache.is_null()))
}

/// A text that is alone and unmarked is no list.
fn content(mut parts: Vec<Part>) -> Content {
    let alone = parts.len() == 1 && parts[0].kind == "text" && parts[0].cache_control.is_none();
    match parts.pop() {
        Some(Part { text: Some(text), .. }) if alone => Content::Text(text),
        Some(last) => {
            parts.push(last);
            Content::Parts(parts)
        }
        None => Content::Text(String::new()),
    }
}

fn assistant(blocks: Vec<Value>) -> Message {
    let (mut parts, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
    let mut reasoning = String::new();
    for block in blocks {
        match block["type"].as_str() {
            Some("thinking") => {
                reasoning.push_str(block["thinking"].as_str().unwrap_or_default());
                // Ours, where the provider signs nothing.
                if block["signature"].as_str().is_some_and(|signature| !signature.is_empty()) {
                    thoughts.push(block);
                }
            }
            Some("redacted_thinking") => thoughts.push(block),
            Some("tool_use") => calls.push(tool_call(&block)),
            // What the API did itself stays between it and itself.
            Some(kind) if kind == "server_tool_use" || kind.ends_with("_tool_result") => {}
            _ => parts.extend(part(block)),
        }
    }
    Message {
        role: "assistant".to_owned(),
        content: (!parts.is_empty()).then(|| content(parts)),
        reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
        thinking_blocks: (!thoughts.is_empty()).then_some(thoughts),
        tool_calls: (!calls.is_empty()).then_some(calls),
        ..Message::default()
    }
}

fn tool_call(block: &Value) -> ToolCall {
    let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
    ToolCall::with_input(text("id"), text("name"), &block["input"])
}

/// A block as a part; blocks that have no counterpart are carried as they are.
fn part(block: Value) -> Option<Part> {
    let cache_control = block.get("cache_control").filter(|cache| !cache.is_null()).cloned();
    let mut part = match block["type"].as_str()? {
        "text" => text_part(block["text"].as_str()?),
        "image" => image(&block).or_else(|| serde_json::from_value(block).ok())?,
        "document" => document(&block).or_else(|| serde_json::from_value(block).ok())?,
        _ => serde_json::from_value(block).ok()?,
    };
    part.cache_control = cache_control;
    Some(part)
}

fn text_part(text: &str) -> Part {
    Part { kind: "text".to_owned(), text: Some(text.to_owned()), ..Part::default() }
}

fn image(block: &Value) -> Option<Part> {
    let source = &block["source"];
    let url = match source["type"].as_str()? {
        "base64" => data_url(source)?,
        "url" => source["url"].as_str()?.to_owned(),
        _ => return None,
    };
    let image_url = Some(ImageUrl { url, ..ImageUrl::default() });
    Some(Part { kind: "image_url".to_owned(), image_url, ..Part::default() })
}

fn document(block: &Value) -> Option<Part> {
    let source = &block["source"];
    match source["type"].as_str()? {
        "base64" => {
            let mut file = json!({"file_data": data_url(source)?});
            if let Some(title) = block["title"].as_str() {
                file["filename"] = title.into();
            }
            let extra = Object::from_iter([("file".to_owned(), file)]);
            Some(Part { kind: "file".to_owned(), extra, ..Part::default() })
        }
        "text" => Some(text_part(source["data"].as_str()?)),
        _ => None,
    }
}

fn data_url(source: &Value) -> Option<String> {
    Some(format!("data:{};base64,{}", source["media_type"].as_str()?, source["data"].as_str()?))
}

/// A tool with a schema is a function; one that the API runs itself is carried as it is.
fn tool(mut tool: Object) -> Tool {
    let cache_control = tool.shift_remove("cache_control").filter(|cache| !cache.is_null());
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or("custom").to_owned();
    if kind != "custom" && !tool.contains_key("input_schema") {
        tool.shift_remove("type");
        return Tool { kind, cache_control, extra: tool, ..Tool::default() };
    }
    let text = |key: &str| tool.get(key).and_then(Value::as_str).map(str::to_owned);
    let function = FunctionSpec {
        name: text("name").unwrap_or_default(),
        description: text("description"),
        parameters: tool.get("input_schema").cloned(),
        strict: tool.get("strict").and_then(Value::as_bool),
        ..FunctionSpec::default()
    };
    Tool { kind: "function".to_owned(), function: Some(function), cache_control, ..Tool::default() }
}

fn tool_choice(choice: &Object) -> Result<Value, ApiError> {
    match choice.get("type").and_then(Value::as_str) {
        Some(word @ ("auto" | "none")) => Ok(word.into()),
        Some("any") => Ok("required".into()),
        Some("tool") => Ok(json!({"type": "function", "function": {"name": choice.get("name")}})),
        other => {
            let given = other.unwrap_or_default();
            Err(ApiError::bad_request(format!(
                "tool_choice.type: {given:?} is none of auto, any, tool, none"
            )))
        }
    }
}

fn response_format(format: &Value) -> Option<Value> {
    let schema = format.get("schema").filter(|_| format["type"] == "json_schema")?;
    Some(json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}}))
}

/// The effort that was asked for, or what a budget of thinking comes to.
pub(crate) fn effort(given: Option<&Value>, thinking: Option<&Value>) -> Option<String> {
    let thinking = thinking.filter(|thinking| thinking["type"] != "disabled");
    if let Some(effort) = given.and_then(Value::as_str) {
        return Some(effort.to_owned());
    }
    let effort = match thinking?["budget_tokens"].as_u64()? {
        0..=1024 => "low",
        1025..=4095 => "medium",
        _ => "high",
    };
    Some(effort.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: Value) -> Value {
        let bytes = body.to_string();
        serde_json::to_value(read(&RawObject::parse(bytes.as_bytes()).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_conversation_with_tools_becomes_chat() {
        let cache = json!({"type": "ephemeral"});
        let got = chat(json!({
        "model": "e", "max_tokens": 9, "stop_sequences": ["x"], "metadata": {"user_id": "u"},
        "system": [{"type": "text", "text": "be brief", "cache_control": cache}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": cache},
            {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "r"},
                {"type": "text", "text": "look"}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "and now?"},
                {"type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": [
                    {"type": "text", "text": "no"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]}]},
            {"role": "system", "content": "stay brief"},
        ]}));
        let expected = json!({
        "model": "e", "max_tokens": 9, "stop": ["x"], "user": "u",
        "tools": [{"type": "function", "cache_control": cache, "function":
            {"name": "f", "description": "d", "parameters": {"type": "object"}}},
            {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": "required", "parallel_tool_calls": false,
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "be brief", "cache_control": cache}]},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "look", "reasoning_content": "hm",
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "r"}],
                "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "t1", "is_error": true, "content": [
                {"type": "text", "text": "no"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},
            {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
            {"role": "system", "content": "stay brief"},
        ]});
        assert_eq!(got, expected);
    }

    #[test]
    fn documents_and_unknown_blocks_travel() {
        let got = chat(json!({"messages": [{"role": "user", "content": [
            {"type": "document", "title": "t", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            {"type": "hologram", "x": 1}]}]}));
        assert_eq!(
            got["messages"][0]["content"],
            json!([{"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "t"}},
                {"type": "text", "text": "words"}, {"type": "hologram", "x": 1}])
        );
    }

    #[test]
    fn thinking_is_an_effort_too() {
        let effort = |extra: Value| {
            let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let chat = chat(body);
            (chat["reasoning_effort"].clone(), chat["thinking"].clone())
        };
        let budget = json!({"type": "enabled", "budget_tokens": 2000});
        assert_eq!(effort(json!({ "thinking": budget })), (json!("medium"), budget));
        let adaptive = json!({"type": "adaptive"});
        let both = json!({"thinking": adaptive, "output_config": {"effort": "max"}});
        assert_eq!(effort(both), (json!("max"), adaptive));
        assert_eq!(effort(json!({"thinking": {"type": "disabled"}})), (Value::Null, Value::Null));
    }

    #[test]
    fn what_is_no_message_is_named() {
        for (body, named) in [
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"role": "robot", "content": []}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content"),
            (
                json!({"messages": [{"role": "user", "content": "x"}], "tool_choice": {"type": "y"}}),
                "tool_choice.type",
            ),
        ] {
            let bytes = body.to_string();
            let error = read(&RawObject::parse(bytes.as_bytes()).unwrap()).unwrap_err();
            assert!(error.message.starts_with(named), "{}", error.message);
        }
    }
}
