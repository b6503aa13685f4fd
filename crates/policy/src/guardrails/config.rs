//! `ai_gateway.guardrails` read and checked, field by field.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::keywords::Keywords;
use super::{Behavior, Guard, Guardrails, Judge, Protocol, Rules, Settings};
use crate::endpoint::Invalid;

const PATH: &str = "ai_gateway.guardrails";
const FIELDS: [&str; 6] = ["invalid_keywords", "valid_topics", "safety", "pii", "llm_judge", "custom"];
const MAX_WORDS: usize = 1000;
const MAX_LENGTH: usize = 256;

/// The guardrails that `block` asks for. Errors name the field.
pub fn compile(block: &Value, settings: &Arc<Settings>) -> Result<Guardrails, Invalid> {
    let phases = object(PATH, block)?;
    if let Some((name, _)) =
        phases.iter().find(|(name, value)| !["input", "output"].contains(&name.as_str()) && !value.is_null())
    {
        return Err(invalid(format!("{PATH}.{name}"), "is neither input nor output"));
    }
    let phase = |name: &str| {
        let value = phases.get(name).filter(|value| !value.is_null());
        value.map(|value| guard(&format!("{PATH}.{name}"), value, settings)).transpose()
    };
    let (input, output) = (phase("input")?.flatten(), phase("output")?.flatten());
    Ok(Guardrails { input, output, settings: Arc::clone(settings) })
}

/// As [`compile`], and everything that is asked for can be done: a guardrail that does not guard is worse
/// than none.
pub fn check(block: &Value, settings: &Arc<Settings>) -> Result<(), Invalid> {
    let guardrails = compile(block, settings)?;
    for (name, guard) in [("input", &guardrails.input), ("output", &guardrails.output)] {
        let Some(guard) = guard else { continue };
        let named = !guard.judges.is_empty();
        if guard.safety && !named && settings.judge.is_none() && settings.moderation.is_none() {
            let reason = "is judged by a model, and none is set: set guardrails.judge.endpoint (a chat endpoint of this \
                          server) or guardrails.moderation.url in the server's configuration, or llm_judge.model beside it";
            return Err(invalid(format!("{PATH}.{name}.safety"), reason));
        }
        let speaks_json = settings.judge.as_ref().is_some_and(|judge| judge.protocol == Protocol::Json);
        if !guard.topics.is_empty() && !named && settings.topics.is_none() && !speaks_json {
            let reason = "are judged by a model, and none is set: set guardrails.topics.endpoint (a chat endpoint of this \
                          server), or guardrails.judge.endpoint with the protocol json, in the server's configuration, or \
                          llm_judge.model beside it";
            return Err(invalid(format!("{PATH}.{name}.valid_topics"), reason));
        }
    }
    Ok(())
}

/// The endpoints that `block` names to judge with, each with its field.
pub fn judges(block: &Value) -> impl Iterator<Item = (String, &str)> {
    let fields = [("llm_judge", "model"), ("custom", "endpoint_name")];
    let places = ["input", "output"].into_iter().flat_map(move |phase| fields.map(|field| (phase, field)));
    places.filter_map(move |(phase, (name, field))| {
        let named = block.get(phase)?.get(name)?.get(field)?.as_str()?;
        Some((format!("{PATH}.{phase}.{name}.{field}"), named))
    })
}

fn invalid(path: impl Into<String>, reason: impl Into<String>) -> Invalid {
    Invalid { path: path.into(), reason: reason.into() }
}

fn object<'v>(path: &str, value: &'v Value) -> Result<&'v Map<String, Value>, Invalid> {
    value.as_object().ok_or_else(|| invalid(path, "must be an object"))
}

/// `None` where nothing is asked for.
fn guard(path: &str, value: &Value, settings: &Settings) -> Result<Option<Guard>, Invalid> {
    let fields = object(path, value)?;
    if let Some((name, _)) =
        fields.iter().find(|(name, value)| !FIELDS.contains(&name.as_str()) && !value.is_null())
    {
        return Err(invalid(
            format!("{path}.{name}"),
            format!("is no guardrail; there are {}", FIELDS.join(", ")),
        ));
    }
    let words = texts(path, fields, "invalid_keywords")?;
    let keywords =
        Keywords::new(&words).map_err(|reason| invalid(format!("{path}.invalid_keywords"), reason))?;
    let safety = match fields.get("safety") {
        None | Some(Value::Null) => false,
        Some(value) => {
            value.as_bool().ok_or_else(|| invalid(format!("{path}.safety"), "must be a boolean"))?
        }
    };
    let judges =
        [judge(path, fields, "llm_judge", "model")?, judge(path, fields, "custom", "endpoint_name")?];
    let rules = Rules { keywords, pii: pii(path, fields)?, extended: settings.extended };
    let guard = Guard {
        rules: Arc::new(rules),
        safety,
        topics: texts(path, fields, "valid_topics")?,
        judges: judges.into_iter().flatten().collect(),
    };
    Ok((guard.asks() || !guard.rules.are_none()).then_some(guard))
}

fn texts(path: &str, fields: &Map<String, Value>, name: &str) -> Result<Vec<String>, Invalid> {
    let path = format!("{path}.{name}");
    let items = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().ok_or_else(|| invalid(&path, "must be a list of strings"))?,
    };
    if items.len() > MAX_WORDS {
        return Err(invalid(&path, format!("has {} entries, at most {MAX_WORDS} are allowed", items.len())));
    }
    let text = |(at, item): (usize, &Value)| match item.as_str() {
        Some(text) if text.len() <= MAX_LENGTH && !text.trim().is_empty() => Ok(text.to_owned()),
        Some(_) => Err(invalid(format!("{path}[{at}]"), format!("must be 1 to {MAX_LENGTH} bytes"))),
        None => Err(invalid(format!("{path}[{at}]"), "must be a string")),
    };
    items.iter().enumerate().map(text).collect()
}

fn pii(path: &str, fields: &Map<String, Value>) -> Result<Option<Behavior>, Invalid> {
    let Some(block) = fields.get("pii").filter(|value| !value.is_null()) else { return Ok(None) };
    let path = format!("{path}.pii");
    match object(&path, block)?.get("behavior") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str() {
            Some("NONE") => Ok(Some(Behavior::Detect)),
            Some("BLOCK") => Ok(Some(Behavior::Block)),
            Some("MASK") => Ok(Some(Behavior::Mask)),
            _ => Err(invalid(format!("{path}.behavior"), format!("{value} is none of NONE, BLOCK, MASK"))),
        },
    }
}

fn judge(
    path: &str,
    fields: &Map<String, Value>,
    name: &str,
    endpoint: &str,
) -> Result<Option<Judge>, Invalid> {
    let Some(block) = fields.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let path = format!("{path}.{name}");
    let block = object(&path, block)?;
    let text = |name: &str| block.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(named) = text(endpoint) else {
        return Err(invalid(
            format!("{path}.{endpoint}"),
            "is required: the name of a chat endpoint of this server",
        ));
    };
    // Both spellings are seen in the wild.
    let behavior = block.get("behaviour").or_else(|| block.get("behavior")).filter(|value| !value.is_null());
    let blocks =
        match behavior.map(|value| value.as_str().unwrap_or_default().to_ascii_uppercase()).as_deref() {
            None | Some("BLOCK") => true,
            Some("NONE" | "MONITOR" | "LOG") => false,
            _ => return Err(invalid(format!("{path}.behaviour"), "is none of BLOCK, NONE")),
        };
    Ok(Some(Judge { endpoint: named.to_owned(), prompt: text("prompt").map(str::to_owned), blocks }))
}

#[cfg(test)]
mod tests {
    use super::super::JudgeSettings;
    use super::*;
    use serde_json::json;

    fn checked(block: Value, settings: Settings) -> Result<(), String> {
        check(&block, &Arc::new(settings)).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn what_is_wrong_is_named_by_path() {
        for (block, path) in [
            (json!({"inputs": {}}), "ai_gateway.guardrails.inputs"),
            (json!({"input": {"pii": {"behavior": "REDACT"}}}), "ai_gateway.guardrails.input.pii.behavior"),
            (json!({"output": {"invalid_keywords": "x"}}), "ai_gateway.guardrails.output.invalid_keywords"),
            (
                json!({"input": {"invalid_keywords": ["a", 7]}}),
                "ai_gateway.guardrails.input.invalid_keywords[1]",
            ),
            (json!({"input": {"saftey": true}}), "ai_gateway.guardrails.input.saftey"),
            (json!({"input": {"llm_judge": {}}}), "ai_gateway.guardrails.input.llm_judge.model"),
        ] {
            let error = checked(block, Settings::default()).unwrap_err();
            assert!(error.starts_with(&format!("{path}: ")), "{error}");
        }
    }

    #[test]
    fn what_needs_a_judge_is_refused_without_one() {
        let safety = json!({"output": {"safety": true}});
        let topics = json!({"input": {"valid_topics": ["cats"]}});
        let error = checked(safety.clone(), Settings::default()).unwrap_err();
        assert!(error.contains("output.safety") && error.contains("guardrails.judge.endpoint"), "{error}");
        let judge = |protocol| Settings {
            judge: Some(JudgeSettings { endpoint: "j".into(), protocol }),
            ..Settings::default()
        };
        assert!(checked(safety, judge(Protocol::LlamaGuard)).is_ok());
        let error = checked(topics.clone(), judge(Protocol::LlamaGuard)).unwrap_err();
        assert!(
            error.contains("input.valid_topics") && error.contains("guardrails.topics.endpoint"),
            "{error}"
        );
        assert!(checked(topics, judge(Protocol::Json)).is_ok());
        let own = json!({"input": {"safety": true, "valid_topics": ["x"], "llm_judge": {"model": "j", "prompt": "p", "behaviour": "BLOCK"}}});
        assert!(checked(own, Settings::default()).is_ok());
    }

    #[test]
    fn nothing_asked_for_is_no_guard() {
        let none = json!({"input": {"pii": {}, "safety": false, "invalid_keywords": [], "valid_topics": null}, "output": null});
        let guardrails = compile(&none, &Arc::default()).unwrap();
        assert!(guardrails.input.is_none() && guardrails.output.is_none());
        let detect = compile(&json!({"input": {"pii": {"behavior": "NONE"}}}), &Arc::default()).unwrap();
        assert_eq!(detect.input.unwrap().rules.pii(), Some(Behavior::Detect));
    }
}
