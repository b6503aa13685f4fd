//! What guardrails said of a request. A verdict is there when the guard ran, and only then.

use serde::{Deserialize, Serialize};

/// Which guardrail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardKind {
    InvalidKeywords,
    Pii,
    Safety,
    ValidTopics,
    /// A model that the endpoint itself names.
    #[serde(rename = "llm_judge")]
    Judge,
}

impl GuardKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidKeywords => "invalid_keywords",
            Self::Pii => "pii",
            Self::Safety => "safety",
            Self::ValidTopics => "valid_topics",
            Self::Judge => "llm_judge",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardPhase {
    Input,
    Output,
}

impl GuardPhase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardOutcome {
    /// There is nothing in it.
    Passed,
    /// There is, and it went on: the guard only looks.
    Detected,
    Masked,
    Blocked,
    /// The guard could not judge, and what it was to judge went on.
    FailedOpen,
    /// The guard could not judge, and nothing went on.
    FailedClosed,
}

impl GuardOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Detected => "detected",
            Self::Masked => "masked",
            Self::Blocked => "blocked",
            Self::FailedOpen => "failed_open",
            Self::FailedClosed => "failed_closed",
        }
    }
}

/// What one guardrail said of what was asked or answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardVerdict {
    pub guard: GuardKind,
    pub phase: GuardPhase,
    pub outcome: GuardOutcome,
    /// What was found: kinds of personal data, categories of safety; why a guard could not judge. Never the
    /// text itself.
    pub details: Vec<String>,
    /// Tokens that the judging model used.
    pub tokens: u64,
}
