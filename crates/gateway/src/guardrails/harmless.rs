//! Texts in which nothing was found: every event of a stream repeats its id and its model.

use std::collections::VecDeque;
use std::sync::Arc;

use policy::guardrails::{Released, Rules, Writing, whole};

/// Most texts that are remembered.
const MOST: usize = 16;
/// Longest text that is remembered, in bytes.
const LONGEST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Harmless(VecDeque<(Writing, String)>);

impl Harmless {
    /// What may go on of `text`, and what is in it.
    pub(super) fn whole(&mut self, rules: &Arc<Rules>, writing: Writing, text: &str) -> Released {
        if self.has(writing, text) {
            return Released { text: text.to_owned(), found: Vec::new() };
        }
        let released = whole(rules, writing, text);
        if released.found.is_empty() && released.text == text {
            self.add(writing, text);
        }
        released
    }

    fn has(&self, writing: Writing, text: &str) -> bool {
        self.0.iter().any(|(other, known)| *other == writing && known == text)
    }

    fn add(&mut self, writing: Writing, text: &str) {
        if text.len() <= LONGEST && !self.has(writing, text) {
            self.0.truncate(MOST - 1);
            self.0.push_front((writing, text.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_short_ones_are_remembered() {
        let mut harmless = Harmless::default();
        harmless.add(Writing::Plain, "gpt");
        assert!(harmless.has(Writing::Plain, "gpt") && !harmless.has(Writing::Json, "gpt"));
        harmless.add(Writing::Plain, &"x".repeat(LONGEST + 1));
        (0..MOST).for_each(|at| harmless.add(Writing::Plain, &at.to_string()));
        assert!(!harmless.has(Writing::Plain, "gpt") && harmless.has(Writing::Plain, "0"));
        assert_eq!(harmless.0.len(), MOST);
    }
}
