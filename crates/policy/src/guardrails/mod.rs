//! Guardrails: what may be asked and answered. Compiled with the endpoint; what needs no model is decided
//! here, what needs one is said here and asked by the gateway.

mod config;
mod confusables;
mod decode;
mod fold;
mod json;
mod keywords;
mod pii;
mod scan;
mod settings;
mod window;

use std::sync::Arc;

pub use config::{check, compile, judges};
pub use fold::Writing;
pub use pii::Entity;
pub use scan::{Behavior, Rules, What};
pub use settings::{JudgeSettings, Moderation, Presidio, Protocol, Settings};
pub use window::{Released, Window, whole};

/// The guardrails of an endpoint.
#[derive(Debug, Default)]
pub struct Guardrails {
    pub input: Option<Guard>,
    pub output: Option<Guard>,
    pub settings: Arc<Settings>,
}

/// What is guarded of what is asked, or of what is answered.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    pub rules: Arc<Rules>,
    pub safety: bool,
    /// Empty: any topic will do.
    pub topics: Vec<String>,
    pub judges: Vec<Judge>,
}

/// A model that an endpoint names to judge with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    /// A chat endpoint of this server.
    pub endpoint: String,
    /// What it is told to look for; without it, the endpoint knows.
    pub prompt: Option<String>,
    /// Whether what it flags is blocked, or recorded only.
    pub blocks: bool,
}

impl Guard {
    /// Whether a model is to be asked.
    pub fn asks(&self) -> bool {
        self.safety || !self.topics.is_empty() || !self.judges.is_empty()
    }

    /// Whether anything that it finds changes what goes on; else it only records.
    pub fn acts(&self) -> bool {
        let blocks = self.judges.iter().any(|judge| judge.blocks);
        self.rules.act() || self.safety || !self.topics.is_empty() || blocks
    }
}

/// The personal data in `text`: where it is, in bytes, and what; what overlaps is one.
pub fn found_in(text: &str, extended: bool) -> Vec<(usize, usize, Entity)> {
    let rules = Rules { keywords: None, pii: Some(Behavior::Detect), extended };
    let mut found = rules.find(&fold::read(text, Writing::Plain));
    found.sort_by_key(|found| (found.from, found.to));
    window::clusters(&found)
}
