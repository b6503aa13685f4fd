//! Unified request to `/v2/chat`.

use ::wire::Object;
use ::wire::chat::{ChatRequest, FunctionSpec, Tool};
use serde_json::{Value, json};

use super::messages;
use crate::codec::{Encoded, Refused};
use crate::names::Names;
use crate::tool_choice::{Must, ToolChoice};

/// The longest name of a tool that is taken as it is.
pub(super) const MAX_NAME: usize = 64;
/// Fields of the API's own, which callers send as extra parameters.
const OWN_FIELDS: [&str; 5] = ["documents", "citation_options", "safety_mode", "strict_tools", "priority"];

pub(super) fn encode(model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
    if request.n.is_some_and(|n| n > 1) {
        return Err(Refused::new("n", "this provider gives one answer a call"));
    }
    let mut names = Names::default();
    let mut body = Object::new();
    body.insert("model".to_owned(), model.into());
    body.insert("messages".to_owned(), messages::encode(&request.messages, &mut names)?.into());
    tools(request, &mut names, &mut body)?;
    response_format(request, &mut body)?;
    body.extend(sampling(request).into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    if let Some(thinking) = thinking(request) {
        body.insert("thinking".to_owned(), thinking);
    }
    for field in OWN_FIELDS {
        if let Some(value) = request.extra.get(field).filter(|value| !value.is_null()) {
            body.insert(field.to_owned(), value.clone());
        }
    }
    if request.stream == Some(true) {
        body.insert("stream".to_owned(), true.into());
    }
    Ok(Encoded { body: Value::Object(body), names })
}

/// Where the API's range is narrower than the unified one, the nearest value that it takes.
fn sampling(request: &ChatRequest) -> [(&'static str, Option<Value>); 8] {
    let penalty = |name: &str| Some(request.extra.get(name)?.as_f64()?.clamp(0.0, 1.0).into());
    let stops = request.stop.as_ref().map(|s| s.as_slice()).unwrap_or_default();
    let stops: Vec<&String> = stops.iter().filter(|stop| !stop.is_empty()).collect();
    [
        ("max_tokens", request.output_bound().map(Value::from)),
        ("temperature", request.temperature.map(|t| t.max(0.0).into())),
        ("p", request.top_p.map(|p| p.clamp(0.01, 0.99).into())),
        ("k", request.top_k.map(|k| k.min(500).into())),
        ("seed", request.extra.get("seed").and_then(Value::as_u64).map(Value::from)),
        ("frequency_penalty", penalty("frequency_penalty")),
        ("presence_penalty", penalty("presence_penalty")),
        ("stop_sequences", (!stops.is_empty()).then(|| json!(stops))),
    ]
}

/// The API knows `REQUIRED` and `NONE`; a choice that names a tool is the one tool, required.
fn tools(request: &ChatRequest, names: &mut Names, body: &mut Object) -> Result<(), Refused> {
    let offered = request.tools.as_deref().unwrap_or_default();
    if offered.is_empty() {
        return Ok(());
    }
    let choice = ToolChoice::read(request.tool_choice.as_ref())?;
    let only = only(&choice);
    let mut sent = Vec::with_capacity(offered.len());
    let mut strict = true;
    for (at, tool) in offered.iter().enumerate() {
        let function = function(at, tool)?;
        if only.is_some_and(|only| only != function.name) || !choice.allows(tool) {
            continue;
        }
        strict &= function.strict == Some(true);
        sent.push(spec(function, names));
    }
    if let (Some(only), []) = (only, sent.as_slice()) {
        return Err(Refused::new("tool_choice.function.name", format!("no tool is named {only:?}")));
    }
    if sent.is_empty() {
        return Err(ToolChoice::names_none());
    }
    if strict {
        body.insert("strict_tools".to_owned(), true.into());
    }
    body.insert("tools".to_owned(), sent.into());
    match choice.must {
        None | Some(Must::Choose) => {}
        Some(Must::NotCall) => {
            body.insert("tool_choice".to_owned(), "NONE".into());
        }
        Some(Must::Call | Must::CallThe(_)) => {
            body.insert("tool_choice".to_owned(), "REQUIRED".into());
        }
    }
    Ok(())
}

/// The one function that is left where it must be called, since the API knows no names here.
fn only<'a>(choice: &ToolChoice<'a>) -> Option<&'a str> {
    match choice.must? {
        Must::CallThe(name) => Some(name),
        Must::Choose | Must::NotCall | Must::Call => None,
    }
}

fn function(at: usize, tool: &Tool) -> Result<&FunctionSpec, Refused> {
    tool.function.as_ref().ok_or_else(|| {
        let reason = format!("{:?} is no tool of this provider, only functions are", tool.kind);
        Refused::new(format!("tools[{at}].type"), reason)
    })
}

fn spec(function: &FunctionSpec, names: &mut Names) -> Value {
    let mut sent = Object::new();
    sent.insert("name".to_owned(), names.sent(&function.name, MAX_NAME).into());
    if let Some(description) = &function.description {
        sent.insert("description".to_owned(), description.as_str().into());
    }
    // Required, unlike in the unified format.
    let parameters =
        function.parameters.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    sent.insert("parameters".to_owned(), parameters);
    json!({"type": "function", "function": sent})
}

fn response_format(request: &ChatRequest, body: &mut Object) -> Result<(), Refused> {
    let Some(format) = &request.response_format else { return Ok(()) };
    let sent = match format["type"].as_str() {
        Some("text") => return Ok(()),
        Some("json_object") => json!({"type": "json_object"}),
        Some("json_schema") => {
            match format["json_schema"].get("schema").filter(|schema| schema.is_object()) {
                Some(schema) => json!({"type": "json_object", "json_schema": schema}),
                None => return Err(Refused::new("response_format.json_schema.schema", "is required")),
            }
        }
        other => {
            let reason = format!("{:?} is none of text, json_object, json_schema", other.unwrap_or_default());
            return Err(Refused::new("response_format.type", reason));
        }
    };
    body.insert("response_format".to_owned(), sent);
    Ok(())
}

/// From `thinking`, which goes first, or `reasoning_effort`, which says how long where `thinking` does not.
fn thinking(request: &ChatRequest) -> Option<Value> {
    let given = request.thinking.as_ref();
    if given.is_some_and(|given| given["type"] == "disabled") {
        return Some(json!({"type": "disabled"}));
    }
    if let Some(budget) = given.and_then(|given| given["budget_tokens"].as_u64()) {
        return Some(json!({"type": "enabled", "token_budget": budget}));
    }
    let budget = match request.reasoning_effort.as_deref() {
        None => return given.map(|_| json!({"type": "enabled"})),
        Some("none") => return Some(json!({"type": "disabled"})),
        Some("minimal") => 128,
        Some("low") => 1024,
        Some("high") => 4096,
        Some("xhigh") => 8192,
        Some("max") => return Some(json!({"type": "enabled"})),
        Some(_) => 2048,
    };
    Some(json!({"type": "enabled", "token_budget": budget}))
}
