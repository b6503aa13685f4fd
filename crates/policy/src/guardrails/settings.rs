//! What the server's configuration says about guardrails.

use std::time::Duration;

use http::Uri;
use secrecy::SecretString;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether recognisers look for the extended set too.
    pub extended: bool,
    /// Who judges safety.
    pub judge: Option<JudgeSettings>,
    /// The chat endpoint that judges topics, where it is another.
    pub topics: Option<String>,
    pub moderation: Option<Moderation>,
    pub presidio: Option<Presidio>,
    /// How long one judgement may take.
    pub timeout: Duration,
    /// Whether what could not be judged is let through.
    pub allow_on_failure: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            extended: false,
            judge: None,
            topics: None,
            moderation: None,
            presidio: None,
            timeout: Duration::from_secs(10),
            allow_on_failure: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgeSettings {
    /// A chat endpoint of this server.
    pub endpoint: String,
    pub protocol: Protocol,
}

/// How a model is asked, and how it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `safe`, or `unsafe` and the codes of Llama Guard 3 and 4, `S1` to `S14`.
    LlamaGuard,
    /// The same with the eleven codes of Llama Guard 2.
    LlamaGuard2,
    /// Any model, told to answer with a JSON object.
    Json,
}

impl Protocol {
    pub const ALL: [(&'static str, Self); 3] =
        [("llama-guard", Self::LlamaGuard), ("llama-guard-2", Self::LlamaGuard2), ("json", Self::Json)];

    /// The category of a code, by the name that a block tells; `None` for one that has none.
    pub fn category(self, code: u8) -> Option<&'static str> {
        const SECOND: [&str; 11] = [
            "violent-crimes",
            "non-violent-crimes",
            "sex-crimes",
            "child-exploitation",
            "specialized-advice",
            "privacy",
            "intellectual-property",
            "indiscriminate-weapons",
            "hate",
            "self-harm",
            "sexual-content",
        ];
        let at = usize::from(code).checked_sub(1)?;
        match (self, at) {
            (Self::LlamaGuard, 4) => Some("defamation"),
            (Self::LlamaGuard, 12) => Some("elections"),
            (Self::LlamaGuard, 13) => Some("code-interpreter-abuse"),
            // Defamation came in between.
            (Self::LlamaGuard, 5..) => SECOND.get(at - 1).copied(),
            _ => SECOND.get(at).copied(),
        }
    }

    /// Whether `name` is one of a version's categories.
    pub fn is_category(name: &str) -> bool {
        Self::ALL.into_iter().any(|(_, protocol)| (1..=14).any(|code| protocol.category(code) == Some(name)))
    }

    /// The categories that a block tells, flagged or not.
    pub fn categories() -> impl Iterator<Item = &'static str> {
        (1..=11).filter_map(|code| Self::LlamaGuard2.category(code))
    }
}

/// A moderation API as OpenAI has it.
#[derive(Clone, Debug)]
pub struct Moderation {
    /// The whole address, `…/moderations`.
    pub uri: Uri,
    pub model: Option<String>,
    pub token: Option<SecretString>,
}

/// A Presidio analyser.
#[derive(Clone, Debug)]
pub struct Presidio {
    /// The whole address, `…/analyze`.
    pub uri: Uri,
    pub language: String,
    /// In percent: what it is less sure of does not count.
    pub least_score: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_their_version() {
        assert_eq!(Protocol::LlamaGuard.category(6), Some("specialized-advice"));
        assert_eq!(Protocol::LlamaGuard.category(12), Some("sexual-content"));
        assert_eq!(Protocol::LlamaGuard.category(13), Some("elections"));
        assert_eq!(Protocol::LlamaGuard2.category(6), Some("privacy"));
        assert_eq!(Protocol::LlamaGuard2.category(0), None);
        assert_eq!(Protocol::categories().count(), 11);
        assert!(Protocol::is_category("elections") && !Protocol::is_category("the answer is 42"));
    }
}
