//! Tool names that an upstream would refuse, made acceptable on the way out and restored on the way back.

use std::collections::{HashMap, HashSet};

use wire::chat::{ChatChunk, ChatResponse};

/// The renaming of one request. Undoing it is free for nearly all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    sent: HashMap<String, String>,
    original: HashMap<String, String>,
    /// Names that went as they are: no other may be renamed to one of them.
    kept: HashSet<String>,
    /// How many were made of a base, so that many alike do not cost their square.
    made: HashMap<String, usize>,
}

impl Names {
    /// The name to send for `name`: itself when it has only letters, digits, `_` and `-` and at most
    /// `max` characters, else a near one that no other tool of the request has.
    pub fn sent(&mut self, name: &str, max: usize) -> String {
        if let Some(sent) = self.sent.get(name) {
            return sent.clone();
        }
        if acceptable(name, max) && !self.original.contains_key(name) {
            if !self.kept.contains(name) {
                self.kept.insert(name.to_owned());
            }
            return name.to_owned();
        }
        let base: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .take(max - 4)
            .collect();
        let mut sent = if base.is_empty() { "tool".to_owned() } else { base.clone() };
        let count = self.made.entry(base.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            sent = format!("{base}_{count}");
        }
        while self.original.contains_key(&sent) || self.kept.contains(&sent) {
            *count += 1;
            sent = format!("{base}_{count}");
        }
        self.sent.insert(name.to_owned(), sent.clone());
        self.original.insert(sent.clone(), name.to_owned());
        sent
    }

    fn restore(&self, name: &mut String) {
        if let Some(original) = self.original.get(name) {
            name.clone_from(original);
        }
    }

    pub fn restore_response(&self, response: &mut ChatResponse) {
        if self.original.is_empty() {
            return;
        }
        let calls = response.choices.iter_mut().filter_map(|c| c.message.tool_calls.as_mut()).flatten();
        calls.for_each(|call| self.restore(&mut call.function.name));
    }

    pub fn restore_chunk(&self, chunk: &mut ChatChunk) {
        if self.original.is_empty() {
            return;
        }
        let calls = chunk.choices.iter_mut().filter_map(|c| c.delta.tool_calls.as_mut()).flatten();
        calls.filter_map(|call| call.function.as_mut()?.name.as_mut()).for_each(|name| self.restore(name));
    }
}

fn acceptable(name: &str, max: usize) -> bool {
    (1..=max).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_what_must_be_and_undoes_it() {
        let mut names = Names::default();
        assert_eq!(names.sent("get_weather", 128), "get_weather");
        let sent = names.sent("actions/download-logs", 128);
        assert_eq!(sent, "actions_download-logs");
        assert_eq!(names.sent("actions.download-logs", 128), "actions_download-logs_2");
        let mut back = sent;
        names.restore(&mut back);
        assert_eq!(back, "actions/download-logs");
    }

    #[test]
    fn a_renamed_tool_never_takes_the_name_of_another() {
        let mut names = Names::default();
        assert_eq!(names.sent("read_file", 128), "read_file");
        assert_eq!(names.sent("read.file", 128), "read_file_2");
        let mut back = "read_file".to_owned();
        names.restore(&mut back);
        assert_eq!(back, "read_file");
    }

    #[test]
    fn two_long_names_stay_two() {
        let mut names = Names::default();
        let (a, b) = (names.sent(&"x".repeat(200), 64), names.sent(&("x".repeat(199) + "y"), 64));
        assert!(a != b && a.len() <= 64 && b.len() <= 64);
    }

    #[test]
    fn thousands_of_names_alike_stay_apart_and_cost_little() {
        let mut names = Names::default();
        let mut sent: Vec<String> = (0..20_000)
            .filter_map(|at| char::from_u32(0x4e00 + at))
            .map(|c| names.sent(&c.to_string(), 64))
            .collect();
        sent.sort_unstable();
        let count = sent.len();
        sent.dedup();
        assert_eq!(sent.len(), count);
    }
}
