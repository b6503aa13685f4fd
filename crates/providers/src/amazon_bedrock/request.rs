//! Unified request to Converse request.

use ::wire::Object;
use ::wire::chat::ChatRequest;
use serde_json::{Value, json};

use super::content::Conversation;
use super::{Family, reasoning, tools};
use crate::claude;
use crate::codec::{Encoded, Refused};
use crate::names::Names;

pub(super) fn encode(model: &str, family: Family, request: &ChatRequest) -> Result<Encoded, Refused> {
    if request.n.is_some_and(|n| n > 1) {
        return Err(Refused::new("n", "this provider gives one answer a call"));
    }
    let mut names = Names::default();
    let mut conversation = Conversation::read(&request.messages, &mut names)?;
    if conversation.turns.is_empty() {
        return Err(Refused::new(
            "messages",
            "needs at least one user or assistant message that is not blank",
        ));
    }
    let mut body = Object::new();
    let tools = tools::encode(request, &conversation, &mut names)?;
    let mut additional = Object::new();
    let mut output = Object::new();
    let thinking = reasoning::encode(model, family, request, &conversation, &mut additional);
    inference(model, family, request, &thinking, &mut body, &mut additional);
    response_format(family, request, &mut conversation.system, &mut output)?;
    if !conversation.system.is_empty() {
        body.insert("system".to_owned(), Value::Array(std::mem::take(&mut conversation.system)));
    }
    let turns = conversation.turns.into_iter().map(|t| json!({"role": t.role, "content": t.blocks}));
    body.insert("messages".to_owned(), turns.collect());
    if let Some(mut tools) = tools {
        if thinking.budgeted {
            reasoning::relax_forced_tool(&mut tools);
        }
        body.insert("toolConfig".to_owned(), tools);
    }
    for (key, fields) in [("outputConfig", output), ("additionalModelRequestFields", additional)] {
        if !fields.is_empty() {
            body.insert(key.to_owned(), Value::Object(fields));
        }
    }
    Ok(Encoded { body: Value::Object(body), names })
}

fn inference(
    model: &str,
    family: Family,
    request: &ChatRequest,
    thinking: &reasoning::Thinking,
    body: &mut Object,
    additional: &mut Object,
) {
    let mut config = Object::new();
    if let Some(bound) = thinking.bound.or(request.output_bound()) {
        config.insert("maxTokens".to_owned(), bound.into());
    }
    let claude = family == Family::Claude;
    if !thinking.budgeted && (!claude || claude::takes_sampling(model)) {
        // The unified range is 0 to 2, this API's 0 to 1.
        if let Some(temperature) = request.temperature {
            config.insert("temperature".to_owned(), temperature.clamp(0.0, 1.0).into());
        }
        let both = claude && request.temperature.is_some() && !claude::takes_both_samplers(model);
        if let Some(top_p) = request.top_p.filter(|_| !both) {
            config.insert("topP".to_owned(), top_p.into());
        }
        if let Some(top_k) = request.top_k.filter(|_| claude) {
            additional.insert("top_k".to_owned(), top_k.into());
        }
    }
    let stops = request.stop.as_ref().map(|s| s.as_slice()).unwrap_or_default();
    // A stop sequence of white space alone is a 400 upstream.
    let stops: Vec<&String> = stops.iter().filter(|s| !s.trim().is_empty()).collect();
    if !stops.is_empty() {
        config.insert("stopSequences".to_owned(), json!(stops));
    }
    if !config.is_empty() {
        body.insert("inferenceConfig".to_owned(), Value::Object(config));
    }
}

fn response_format(
    family: Family,
    request: &ChatRequest,
    system: &mut Vec<Value>,
    output: &mut Object,
) -> Result<(), Refused> {
    let Some(format) = &request.response_format else { return Ok(()) };
    match format["type"].as_str() {
        Some("text") => Ok(()),
        Some("json_object") => {
            // Converse has no plain JSON mode.
            system.push(json!({ "text": claude::JSON_HINT }));
            Ok(())
        }
        Some("json_schema") => {
            let given = &format["json_schema"];
            let Some(schema) = given.get("schema").filter(|s| s.is_object()) else {
                return Err(Refused::new("response_format.json_schema.schema", "is required"));
            };
            let mut schema = schema.clone();
            if family == Family::Claude {
                claude::close_objects(&mut schema);
            }
            let mut definition = json!({ "schema": schema.to_string() });
            for key in ["name", "description"] {
                if let Some(text) = given[key].as_str() {
                    definition[key] = text.into();
                }
            }
            let format = json!({"type": "json_schema", "structure": {"jsonSchema": definition}});
            output.insert("textFormat".to_owned(), format);
            Ok(())
        }
        other => {
            let given = other.unwrap_or_default();
            let reason = format!("{given:?} is none of text, json_object, json_schema");
            Err(Refused::new("response_format.type", reason))
        }
    }
}
