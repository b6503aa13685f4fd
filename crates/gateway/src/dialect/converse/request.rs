//! A Converse request as a chat request.

use serde::Deserialize;
use serde_json::{Value, json};
use wire::Object;
use wire::chat::{ChatRequest, Content, FunctionSpec, ImageUrl, Message, OneOrMany, Part, Tool, ToolCall};
use wire::error::ApiError;
use wire::raw::RawObject;

use super::unblob;
use crate::dialect::{self, messages};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    messages: Vec<Turn>,
    #[serde(default)]
    system: Option<Vec<Value>>,
    #[serde(default)]
    inference_config: Option<Inference>,
    #[serde(default)]
    tool_config: Option<Tools>,
    #[serde(default)]
    additional_model_request_fields: Option<Object>,
    #[serde(default)]
    output_config: Option<Value>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Inference {
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    stop_sequences: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tools {
    tools: Vec<Value>,
    tool_choice: Option<Object>,
}

/// Fields that mean something to the service of this format alone, and would change what is answered.
const ITS_OWN: [&str; 2] = ["guardrailConfig", "promptVariables"];

pub(super) fn read(body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
    if let Some(field) = ITS_OWN.iter().find(|field| body.raw(field).is_some_and(|raw| raw.get() != "null")) {
        return Err(ApiError::bad_request(format!(
            "{field}: is for models of the service of this format, and this endpoint's model is none of them"
        )));
    }
    let request: Request = dialect::read(body, "converse")?;
    if request.messages.is_empty() {
        return Err(ApiError::bad_request("messages: at least one message is required"));
    }
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    let system = parts("system", request.system.unwrap_or_default())?;
    if !system.is_empty() {
        messages.push(said("system", system));
    }
    for (at, turn) in request.messages.into_iter().enumerate() {
        read_turn(&format!("messages[{at}]"), turn, &mut messages)?;
    }
    let Inference { max_tokens, temperature, top_p, stop_sequences } =
        request.inference_config.unwrap_or_default();
    let Tools { tools, tool_choice } = request.tool_config.unwrap_or_default();
    let tools = read_tools(tools)?;
    let more = request.additional_model_request_fields.unwrap_or_default();
    let thinking = more.get("thinking").or_else(|| more.get("reasoning_config")).cloned();
    let thinking = thinking.filter(|thinking| thinking.is_object() && thinking["type"] != "disabled");
    Ok(ChatRequest {
        messages,
        max_tokens,
        temperature,
        top_p,
        top_k: more.get("top_k").and_then(Value::as_u64),
        stop: stop_sequences.filter(|stops| !stops.is_empty()).map(OneOrMany::Many),
        tool_choice: tool_choice.filter(|_| !tools.is_empty()).as_ref().and_then(read_choice),
        tools: (!tools.is_empty()).then_some(tools),
        response_format: response_format(request.output_config.as_ref())?,
        reasoning_effort: messages::effort(effort(&more), thinking.as_ref()),
        thinking,
        ..ChatRequest::default()
    })
}

/// Each family of models has its own word for it.
fn effort(more: &Object) -> Option<&Value> {
    let nested = |field: &str, key: &str| more.get(field)?.get(key);
    more.get("reasoning_effort")
        .or_else(|| nested("output_config", "effort"))
        .or_else(|| nested("reasoningConfig", "maxReasoningEffort"))
}

fn said(role: &str, parts: Vec<Part>) -> Message {
    Message { role: role.to_owned(), content: Some(Content::Parts(parts)), ..Message::default() }
}

fn read_turn(path: &str, turn: Turn, out: &mut Vec<Message>) -> Result<(), ApiError> {
    match turn.role.as_str() {
        "assistant" => out.push(assistant(path, turn.content)?),
        "user" | "system" => {
            let (mut others, mut after_result) = (Vec::new(), false);
            for mut block in turn.content {
                if let Some(result) = block.get_mut("toolResult") {
                    out.push(tool_result(path, result.take())?);
                    after_result = true;
                } else if after_result
                    && let Some(point) = block.get("cachePoint")
                    && let Some(result) = out.last_mut()
                {
                    // The end of what is kept belongs to what stands before it.
                    keep_up_to(result, point);
                } else {
                    after_result = false;
                    others.push(block);
                }
            }
            let parts = parts(path, others)?;
            if !parts.is_empty() {
                out.push(said(&turn.role, parts));
            }
        }
        other => {
            let message = format!("{path}.role: {other:?} is none of user, assistant, system");
            return Err(ApiError::bad_request(message));
        }
    }
    Ok(())
}

fn tool_result(path: &str, mut result: Value) -> Result<Message, ApiError> {
    let blocks = result["content"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let mut parts = parts(&format!("{path}.toolResult"), blocks)?;
    let content = match parts.as_mut_slice() {
        [] => Content::Text(String::new()),
        [Part { kind, text: Some(text), cache_control: None, .. }] if kind == "text" => {
            Content::Text(std::mem::take(text))
        }
        _ => Content::Parts(parts),
    };
    let mut message = Message {
        role: "tool".to_owned(),
        tool_call_id: result["toolUseId"].as_str().map(str::to_owned),
        content: Some(content),
        ..Message::default()
    };
    if result["status"] == "error" {
        message.extra.insert("is_error".to_owned(), true.into());
    }
    Ok(message)
}

/// Marks the message as the end of what is kept.
fn keep_up_to(message: &mut Message, point: &Value) {
    message.extra.insert("cache_control".to_owned(), cache_control(point));
}

fn assistant(path: &str, blocks: Vec<Value>) -> Result<Message, ApiError> {
    let (mut others, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reasoning, mut kept) = (String::new(), None);
    for block in blocks {
        if let Some(call) = block.get("toolUse") {
            let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
            calls.push(ToolCall::with_input(text("toolUseId"), text("name"), &call["input"]));
        } else if !calls.is_empty() && block.get("cachePoint").is_some() {
            // Calls end a turn.
            kept = block.get("cachePoint").cloned();
        } else if let Some(thought) = block.get("reasoningContent") {
            let (text, signature) =
                (&thought["reasoningText"]["text"], &thought["reasoningText"]["signature"]);
            reasoning.push_str(text.as_str().unwrap_or_default());
            if signature.as_str().is_some_and(|signature| !signature.is_empty()) {
                thoughts.push(json!({"type": "thinking", "thinking": text, "signature": signature}));
            }
            if let Some(data) = thought["redactedContent"].as_str().and_then(unblob) {
                thoughts.push(json!({"type": "redacted_thinking", "data": data}));
            }
        } else {
            others.push(block);
        }
    }
    let parts = parts(path, others)?;
    let mut message = Message {
        role: "assistant".to_owned(),
        content: (!parts.is_empty()).then_some(Content::Parts(parts)),
        reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
        thinking_blocks: (!thoughts.is_empty()).then_some(thoughts),
        tool_calls: (!calls.is_empty()).then_some(calls),
        ..Message::default()
    };
    kept.iter().for_each(|point| keep_up_to(&mut message, point));
    Ok(message)
}

/// Blocks as parts. A point up to which the prompt is cached marks the part before it.
fn parts(path: &str, blocks: Vec<Value>) -> Result<Vec<Part>, ApiError> {
    let mut parts: Vec<Part> = Vec::with_capacity(blocks.len());
    for (at, block) in blocks.into_iter().enumerate() {
        if let Some(point) = block.get("cachePoint") {
            if let Some(last) = parts.last_mut() {
                last.cache_control = Some(cache_control(point));
            }
            continue;
        }
        let part = part(&block).ok_or_else(|| {
            let name = block.as_object().and_then(|fields| fields.keys().next()).map_or("", String::as_str);
            ApiError::bad_request(format!("{path}[{at}]: the model cannot be given a block of {name:?}"))
        })?;
        parts.push(part);
    }
    Ok(parts)
}

fn cache_control(point: &Value) -> Value {
    let mut control = json!({"type": "ephemeral"});
    if let Some(ttl) = point["ttl"].as_str() {
        control["ttl"] = ttl.into();
    }
    control
}

fn part(block: &Value) -> Option<Part> {
    let (kind, inner) = block.as_object()?.iter().next()?;
    let format = || inner["format"].as_str();
    match kind.as_str() {
        "text" => Some(text(inner.as_str()?)),
        "json" => Some(text(&inner.to_string())),
        "guardContent" => Some(text(inner["text"]["text"].as_str()?)),
        "image" => {
            let url = format!("data:image/{};base64,{}", format()?, inner["source"]["bytes"].as_str()?);
            let image_url = Some(ImageUrl { url, ..ImageUrl::default() });
            Some(Part { kind: "image_url".to_owned(), image_url, ..Part::default() })
        }
        "document" => document(inner),
        "audio" => {
            let audio = json!({"data": inner["source"]["bytes"].as_str()?, "format": format()?});
            Some(other("input_audio", audio))
        }
        _ => None,
    }
}

fn text(text: &str) -> Part {
    Part { kind: "text".to_owned(), text: Some(text.to_owned()), ..Part::default() }
}

fn other(kind: &str, payload: Value) -> Part {
    Part { kind: kind.to_owned(), extra: Object::from_iter([(kind.to_owned(), payload)]), ..Part::default() }
}

fn document(document: &Value) -> Option<Part> {
    let source = &document["source"];
    if let Some(said) = source["text"].as_str() {
        return Some(text(said));
    }
    let kind = match document["format"].as_str()? {
        "pdf" => "application/pdf",
        "csv" => "text/csv",
        "html" => "text/html",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => return None,
    };
    let mut file = json!({"file_data": format!("data:{kind};base64,{}", source["bytes"].as_str()?)});
    if let Some(name) = document["name"].as_str() {
        file["filename"] = name.into();
    }
    Some(other("file", file))
}

fn read_tools(given: Vec<Value>) -> Result<Vec<Tool>, ApiError> {
    let mut tools: Vec<Tool> = Vec::with_capacity(given.len());
    for (at, mut tool) in given.into_iter().enumerate() {
        if let Some(point) = tool.get("cachePoint") {
            if let Some(last) = tools.last_mut() {
                last.cache_control = Some(cache_control(point));
            }
            continue;
        }
        let Some(spec) = tool.get_mut("toolSpec").filter(|spec| spec["name"].is_string()) else {
            let message =
                format!("toolConfig.tools[{at}]: only toolSpec, with a name, and cachePoint are understood");
            return Err(ApiError::bad_request(message));
        };
        let text = |key: &str| spec[key].as_str().map(str::to_owned);
        let function = FunctionSpec {
            name: text("name").unwrap_or_default(),
            description: text("description"),
            strict: spec["strict"].as_bool(),
            parameters: spec.get("inputSchema").and_then(|schema| schema.get("json")).cloned(),
            ..FunctionSpec::default()
        };
        tools.push(Tool { kind: "function".to_owned(), function: Some(function), ..Tool::default() });
    }
    Ok(tools)
}

/// What means the same as saying nothing is not said.
fn read_choice(choice: &Object) -> Option<Value> {
    let (kind, inner) = choice.iter().find(|(_, inner)| !inner.is_null())?;
    match kind.as_str() {
        "any" => Some("required".into()),
        "tool" => Some(json!({"type": "function", "function": {"name": inner["name"]}})),
        _ => None,
    }
}

/// The schema comes as text.
fn response_format(config: Option<&Value>) -> Result<Option<Value>, ApiError> {
    let Some(format) = config.map(|config| &config["textFormat"]).filter(|format| !format.is_null()) else {
        return Ok(None);
    };
    let format = &format["structure"]["jsonSchema"];
    let schema: Object = serde_json::from_str(format["schema"].as_str().unwrap_or_default()).map_err(|e| {
        let message = format!(
            "outputConfig.textFormat.structure.jsonSchema.schema: must be a JSON schema, an object as text: {e}"
        );
        ApiError::bad_request(message)
    })?;
    let name = format["name"].as_str().unwrap_or("answer");
    Ok(Some(json!({"type": "json_schema", "json_schema": {"name": name, "strict": true, "schema": schema}})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: Value) -> Result<Value, ApiError> {
        let bytes = body.to_string();
        let read = read(&RawObject::parse(bytes.as_bytes()).unwrap())?;
        Ok(serde_json::to_value(read).unwrap())
    }

    #[test]
    fn a_conversation_with_tools_becomes_chat() {
        let got = chat(json!({
            "system": [{"text": "be brief"}, {"cachePoint": {"type": "default"}}],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]},
            "additionalModelRequestFields": {"top_k": 7, "thinking": {"type": "enabled", "budget_tokens": 1024}, "other": 1},
            "requestMetadata": {"a": "b"},
            "toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}},
                {"cachePoint": {"type": "default"}}], "toolChoice": {"any": {}}},
            "messages": [
                {"role": "user", "content": [{"text": "hi"}, {"image": {"format": "png", "source": {"bytes": "AA=="}}},
                    {"document": {"format": "pdf", "name": "n", "source": {"bytes": "AA=="}}}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                    {"reasoningContent": {"redactedContent": "cg=="}},
                    {"text": "look"}, {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "t1", "status": "error", "content": [{"json": {"n": 1}}]}}, {"text": "and?"}]}]}))
        .unwrap();
        let cache = json!({"type": "ephemeral"});
        let expected = json!({
            "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 7, "stop": ["x"], "tool_choice": "required",
            "reasoning_effort": "low", "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [{"type": "function", "cache_control": cache, "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "be brief", "cache_control": cache}]},
                {"role": "user", "content": [{"type": "text", "text": "hi"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "n"}}]},
                {"role": "assistant", "content": [{"type": "text", "text": "look"}], "reasoning_content": "hm",
                    "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "r"}],
                    "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
                {"role": "tool", "tool_call_id": "t1", "is_error": true, "content": "{\"n\":1}"},
                {"role": "user", "content": [{"type": "text", "text": "and?"}]}]});
        assert_eq!(got, expected);
    }

    #[test]
    fn a_schema_is_text_and_a_choice_names_its_tool() {
        let got = chat(json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "toolConfig": {"tools": [{"toolSpec": {"name": "f"}}], "toolChoice": {"tool": {"name": "f"}}},
            "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{\"type\":\"object\"}", "name": "n"}}}}}))
        .unwrap();
        assert_eq!(got["tool_choice"], json!({"type": "function", "function": {"name": "f"}}));
        assert_eq!(got["response_format"]["json_schema"]["schema"], json!({"type": "object"}));
    }

    #[test]
    fn what_is_kept_up_to_the_results_of_tools_is_marked() {
        let result = |id: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": "r"}]}});
        let point = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
        let sent = |content: Value| {
            let got = chat(json!({"messages": [{"role": "user", "content": content}]})).unwrap();
            got["messages"].as_array().unwrap().clone()
        };
        let marker = json!({"type": "ephemeral", "ttl": "1h"});
        let got = sent(json!([result("a"), result("b"), point]));
        assert_eq!((got.len(), got[0].get("cache_control"), &got[1]["cache_control"]), (2, None, &marker));
        let got = sent(json!([result("a"), {"text": "q"}, point]));
        assert_eq!((got[0].get("cache_control"), &got[1]["content"][0]["cache_control"]), (None, &marker));
        let call = json!({"toolUse": {"toolUseId": "a", "name": "f", "input": {}}});
        let turns = json!({"messages": [{"role": "assistant", "content": [{"text": "look"}, call, point]}]});
        let got = &chat(turns).unwrap()["messages"][0];
        assert_eq!((&got["cache_control"], got["content"][0].get("cache_control")), (&marker, None));
    }

    #[test]
    fn what_has_no_counterpart_is_refused_by_name() {
        let turn = json!({"role": "user", "content": [{"text": "hi"}]});
        for (body, named) in [
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"role": "robot", "content": []}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user", "content": [{"video": {}}]}]}), "messages[0][0]"),
            (
                json!({"messages": [turn], "outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "{oops"}}}}}),
                "outputConfig.textFormat.structure.jsonSchema.schema",
            ),
            (json!({"messages": [turn], "guardrailConfig": {"guardrailIdentifier": "g"}}), "guardrailConfig"),
            (
                json!({"messages": [turn], "toolConfig": {"tools": [{"systemTool": {"name": "x"}}]}}),
                "toolConfig.tools[0]",
            ),
        ] {
            let error = chat(body).unwrap_err();
            assert!(error.status == 400 && error.message.starts_with(named), "{}", error.message);
        }
    }
}
