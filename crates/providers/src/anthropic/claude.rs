//! What differs between generations of Claude, told from the model's name, and what all of them share: for
//! every provider that serves them.

use serde_json::Value;

/// The smallest thinking budget the API takes, in tokens.
pub(crate) const MIN_BUDGET: u64 = 1024;

/// Stands in for a plain JSON mode; the instruction is what Anthropic's own documentation advises.
pub(crate) const JSON_HINT: &str = "Answer with one JSON object and nothing else.";

/// `(4, 7)` of `claude-opus-4-7`, `(3, 5)` of `claude-3-5-haiku-latest`; `None` where the name tells nothing.
fn generation(model: &str) -> Option<(u32, u32)> {
    // What stands before it, as in an ARN, has numbers of its own.
    let (_, name) = model.rsplit_once("claude")?;
    let mut numbers = name.split(['-', '.', '@', ':']).filter_map(|part| {
        // Dates (20250929) are no versions.
        part.parse::<u32>().ok().filter(|n| *n < 100)
    });
    let major = numbers.next()?;
    Some((major, numbers.next().unwrap_or(0)))
}

/// Output bound where the caller gave none: the API requires one.
pub(crate) fn default_max_tokens(model: &str) -> u64 {
    match generation(model) {
        Some((0..=2, _) | (3, 0..=4)) => 4096,
        _ => 8192,
    }
}

/// From 4.7 on, `temperature`, `top_p` and `top_k` are refused.
pub(crate) fn takes_sampling(model: &str) -> bool {
    generation(model).is_none_or(|g| g < (4, 7))
}

/// From 4.1 on, `temperature` and `top_p` together are refused.
pub(crate) fn takes_both_samplers(model: &str) -> bool {
    generation(model).is_none_or(|g| g < (4, 1))
}

/// From 4.7 on, a thinking budget is refused and the effort `xhigh` exists.
pub(crate) fn thinks_only_adaptively(model: &str) -> bool {
    generation(model).is_some_and(|g| g >= (4, 7))
}

/// From 4.6 on, thinking is adaptive and takes an effort instead of a budget.
pub(crate) fn thinks_adaptively(model: &str) -> bool {
    generation(model).is_some_and(|g| g >= (4, 6))
}

/// A budget for a model that takes none: how long to think is left to the model and its effort.
pub(crate) fn adaptive(mut thinking: Value) -> Value {
    if let Some(fields) = thinking.as_object_mut().filter(|t| t.get("type").is_some_and(|t| t == "enabled")) {
        fields.insert("type".to_owned(), "adaptive".into());
        fields.shift_remove("budget_tokens");
    }
    thinking
}

pub(crate) fn effort_budget(effort: &str) -> u64 {
    match effort {
        "minimal" | "low" => MIN_BUDGET,
        "high" => 4096,
        "xhigh" => 8192,
        "max" => 16384,
        _ => 2048,
    }
}

pub(crate) fn effort_level<'a>(model: &str, effort: &'a str) -> &'a str {
    match effort {
        "minimal" => "low",
        "xhigh" if !thinks_only_adaptively(model) => "max",
        other => other,
    }
}

/// Every object of an output schema must say `additionalProperties: false`.
pub(crate) fn close_objects(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let is_object =
                |t: &Value| t == "object" || t.as_array().is_some_and(|t| t.iter().any(|t| t == "object"));
            if map.get("type").is_some_and(is_object) {
                map.insert("additionalProperties".to_owned(), false.into());
            }
            map.values_mut().for_each(close_objects);
        }
        Value::Array(items) => items.iter_mut().for_each(close_objects),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_generations() {
        assert_eq!(generation("claude-opus-4-7"), Some((4, 7)));
        assert_eq!(generation("claude-sonnet-4-5-20250929"), Some((4, 5)));
        assert_eq!(generation("claude-3-5-haiku-latest"), Some((3, 5)));
        assert_eq!(generation("claude-sonnet-4-20250514"), Some((4, 0)));
        assert_eq!(generation("echo-claude"), None);
        assert_eq!(generation("echo-4-7"), None);
    }

    #[test]
    fn numbers_before_the_name_are_no_generation() {
        let profile =
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-7-v1:0";
        assert_eq!(generation(profile), Some((4, 7)));
        assert_eq!(generation("team-1/claude-sonnet-4-6"), Some((4, 6)));
        assert_eq!(generation("arn:aws:bedrock:us-east-1:1:application-inference-profile/a1-2"), None);
    }
}
