//! Parameters that a served entity takes where the caller sends none.

use providers::{Task, nearest};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use wire::Object;
use wire::endpoint::ExternalModel;

use super::Invalid;

/// A parameter of the unified format that may have a default.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    pub name: &'static str,
    pub kind: Kind,
    tasks: &'static [Task],
}

/// What values a parameter takes; bounds are inclusive.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Integer { least: i64, most: i64 },
    Number { least: f64, most: f64 },
    Flag,
    Text,
}

const TEXT: &[Task] = &[Task::Chat, Task::Completions];
const MOST: i64 = i32::MAX as i64;

pub const PARAMS: &[Param] = &[
    Param { name: "max_tokens", kind: Kind::Integer { least: 1, most: MOST }, tasks: TEXT },
    Param {
        name: "max_completion_tokens",
        kind: Kind::Integer { least: 1, most: MOST },
        tasks: &[Task::Chat],
    },
    Param { name: "temperature", kind: Kind::Number { least: 0.0, most: 2.0 }, tasks: TEXT },
    Param { name: "top_p", kind: Kind::Number { least: 0.0, most: 1.0 }, tasks: TEXT },
    Param { name: "top_k", kind: Kind::Integer { least: 0, most: MOST }, tasks: TEXT },
    Param { name: "n", kind: Kind::Integer { least: 1, most: 128 }, tasks: TEXT },
    Param { name: "seed", kind: Kind::Integer { least: i64::MIN, most: i64::MAX }, tasks: TEXT },
    Param { name: "presence_penalty", kind: Kind::Number { least: -2.0, most: 2.0 }, tasks: TEXT },
    Param { name: "frequency_penalty", kind: Kind::Number { least: -2.0, most: 2.0 }, tasks: TEXT },
    Param { name: "reasoning_effort", kind: Kind::Text, tasks: &[Task::Chat] },
    Param { name: "parallel_tool_calls", kind: Kind::Flag, tasks: &[Task::Chat] },
    Param { name: "stop", kind: Kind::Text, tasks: TEXT },
    Param { name: "user", kind: Kind::Text, tasks: &Task::ALL },
    Param { name: "dimensions", kind: Kind::Integer { least: 1, most: 65_536 }, tasks: &[Task::Embeddings] },
];

/// Both spellings of one parameter: a caller that sends either has sent it.
const BOUNDS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Errors name the parameter, and the nearest one that there is.
pub(super) fn check(path: &str, model: &ExternalModel, task: Task) -> Result<(), Invalid> {
    let params = model.default_params.iter().flatten();
    for (name, value) in params {
        let invalid = |reason: String| Invalid { path: format!("{path}.default_params.{name}"), reason };
        let Some(param) = PARAMS.iter().find(|p| p.name == name) else {
            let near = nearest(name, PARAMS.iter().map(|p| p.name));
            let hint = near.map_or_else(String::new, |near| format!(", did you mean {near}?"));
            return Err(invalid(format!("unknown parameter{hint}")));
        };
        if !param.tasks.contains(&task) {
            return Err(invalid(format!("is no parameter of {}", task.as_str())));
        }
        param.kind.check(value).map_err(invalid)?;
    }
    match model.default_params.as_ref() {
        Some(params) if BOUNDS.iter().all(|bound| params.contains_key(*bound)) => Err(Invalid {
            path: format!("{path}.default_params"),
            reason: format!("{} and {} are the same, set one", BOUNDS[0], BOUNDS[1]),
        }),
        _ => Ok(()),
    }
}

impl Kind {
    fn check(self, value: &Value) -> Result<(), String> {
        let (fits, wanted) = match self {
            Self::Integer { least, most } => (
                value.as_i64().is_some_and(|n| (least..=most).contains(&n)),
                format!("must be a whole number from {least} to {most}"),
            ),
            Self::Number { least, most } => (
                value.as_f64().is_some_and(|n| (least..=most).contains(&n)),
                format!("must be a number from {least} to {most}"),
            ),
            Self::Flag => (value.is_boolean(), "must be true or false".to_owned()),
            Self::Text => (
                value.as_str().is_some_and(|text| !text.is_empty()),
                "must be a text that is not empty".to_owned(),
            ),
        };
        if fits { Ok(()) } else { Err(format!("{wanted}, not {value}")) }
    }
}

/// The defaults of one entity, ready to be put into a request.
#[derive(Clone, Debug, Default)]
pub struct DefaultParams(Vec<(String, Box<RawValue>)>);

impl DefaultParams {
    pub fn new(params: Option<&Object>) -> Self {
        let given = params.into_iter().flatten();
        Self(given.filter_map(|(name, value)| Some((name.clone(), to_raw_value(value).ok()?))).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that the caller did not send; `sent` tells whether a field is there and not null.
    pub fn missing(&self, sent: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().filter_map(move |(name, value)| {
            let spellings: &[&str] = if BOUNDS.contains(&name.as_str()) { &BOUNDS } else { &[] };
            let is_sent = sent(name) || spellings.iter().any(|spelling| sent(spelling));
            (!is_sent).then_some((name.as_str(), value.as_ref()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(params: Value, task: Task) -> Option<String> {
        let model = json!({"name": "m", "provider": "p", "task": "t", "default_params": params});
        let model: ExternalModel = serde_json::from_value(model).unwrap();
        check("x", &model, task).err().map(|invalid| invalid.to_string())
    }

    #[test]
    fn known_parameters_of_the_task_within_their_bounds() {
        let good = json!({"max_tokens": 1, "temperature": 0, "top_p": 1.0, "seed": -7, "stop": "END", "parallel_tool_calls": false});
        assert_eq!(refusal(good, Task::Chat), None);
        assert_eq!(refusal(json!({"dimensions": 256}), Task::Embeddings), None);
        for (params, said) in [
            (
                json!({"temprature": 1}),
                "x.default_params.temprature: unknown parameter, did you mean temperature?",
            ),
            (json!({"messages": []}), "x.default_params.messages: unknown parameter"),
            (json!({"dimensions": 1}), "x.default_params.dimensions: is no parameter of llm/v1/chat"),
            (
                json!({"temperature": 2.1}),
                "x.default_params.temperature: must be a number from 0 to 2, not 2.1",
            ),
            (
                json!({"max_tokens": 0}),
                "x.default_params.max_tokens: must be a whole number from 1 to 2147483647, not 0",
            ),
            (json!({"max_tokens": "5"}), "not \"5\""),
            (json!({"n": 1.5}), "not 1.5"),
            (json!({"temperature": null}), "not null"),
            (json!({"max_tokens": 1, "max_completion_tokens": 2}), "are the same"),
        ] {
            let refused = refusal(params, Task::Chat).unwrap_or_default();
            assert!(refused.contains(said), "{refused}");
        }
    }

    #[test]
    fn only_what_was_not_sent_is_missing() {
        let params = json!({"max_tokens": 5, "temperature": 0.5});
        let params = DefaultParams::new(params.as_object());
        let missing =
            |sent: &str| -> Vec<&str> { params.missing(|name| name == sent).map(|(name, _)| name).collect() };
        assert_eq!(missing(""), ["max_tokens", "temperature"]);
        assert_eq!(missing("max_completion_tokens"), ["temperature"]);
        assert_eq!(missing("temperature"), ["max_tokens"]);
    }
}
