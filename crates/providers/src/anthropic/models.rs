//! What differs between generations of Claude, told from the model's name.

/// `(4, 7)` of `claude-opus-4-7`, `(3, 5)` of `claude-3-5-haiku-latest`; `None` where the name tells nothing.
fn generation(model: &str) -> Option<(u32, u32)> {
    let mut numbers = model.split(['-', '.', '@', ':']).filter_map(|part| {
        // Dates (20250929) are no versions.
        part.parse::<u32>().ok().filter(|n| *n < 100)
    });
    let major = numbers.next()?;
    Some((major, numbers.next().unwrap_or(0)))
}

/// Output bound where the caller gave none: the API requires one.
pub(super) fn default_max_tokens(model: &str) -> u64 {
    match generation(model) {
        Some((0..=2, _) | (3, 0..=4)) => 4096,
        _ => 8192,
    }
}

/// From 4.7 on, `temperature`, `top_p` and `top_k` are refused.
pub(super) fn takes_sampling(model: &str) -> bool {
    generation(model).is_none_or(|g| g < (4, 7))
}

/// From 4.1 on, `temperature` and `top_p` together are refused.
pub(super) fn takes_both_samplers(model: &str) -> bool {
    generation(model).is_none_or(|g| g < (4, 1))
}

/// From 4.7 on, a thinking budget is refused and the effort `xhigh` exists.
pub(super) fn thinks_only_adaptively(model: &str) -> bool {
    generation(model).is_some_and(|g| g >= (4, 7))
}

/// From 4.6 on, thinking is adaptive and takes an effort instead of a budget.
pub(super) fn thinks_adaptively(model: &str) -> bool {
    generation(model).is_some_and(|g| g >= (4, 6))
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
    }
}
