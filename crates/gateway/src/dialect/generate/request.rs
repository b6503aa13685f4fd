//! Contents as a chat request.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};
use wire::Object;
use wire::chat::{ChatRequest, Content, FunctionSpec, ImageUrl, Message, OneOrMany, Part, Tool, ToolCall};
use wire::error::ApiError;
use wire::raw::RawObject;

use crate::dialect::{self, opaque};

/// Clients spell names both ways.
#[derive(Deserialize)]
struct Request {
    contents: Option<Value>,
    #[serde(alias = "system_instruction", rename = "systemInstruction")]
    system: Option<Value>,
    tools: Option<Vec<Value>>,
    #[serde(alias = "tool_config", rename = "toolConfig")]
    tool_config: Option<Value>,
    #[serde(alias = "generation_config", rename = "generationConfig", default)]
    generation: Option<Generation>,
    #[serde(alias = "cached_content", rename = "cachedContent")]
    cached: Option<Value>,
    /// Of `countTokens`: the request whose length is asked for.
    #[serde(alias = "generate_content_request", rename = "generateContentRequest")]
    inner: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generation {
    temperature: Option<f64>,
    #[serde(alias = "top_p")]
    top_p: Option<f64>,
    #[serde(alias = "top_k")]
    top_k: Option<f64>,
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "stop_sequences")]
    stop_sequences: Option<Vec<String>>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u64>,
    #[serde(alias = "response_mime_type")]
    response_mime_type: Option<String>,
    #[serde(alias = "response_schema")]
    response_schema: Option<Value>,
    #[serde(alias = "response_json_schema")]
    response_json_schema: Option<Value>,
    #[serde(alias = "presence_penalty")]
    presence_penalty: Option<f64>,
    #[serde(alias = "frequency_penalty")]
    frequency_penalty: Option<f64>,
    seed: Option<i64>,
    #[serde(alias = "thinking_config")]
    thinking_config: Option<Value>,
}

pub(super) fn read(body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
    let request: Request = dialect::read(body, "generateContent")?;
    if request.inner.is_some() {
        return Err(ApiError::bad_request("generateContentRequest: is for countTokens alone"));
    }
    chat(request)
}

/// The same where only the length is asked for, which may be that of a request in the request.
pub(super) fn read_counted(body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
    let mut request: Request = dialect::read(body, "countTokens")?;
    if let Some(inner) = request.inner.take() {
        request = serde_json::from_value(inner)
            .map_err(|e| ApiError::bad_request(format!("generateContentRequest: {e}")))?;
    }
    chat(request)
}

fn chat(request: Request) -> Result<ChatRequest, ApiError> {
    if request.cached.is_some_and(|cached| !cached.is_null()) {
        return Err(ApiError::bad_request(
            "cachedContent: the model behind this endpoint keeps nothing between calls; send the contents",
        ));
    }
    let mut turns = Turns::default();
    if let Some(system) = request.system {
        let parts = parts(&system).filter_map(|part| part["text"].as_str()).collect::<String>();
        turns.messages.push(said("system", Content::Text(parts)));
    }
    turns.read_all(request.contents)?;
    let generation = request.generation.unwrap_or_default();
    if generation.candidate_count.is_some_and(|count| count > 1) {
        return Err(ApiError::bad_request("generationConfig.candidateCount: one candidate is given a call"));
    }
    let tools = tools(&request.tools.unwrap_or_default())?;
    let choice = request.tool_config.as_ref().and_then(tool_choice);
    Ok(ChatRequest {
        messages: turns.messages,
        tool_choice: choice.filter(|_| !tools.is_empty()),
        tools: (!tools.is_empty()).then_some(tools),
        ..settings(generation)
    })
}

fn settings(generation: Generation) -> ChatRequest {
    let mut extra = Object::new();
    let mut keep = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            extra.insert(name.to_owned(), value);
        }
    };
    keep("presence_penalty", generation.presence_penalty.map(Value::from));
    keep("frequency_penalty", generation.frequency_penalty.map(Value::from));
    keep("seed", generation.seed.map(Value::from));
    let schema = generation.response_json_schema.or(generation.response_schema.map(json_schema));
    let wants_json = generation.response_mime_type.as_deref() == Some("application/json");
    let response_format = match schema {
        Some(schema) => {
            Some(json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}))
        }
        None => wants_json.then(|| json!({"type": "json_object"})),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, which some clients send as a float"
    )]
    let top_k = generation.top_k.map(|top_k| top_k as u64);
    ChatRequest {
        max_tokens: generation.max_output_tokens,
        temperature: generation.temperature,
        top_p: generation.top_p,
        top_k,
        stop: generation.stop_sequences.filter(|stops| !stops.is_empty()).map(OneOrMany::Many),
        response_format,
        reasoning_effort: generation.thinking_config.as_ref().and_then(effort),
        extra,
        ..ChatRequest::default()
    }
}

fn said(role: &str, content: Content) -> Message {
    Message { role: role.to_owned(), content: Some(content), ..Message::default() }
}

/// The parts of a content, which may be a text alone.
fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    content["parts"].as_array().into_iter().flatten().chain(content.get("parts").filter(|p| p.is_object()))
}

/// A field in either spelling.
fn either<'a>(value: &'a Value, camel: &str, snake: &str) -> Option<&'a Value> {
    value.get(camel).or_else(|| value.get(snake)).filter(|field| !field.is_null())
}

/// The turns read so far. The format names functions where chat has ids of calls.
#[derive(Default)]
struct Turns {
    messages: Vec<Message>,
    /// Name and id of the calls that have no result yet, in order.
    waiting: VecDeque<(String, String)>,
    calls: usize,
}

impl Turns {
    fn read_all(&mut self, contents: Option<Value>) -> Result<(), ApiError> {
        let contents = match contents {
            Some(Value::Array(contents)) if !contents.is_empty() => contents,
            Some(Value::Object(content)) => vec![Value::Object(content)],
            _ => return Err(ApiError::bad_request("contents is required: a list of at least one content")),
        };
        for (at, content) in contents.iter().enumerate() {
            match content["role"].as_str().unwrap_or("user") {
                "model" => self.model(content),
                "user" | "function" => self.user(content),
                other => {
                    return Err(ApiError::bad_request(format!(
                        "contents[{at}].role: {other:?} is none of user, model"
                    )));
                }
            }
        }
        Ok(())
    }

    fn model(&mut self, content: &Value) {
        let mut message = Message { role: "assistant".to_owned(), ..Message::default() };
        let (mut shown, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
        let mut reasoning = String::new();
        for part in parts(content) {
            let signature = either(part, "thoughtSignature", "thought_signature").and_then(Value::as_str);
            thoughts.extend(signature.and_then(opaque::open).into_iter().flatten());
            if let Some(call) = either(part, "functionCall", "function_call") {
                calls.push(self.call(call));
            } else if part["thought"] == true {
                reasoning.push_str(part["text"].as_str().unwrap_or_default());
            } else {
                shown.extend(read_part(part));
            }
        }
        message.content = (!shown.is_empty()).then(|| content_of(shown));
        message.tool_calls = (!calls.is_empty()).then_some(calls);
        message.thinking_blocks = (!thoughts.is_empty()).then_some(thoughts);
        message.reasoning_content = (!reasoning.is_empty()).then_some(reasoning);
        if message != (Message { role: "assistant".to_owned(), ..Message::default() }) {
            self.messages.push(message);
        }
    }

    fn call(&mut self, call: &Value) -> ToolCall {
        self.calls += 1;
        let name = call["name"].as_str().unwrap_or_default().to_owned();
        let id = call["id"].as_str().map_or_else(|| format!("call_{}", self.calls), str::to_owned);
        self.waiting.push_back((name.clone(), id.clone()));
        let arguments =
            call.get("args").filter(|args| args.is_object()).map_or("{}".to_owned(), Value::to_string);
        ToolCall::function(id, name, arguments)
    }

    /// Results come before what the user says beside them.
    fn user(&mut self, content: &Value) {
        let mut shown = Vec::new();
        for part in parts(content) {
            match either(part, "functionResponse", "function_response") {
                Some(response) => self.result(response),
                None => shown.extend(read_part(part)),
            }
        }
        if !shown.is_empty() {
            self.messages.push(said("user", content_of(shown)));
        }
    }

    /// The result of the first call of its name that waits, unless it says of which.
    fn result(&mut self, response: &Value) {
        let (id, name) = (response["id"].as_str(), response["name"].as_str().unwrap_or_default());
        let at = self.waiting.iter().position(|(waiting, its)| id.map_or(waiting == name, |id| its == id));
        let waiting = at.and_then(|at| self.waiting.remove(at)).map(|(_, id)| id);
        let id = waiting.or_else(|| id.map(str::to_owned)).unwrap_or_else(|| name.to_owned());
        let result = &response["response"];
        // Texts are wrapped, as the format has objects only.
        let alone = ["output", "result", "content"].iter().find_map(|key| match result.as_object() {
            Some(fields) if fields.len() == 1 => fields.get(*key)?.as_str(),
            _ => None,
        });
        let text = alone.map_or_else(|| result.to_string(), str::to_owned);
        self.messages.push(Message { tool_call_id: Some(id), ..said("tool", Content::Text(text)) });
    }
}

fn content_of(mut parts: Vec<Part>) -> Content {
    if parts.iter().all(|part| part.kind == "text") {
        return Content::Text(parts.drain(..).filter_map(|part| part.text).collect());
    }
    Content::Parts(parts)
}

fn read_part(part: &Value) -> Option<Part> {
    if let Some(text) = part["text"].as_str() {
        return Some(Part { kind: "text".to_owned(), text: Some(text.to_owned()), ..Part::default() });
    }
    let (url, mime) = match (either(part, "inlineData", "inline_data"), either(part, "fileData", "file_data"))
    {
        (Some(data), _) => {
            let mime = either(data, "mimeType", "mime_type")?.as_str()?;
            (format!("data:{mime};base64,{}", data["data"].as_str()?), mime)
        }
        (None, Some(file)) => {
            let mime = either(file, "mimeType", "mime_type").and_then(Value::as_str).unwrap_or_default();
            (either(file, "fileUri", "file_uri")?.as_str()?.to_owned(), mime)
        }
        (None, None) => return None,
    };
    if mime.starts_with("image/") || mime.is_empty() {
        let image_url = Some(ImageUrl { url, ..ImageUrl::default() });
        return Some(Part { kind: "image_url".to_owned(), image_url, ..Part::default() });
    }
    let extra = Object::from_iter([("file".to_owned(), json!({"file_data": url}))]);
    Some(Part { kind: "file".to_owned(), extra, ..Part::default() })
}

fn tools(tools: &[Value]) -> Result<Vec<Tool>, ApiError> {
    let mut out = Vec::new();
    let mut own = None;
    for tool in tools {
        let declared = either(tool, "functionDeclarations", "function_declarations");
        out.extend(declared.and_then(Value::as_array).into_iter().flatten().map(function));
        let mut names = tool.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        own = own
            .or_else(|| names.find(|name| !["functionDeclarations", "function_declarations"].contains(name)));
    }
    match own {
        Some(own) if out.is_empty() => Err(ApiError::bad_request(format!(
            "tools: {own} is run by the provider of this format, and the model behind this endpoint has no such tool"
        ))),
        _ => Ok(out),
    }
}

fn function(declared: &Value) -> Tool {
    let text = |key: &str| declared[key].as_str().map(str::to_owned);
    let schema = either(declared, "parametersJsonSchema", "parameters_json_schema").cloned();
    let parameters = schema.or_else(|| declared.get("parameters").cloned().map(json_schema));
    let function = FunctionSpec {
        name: text("name").unwrap_or_default(),
        description: text("description"),
        parameters,
        ..FunctionSpec::default()
    };
    Tool { kind: "function".to_owned(), function: Some(function), ..Tool::default() }
}

/// The format's own schemas as JSON schema: types in lower case, null a type among others.
fn json_schema(mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        let nullable = fields.shift_remove("nullable").is_some_and(|nullable| nullable == true);
        if let Some(Value::String(kind)) = fields.get("type") {
            let kind = kind.to_lowercase();
            fields.insert("type".to_owned(), if nullable { json!([kind, "null"]) } else { kind.into() });
        }
        fields.shift_remove("propertyOrdering");
        for (name, value) in fields.iter_mut() {
            match (name.as_str(), value) {
                ("properties", Value::Object(inner)) => {
                    inner.values_mut().for_each(|value| *value = json_schema(value.take()));
                }
                ("items", value) => *value = json_schema(value.take()),
                ("anyOf", Value::Array(inner)) => {
                    inner.iter_mut().for_each(|value| *value = json_schema(value.take()));
                }
                _ => {}
            }
        }
    }
    schema
}

fn tool_choice(config: &Value) -> Option<Value> {
    let calling = either(config, "functionCallingConfig", "function_calling_config")?;
    let allowed = either(calling, "allowedFunctionNames", "allowed_function_names").and_then(Value::as_array);
    match (calling["mode"].as_str()?, allowed.map(Vec::as_slice)) {
        ("NONE", _) => Some("none".into()),
        ("ANY", Some([only])) => Some(json!({"type": "function", "function": {"name": only}})),
        ("ANY", Some(names @ [_, ..])) => {
            let tools: Vec<Value> =
                names.iter().map(|name| json!({"type": "function", "function": {"name": name}})).collect();
            Some(json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}))
        }
        ("ANY", _) => Some("required".into()),
        _ => None,
    }
}

/// A level, or what a budget comes to; a budget of the model's own choosing (-1) says nothing.
fn effort(config: &Value) -> Option<String> {
    if let Some(level) = either(config, "thinkingLevel", "thinking_level").and_then(Value::as_str) {
        return Some(level.to_lowercase());
    }
    let effort = match either(config, "thinkingBudget", "thinking_budget")?.as_i64()? {
        0 => "none",
        1..=1024 => "low",
        1025..=4095 => "medium",
        4096.. => "high",
        _ => return None,
    };
    Some(effort.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_chat(body: &Value) -> Result<Value, ApiError> {
        let bytes = body.to_string();
        Ok(serde_json::to_value(read(&RawObject::parse(bytes.as_bytes()).unwrap())?).unwrap())
    }

    #[test]
    fn contents_become_chat() {
        let got = try_chat(&json!({
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "generationConfig": {"temperature": 0.5, "topK": 3.0, "maxOutputTokens": 9, "stopSequences": ["x"], "seed": 1,
                "responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": true}}},
                "thinkingConfig": {"thinkingBudget": 2000}},
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {"type": {"type": "INTEGER"}}}}]}, {"googleSearch": {}}],
            "contents": [
                {"parts": [{"text": "see"}, {"inlineData": {"mimeType": "image/png", "data": "AA"}}]},
                {"role": "model", "parts": [{"text": "hm", "thought": true}, {"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "f"}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "one"}}}, {"functionResponse": {"name": "f", "response": {"x": 2}}}, {"text": "go on"}]}]})).unwrap();
        let expected = json!({
            "temperature": 0.5, "top_k": 3, "max_tokens": 9, "stop": ["x"], "seed": 1, "reasoning_effort": "medium",
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}}},
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"type": {"type": "integer"}}}}}],
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},
                {"role": "assistant", "reasoning_content": "hm", "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                    {"id": "call_2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "one"},
                {"role": "tool", "tool_call_id": "call_2", "content": "{\"x\":2}"},
                {"role": "user", "content": "go on"}]});
        assert_eq!(got, expected);
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        let contents = json!([{"parts": [{"text": "x"}]}]);
        for (body, named) in [
            (json!({}), "contents"),
            (json!({"contents": [{"role": "robot", "parts": []}]}), "contents[0].role"),
            (json!({"contents": contents, "cachedContent": "c"}), "cachedContent"),
            (
                json!({"contents": contents, "generationConfig": {"candidateCount": 2}}),
                "generationConfig.candidateCount",
            ),
            (json!({"contents": contents, "tools": [{"googleSearch": {}}]}), "tools"),
        ] {
            let error = try_chat(&body).unwrap_err();
            assert!(error.message.starts_with(named), "{named}: {}", error.message);
        }
        let counted = json!({"generateContentRequest": {"contents": contents}});
        assert!(try_chat(&counted).unwrap_err().message.starts_with("generateContentRequest"));
        let bytes = counted.to_string();
        let counted = read_counted(&RawObject::parse(bytes.as_bytes()).unwrap()).unwrap();
        assert_eq!(counted.messages[0].content.as_ref().map(Content::text).as_deref(), Some("x"));
    }
}
