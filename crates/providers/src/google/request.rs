//! Unified request to `generateContent`.

use ::wire::Object;
use ::wire::chat::ChatRequest;
use serde_json::{Value, json};

use super::content::Conversation;
use super::{models, schema, tools};
use crate::codec::{Encoded, Refused};
use crate::names::Names;

/// Fields of the API's own that pass as they come, and how they may be spelled in requests.
const OWN_FIELDS: [(&str, &str); 3] =
    [("safetySettings", "safety_settings"), ("cachedContent", "cached_content"), ("labels", "labels")];

pub(super) fn encode(model: &str, request: &ChatRequest, call_ids: bool) -> Result<Encoded, Refused> {
    let mut names = Names::default();
    // The names of tools first: those that go as they are must not be taken by renamed ones.
    let mut body = Object::new();
    let tools = tools::encode(model, request, &mut names)?;
    let signatures = models::thinks_by_level(model);
    let conversation = Conversation::read(&request.messages, &mut names, call_ids, signatures)?;
    if conversation.contents.is_empty() {
        return Err(Refused::new(
            "messages",
            "needs at least one user or assistant message that is not empty",
        ));
    }
    body.insert("contents".to_owned(), Value::Array(conversation.contents));
    if !conversation.system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": conversation.system}));
    }
    body.extend(tools);
    let config = generation_config(model, request)?;
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(config));
    }
    for (sent, spelled) in OWN_FIELDS {
        if let Some(value) = request.extra.get(sent).or_else(|| request.extra.get(spelled)) {
            body.insert(sent.to_owned(), value.clone());
        }
    }
    Ok(Encoded { body: Value::Object(body), names })
}

fn generation_config(model: &str, request: &ChatRequest) -> Result<Object, Refused> {
    let mut config = Object::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|v| !v.is_null()) {
            config.insert(key.to_owned(), value);
        }
    };
    set("maxOutputTokens", request.output_bound().map(Value::from));
    set("temperature", request.temperature.map(Value::from));
    set("topP", request.top_p.map(Value::from));
    set("topK", request.top_k.map(Value::from));
    set("candidateCount", request.n.filter(|n| *n != 1).map(Value::from));
    let stops = request.stop.as_ref().map(|s| s.as_slice()).unwrap_or_default();
    // An empty stop sequence is a 400 upstream.
    let stops: Vec<&String> = stops.iter().filter(|s| !s.is_empty()).collect();
    set("stopSequences", (!stops.is_empty()).then(|| json!(stops)));
    set("seed", request.extra.get("seed").cloned());
    set("presencePenalty", request.extra.get("presence_penalty").cloned());
    set("frequencyPenalty", request.extra.get("frequency_penalty").cloned());
    if request.extra.get("logprobs").is_some_and(|asked| *asked == true) {
        set("responseLogprobs", Some(true.into()));
        set("logprobs", request.extra.get("top_logprobs").filter(|n| **n != 0).cloned());
    }
    response_format(model, request, &mut config)?;
    if let Some(thinking) = thinking(model, request) {
        config.insert("thinkingConfig".to_owned(), thinking);
    }
    Ok(config)
}

fn response_format(model: &str, request: &ChatRequest, config: &mut Object) -> Result<(), Refused> {
    let Some(format) = &request.response_format else { return Ok(()) };
    match format["type"].as_str() {
        Some("text") => return Ok(()),
        Some("json_object") => {}
        Some("json_schema") => {
            let given = format["json_schema"].get("schema").filter(|s| s.is_object());
            let Some(given) = given else {
                return Err(Refused::new("response_format.json_schema.schema", "is required"));
            };
            let (key, schema) = if models::takes_json_schema(model) {
                ("responseJsonSchema", given.clone())
            } else {
                ("responseSchema", schema::reduce(given))
            };
            config.insert(key.to_owned(), schema);
        }
        other => {
            let given = other.unwrap_or_default();
            let reason = format!("{given:?} is none of text, json_object, json_schema");
            return Err(Refused::new("response_format.type", reason));
        }
    }
    config.insert("responseMimeType".to_owned(), "application/json".into());
    Ok(())
}

/// From `thinking`, which goes first, or `reasoning_effort`, which says how long where `thinking` does not.
/// A model that does not think answers without.
fn thinking(model: &str, request: &ChatRequest) -> Option<Value> {
    if !models::thinks(model) {
        return None;
    }
    let given = request.thinking.as_ref();
    if given.is_some_and(|given| given["type"] == "disabled") {
        return Some(effort(model, "none"));
    }
    if let Some(budget) = given.and_then(|given| given["budget_tokens"].as_u64()) {
        return Some(json!({"thinkingBudget": budget, "includeThoughts": true}));
    }
    match request.reasoning_effort.as_deref() {
        Some(asked) => Some(effort(model, asked)),
        // How long is left to the model.
        None => given.map(|_| json!({"thinkingBudget": -1, "includeThoughts": true})),
    }
}

fn effort(model: &str, effort: &str) -> Value {
    let mut config = if models::thinks_by_level(model) {
        json!({"thinkingLevel": models::level(model, effort)})
    } else {
        json!({"thinkingBudget": models::budget(model, effort)})
    };
    if effort != "none" {
        config["includeThoughts"] = true.into();
    }
    config
}
