//! What model names say about models.

/// Major and minor version: `gemini-2.5-flash` is (2, 5), `gemini-3-pro-preview` is (3, 0); `None` for an
/// alias such as `gemini-flash-latest`, which stands for a new one.
pub(super) fn generation(model: &str) -> Option<(u32, u32)> {
    let (_, rest) = model.split_once("gemini-")?;
    let version = rest.split('-').next()?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// From 2.0 on, JSON schemas are taken as they are.
pub(super) fn takes_json_schema(model: &str) -> bool {
    generation(model).is_none_or(|g| g >= (2, 0))
}

/// Before 2.5, a thinking configuration is refused.
pub(super) fn thinks(model: &str) -> bool {
    generation(model).is_none_or(|g| g >= (2, 5))
}

/// From 3 on, how long to think is said by a level, and calls must come back with their signatures.
pub(super) fn thinks_by_level(model: &str) -> bool {
    generation(model).is_some_and(|g| g >= (3, 0))
}

/// The budget of an effort, in tokens, for models before 3. `none` is the least the model allows.
pub(super) fn budget(model: &str, effort: &str) -> u64 {
    match effort {
        "none" if model.contains("pro") => 128,
        "none" => 0,
        "minimal" if model.contains("lite") => 512,
        "minimal" => 128,
        "low" => 1024,
        "high" => 4096,
        "xhigh" => 8192,
        "max" => 16384,
        _ => 2048,
    }
}

/// The level of an effort. The larger models know no `minimal`, and in 3.0 no `medium` either.
pub(super) fn level(model: &str, effort: &str) -> &'static str {
    let flash = model.contains("flash");
    match effort {
        "none" | "minimal" if flash => "minimal",
        "none" | "minimal" | "low" => "low",
        "medium" if flash || generation(model).is_some_and(|g| g >= (3, 1)) => "medium",
        _ => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_generations() {
        assert_eq!(generation("gemini-2.5-flash"), Some((2, 5)));
        assert_eq!(generation("gemini-3-pro-preview"), Some((3, 0)));
        assert_eq!(generation("models/gemini-1.5-pro-002"), Some((1, 5)));
        assert_eq!(generation("gemini-flash-latest"), None);
        assert_eq!(generation("gemma-3-27b-it"), None);
    }

    #[test]
    fn an_effort_is_a_level_that_the_model_knows() {
        assert_eq!(level("gemini-3-pro-preview", "medium"), "high");
        assert_eq!(level("gemini-3.1-pro-preview", "medium"), "medium");
        assert_eq!(level("gemini-3-flash-preview", "minimal"), "minimal");
        assert_eq!(level("gemini-3-pro-preview", "none"), "low");
        assert_eq!(level("gemini-3-pro-preview", "xhigh"), "high");
    }
}
