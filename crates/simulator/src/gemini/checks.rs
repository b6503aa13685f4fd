//! What the API refuses.

use serde_json::Value;

use super::{parts, results};
use crate::format::{Call, Refusal};

const FIELDS: [&str; 8] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
    "labels",
];
const CONFIG: [&str; 20] = [
    "candidateCount",
    "frequencyPenalty",
    "logprobs",
    "maxOutputTokens",
    "mediaResolution",
    "presencePenalty",
    "responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "seed",
    "speechConfig",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
    "audioTimestamp",
    "routingConfig",
];
const PARTS: [&str; 9] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "thought",
    "thoughtSignature",
];
const MAX_STOPS: usize = 5;

/// The turns of a request that the API would take.
pub(super) fn contents<'a>(call: &Call<'a>) -> Result<&'a [Value], Refusal> {
    if call.model.is_empty() {
        return Err(Refusal::bad_request("the path names no model"));
    }
    only(call.body, &FIELDS, "")?;
    if let Some(config) = call.body.get("generationConfig") {
        only(config, &CONFIG, " at 'generation_config'")?;
        let stops = config.get("stopSequences").and_then(Value::as_array);
        if stops.is_some_and(|stops| stops.len() > MAX_STOPS || stops.iter().any(|stop| stop == "")) {
            return Err(Refusal::bad_request("stop sequences must be at most 5, none of them empty"));
        }
    }
    let contents = call.body.get("contents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if contents.is_empty() {
        return Err(Refusal::bad_request("contents is not specified"));
    }
    // One of the two APIs has no ids of calls.
    let ids = !call.path.contains("/projects/");
    contents.iter().try_for_each(|content| turn(content, ids))?;
    contents.windows(2).try_for_each(neighbours)?;
    if call.model.starts_with("gemini-3") {
        contents.iter().try_for_each(signed)?;
    }
    Ok(contents)
}

fn only(value: &Value, known: &[&str], place: &str) -> Result<(), Refusal> {
    let Some(fields) = value.as_object() else {
        return Err(Refusal::bad_request(format!("Invalid value{place}: an object is expected")));
    };
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(Refusal::bad_request(format!(
            "Invalid JSON payload received. Unknown name \"{unknown}\"{place}: Cannot find field."
        ))),
        None => Ok(()),
    }
}

fn turn(content: &Value, ids: bool) -> Result<(), Refusal> {
    only(content, &["role", "parts"], " at 'contents'")?;
    if !content.get("role").is_none_or(|role| role == "user" || role == "model") {
        return Err(Refusal::bad_request("Please use a valid role: user, model."));
    }
    let parts = parts(content).as_array().map(Vec::as_slice).unwrap_or_default();
    if parts.is_empty() {
        return Err(Refusal::bad_request(
            "Unable to submit request because it must include at least one parts field",
        ));
    }
    for part in parts {
        only(part, &PARTS, " at 'contents.parts'")?;
        for key in ["functionCall", "functionResponse"] {
            let Some(function) = part.get(key) else { continue };
            if !ids && function.get("id").is_some() {
                let message = format!(
                    "Invalid JSON payload received. Unknown name \"id\" at '{key}': Cannot find field."
                );
                return Err(Refusal::bad_request(message));
            }
            let object = if key == "functionCall" { "args" } else { "response" };
            if function.get("name").is_none() || !function.get(object).is_some_and(Value::is_object) {
                return Err(Refusal::bad_request(format!("{key} must have a name and {object}, an object")));
            }
        }
    }
    let answered = results(content).count();
    if answered > 0 && answered < parts.len() {
        return Err(Refusal::bad_request("the results of calls must be alone in their turn"));
    }
    Ok(())
}

/// The first call of a turn must come back with its signature, or with what is accepted for it.
fn signed(content: &Value) -> Result<(), Refusal> {
    let mut parts = parts(content).as_array().into_iter().flatten();
    match parts.find(|part| part.get("functionCall").is_some()) {
        Some(call) if call.get("thoughtSignature").is_none() => {
            Err(Refusal::bad_request("Function call is missing a thought_signature in functionCall parts."))
        }
        _ => Ok(()),
    }
}

fn calls(content: &Value) -> usize {
    let parts = parts(content).as_array().into_iter().flatten();
    parts.filter(|part| part.get("functionCall").is_some()).count()
}

fn neighbours(pair: &[Value]) -> Result<(), Refusal> {
    let [before, after] = pair else { return Ok(()) };
    let (called, answered) = (calls(before), results(after).count());
    if answered != called && (called > 0 || answered > 0) {
        return Err(Refusal::bad_request(
            "Please ensure that the number of function response parts is equal to the number of function call parts \
             of the function call turn.",
        ));
    }
    let same = before.get("role") == after.get("role") && results(before).next().is_none();
    if same {
        return Err(Refusal::bad_request(
            "Please ensure that multiturn requests alternate between user and model.",
        ));
    }
    Ok(())
}
