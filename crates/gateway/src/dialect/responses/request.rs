//! A Responses request as a chat request.

use serde::Deserialize;
use serde_json::{Value, json};
use wire::Object;
use wire::chat::{ChatRequest, Content, ImageUrl, Message, Part, ToolCall};
use wire::error::ApiError;
use wire::raw::RawObject;

use super::tools;
use crate::dialect::{self, opaque};

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    input: Option<Value>,
    instructions: Option<String>,
    max_output_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    stream: Option<bool>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    text: Option<Object>,
    reasoning: Option<Object>,
    user: Option<String>,
}

/// Fields that need what is kept between calls, and what to say of them.
const STATEFUL: [(&str, &str); 4] = [
    ("previous_response_id", "send the whole conversation as input"),
    ("conversation", "send the whole conversation as input"),
    ("prompt", "send what the template holds"),
    ("background", "call it in the foreground"),
];

/// Items of what the provider of this format did itself.
const ITS_OWN: [&str; 7] = [
    "web_search_call",
    "file_search_call",
    "image_generation_call",
    "code_interpreter_call",
    "mcp_call",
    "mcp_list_tools",
    "tool_search_call",
];

pub(super) fn read(body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
    refuse_state(body)?;
    let request: Request = dialect::read(body, "responses")?;
    let mut messages = Vec::new();
    if let Some(text) = request.instructions.filter(|text| !text.is_empty()) {
        messages.push(said("system", Content::Text(text)));
    }
    let mut items = Items { messages, thoughts: Vec::new(), reasoning: String::new() };
    match request.input {
        Some(Value::String(text)) => items.messages.push(said("user", Content::Text(text))),
        Some(Value::Array(input)) if !input.is_empty() => {
            for (at, item) in input.into_iter().enumerate() {
                items.read(&format!("input[{at}]"), item)?;
            }
        }
        _ => return Err(ApiError::bad_request("input is required: a text or a list of items")),
    }
    let text = request.text.unwrap_or_default();
    let effort = request.reasoning.as_ref().and_then(|r| r.get("effort")).and_then(Value::as_str);
    let mut extra = Object::new();
    if let Some(verbosity) = text.get("verbosity").filter(|v| !v.is_null()) {
        extra.insert("verbosity".to_owned(), verbosity.clone());
    }
    let tools = tools::read(&request.tools.unwrap_or_default())?;
    let choice = request.tool_choice.filter(|choice| !choice.is_null());
    let choice = choice.as_ref().map(tools::choice).transpose()?;
    let has_tools = !tools.is_empty();
    if !has_tools && choice.as_ref().is_some_and(|choice| choice != "auto" && choice != "none") {
        return Err(ApiError::bad_request("tool_choice: none of the tools is one that the client runs"));
    }
    Ok(ChatRequest {
        model: request.model,
        messages: items.messages,
        max_tokens: request.max_output_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        stream: request.stream,
        tools: has_tools.then_some(tools),
        // What means the same as saying nothing is not sent on.
        tool_choice: choice.filter(|choice| has_tools && choice != "auto"),
        parallel_tool_calls: request.parallel_tool_calls.filter(|parallel| has_tools && !parallel),
        response_format: text.get("format").and_then(response_format),
        reasoning_effort: effort.map(str::to_owned),
        user: request.user,
        extra,
        ..ChatRequest::default()
    })
}

fn refuse_state(body: &RawObject<'_>) -> Result<(), ApiError> {
    let asks = |raw: &str| !matches!(raw, "null" | "false" | "\"\"");
    for (field, instead) in STATEFUL {
        if body.raw(field).is_some_and(|raw| asks(raw.get())) {
            return Err(ApiError::bad_request(format!(
                "{field}: the model behind this endpoint keeps nothing between calls; {instead}"
            )));
        }
    }
    if body.raw("store").is_some_and(|raw| raw.get() == "true") {
        return Err(ApiError::bad_request(
            "store: the model behind this endpoint keeps no responses; leave it out or send false",
        ));
    }
    Ok(())
}

fn said(role: &str, content: Content) -> Message {
    Message { role: role.to_owned(), content: Some(content), ..Message::default() }
}

fn response_format(format: &Value) -> Option<Value> {
    match format["type"].as_str()? {
        "json_object" => Some(json!({"type": "json_object"})),
        "json_schema" => {
            let mut schema = format.as_object()?.clone();
            schema.shift_remove("type");
            schema.retain(|_, value| !value.is_null());
            Some(json!({"type": "json_schema", "json_schema": schema}))
        }
        _ => None,
    }
}

/// The items read so far.
struct Items {
    messages: Vec<Message>,
    /// Reasoning that belongs to the assistant's message that comes next.
    thoughts: Vec<Value>,
    reasoning: String,
}

impl Items {
    fn read(&mut self, path: &str, item: Value) -> Result<(), ApiError> {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        match item["type"].as_str().unwrap_or("message") {
            "message" => self.message(path, &item),
            "reasoning" => {
                self.thought(&item);
                Ok(())
            }
            "function_call" => {
                let name = tools::function_name(item["namespace"].as_str(), &text("name"));
                self.call(text("call_id"), name, text("arguments"));
                Ok(())
            }
            "custom_tool_call" => {
                let name = tools::function_name(item["namespace"].as_str(), &text("name"));
                self.call(text("call_id"), name, json!({tools::INPUT: item["input"]}).to_string());
                Ok(())
            }
            "local_shell_call" => {
                self.call(text("call_id"), "local_shell".to_owned(), item["action"].to_string());
                Ok(())
            }
            "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
                self.output(path, &item)
            }
            kind if ITS_OWN.contains(&kind) => Ok(()),
            "item_reference" => Err(ApiError::bad_request(format!(
                "{path}: the model behind this endpoint keeps nothing between calls; send the item itself"
            ))),
            kind => Err(ApiError::bad_request(format!(
                "{path}.type: {kind:?} is no item that the model behind this endpoint understands"
            ))),
        }
    }

    fn message(&mut self, path: &str, item: &Value) -> Result<(), ApiError> {
        let content = content(path, &item["content"])?;
        match item["role"].as_str().unwrap_or_default() {
            "assistant" => {
                let message = self.assistant();
                message.content = Some(match message.content.take() {
                    None => content,
                    Some(earlier) => Content::Parts([parts(earlier), parts(content)].concat()),
                });
            }
            role @ ("user" | "system" | "developer") => self.messages.push(said(role, content)),
            other => {
                return Err(ApiError::bad_request(format!(
                    "{path}.role: {other:?} is none of user, assistant, system, developer"
                )));
            }
        }
        Ok(())
    }

    fn thought(&mut self, item: &Value) {
        if let Some(blocks) = item["encrypted_content"].as_str().and_then(opaque::open) {
            self.thoughts.extend(blocks);
        }
        for part in item["summary"].as_array().into_iter().flatten() {
            self.reasoning.push_str(part["text"].as_str().unwrap_or_default());
        }
    }

    fn call(&mut self, id: String, name: String, arguments: String) {
        let call = ToolCall::function(id, name, arguments);
        self.assistant().tool_calls.get_or_insert_default().push(call);
    }

    /// The assistant's message that is being put together, with the thoughts before it.
    fn assistant(&mut self) -> &mut Message {
        if self.messages.last().is_none_or(|last| last.role != "assistant") {
            self.messages.push(Message { role: "assistant".to_owned(), ..Message::default() });
        }
        let at = self.messages.len() - 1;
        let message = &mut self.messages[at];
        if !self.thoughts.is_empty() {
            message.thinking_blocks.get_or_insert_default().append(&mut self.thoughts);
        }
        if !self.reasoning.is_empty() {
            message.reasoning_content.get_or_insert_default().push_str(&self.reasoning);
            self.reasoning.clear();
        }
        message
    }

    fn output(&mut self, path: &str, item: &Value) -> Result<(), ApiError> {
        let output = &item["output"];
        let content = match output {
            Value::Array(_) => content(&format!("{path}.output"), output)?,
            Value::String(text) => Content::Text(text.clone()),
            other => Content::Text(other.to_string()),
        };
        let tool_call_id = item["call_id"].as_str().or(item["id"].as_str()).map(str::to_owned);
        self.messages.push(Message { tool_call_id, ..said("tool", content) });
        Ok(())
    }
}

fn parts(content: Content) -> Vec<Part> {
    match content {
        Content::Text(text) => vec![text_part(text)],
        Content::Parts(parts) => parts,
    }
}

fn text_part(text: String) -> Part {
    Part { kind: "text".to_owned(), text: Some(text), ..Part::default() }
}

fn content(path: &str, content: &Value) -> Result<Content, ApiError> {
    let Value::Array(items) = content else {
        return Ok(Content::Text(content.as_str().unwrap_or_default().to_owned()));
    };
    let mut parts = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        parts.push(part(&format!("{path}.content[{at}]"), item)?);
    }
    match parts.as_slice() {
        [Part { kind, text: Some(text), .. }] if kind == "text" => Ok(Content::Text(text.clone())),
        _ => Ok(Content::Parts(parts)),
    }
}

fn part(path: &str, item: &Value) -> Result<Part, ApiError> {
    let text = |key: &str| item[key].as_str().map(str::to_owned);
    match item["type"].as_str().unwrap_or_default() {
        "input_text" | "output_text" | "text" => Ok(text_part(text("text").unwrap_or_default())),
        "refusal" => Ok(text_part(text("refusal").unwrap_or_default())),
        "input_image" => {
            let url = text("image_url").ok_or_else(|| kept_file(path, "image_url"))?;
            let mut image_url = ImageUrl { url, ..ImageUrl::default() };
            if let Some(detail) = text("detail") {
                image_url.extra.insert("detail".to_owned(), detail.into());
            }
            Ok(Part { kind: "image_url".to_owned(), image_url: Some(image_url), ..Part::default() })
        }
        "input_file" => {
            let data = text("file_data").ok_or_else(|| kept_file(path, "file_data"))?;
            let mut file = json!({"file_data": data});
            if let Some(name) = text("filename") {
                file["filename"] = name.into();
            }
            let extra = Object::from_iter([("file".to_owned(), file)]);
            Ok(Part { kind: "file".to_owned(), extra, ..Part::default() })
        }
        _ => serde_json::from_value(item.clone()).map_err(|e| ApiError::bad_request(format!("{path}: {e}"))),
    }
}

fn kept_file(path: &str, field: &str) -> ApiError {
    ApiError::bad_request(format!(
        "{path}: must carry {field}; files that a provider keeps are not known here"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_chat(body: &Value) -> Result<Value, ApiError> {
        let bytes = body.to_string();
        let read = read(&RawObject::parse(bytes.as_bytes()).unwrap())?;
        Ok(serde_json::to_value(read).unwrap())
    }

    #[test]
    fn items_become_messages() {
        let sealed = opaque::seal(&[json!({"type": "thinking", "thinking": "hm", "signature": "s"})]);
        let got = try_chat(&json!({
            "model": "e", "instructions": "be nice", "max_output_tokens": 7, "store": false, "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "high", "summary": "auto"}, "parallel_tool_calls": true, "tool_choice": "auto",
            "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "a", "strict": true, "schema": {"type": "object"}}},
            "tools": [{"type": "function", "name": "f"}],
            "input": [
                {"role": "developer", "content": [{"type": "input_text", "text": "d"}]},
                {"role": "user", "content": [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": sealed},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "look"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "*** x"},
                {"type": "function_call_output", "call_id": "c1", "output": "ok"},
                {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "done"}]},
                {"type": "web_search_call", "id": "ws_1", "status": "completed"}]})).unwrap();
        let expected = json!({
            "model": "e", "max_tokens": 7, "reasoning_effort": "high", "verbosity": "low",
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": {"type": "object"}}},
            "messages": [
                {"role": "system", "content": "be nice"},
                {"role": "developer", "content": "d"},
                {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}]},
                {"role": "assistant", "content": "look", "reasoning_content": "hm",
                    "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                        {"id": "c2", "type": "function", "function": {"name": "p", "arguments": "{\"input\":\"*** x\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "ok"},
                {"role": "tool", "tool_call_id": "c2", "content": "done"}]});
        assert_eq!(got, expected);
    }

    #[test]
    fn what_needs_state_or_is_unknown_is_refused_by_name() {
        for (extra, named) in [
            (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
            (json!({"conversation": {"id": "c"}}), "conversation"),
            (json!({"background": true}), "background"),
            (json!({"store": true}), "store"),
            (json!({"input": []}), "input"),
            (json!({"input": [{"type": "item_reference", "id": "x"}]}), "input[0]"),
            (json!({"input": [{"type": "hologram"}]}), "input[0].type"),
            (json!({"input": [{"role": "robot", "content": "x"}]}), "input[0].role"),
            (json!({"tool_choice": "required", "tools": [{"type": "web_search"}]}), "tool_choice"),
        ] {
            let mut body = json!({"input": "x"});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let error = try_chat(&body).unwrap_err();
            assert!(error.message.starts_with(named), "{named}: {}", error.message);
        }
        assert!(try_chat(&json!({"input": "x", "previous_response_id": null, "background": false})).is_ok());
    }
}
