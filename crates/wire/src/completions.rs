//! The unified completions format: OpenAI's, from before chat.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Object;
use crate::usage::Usage;

/// A request for completions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A text, a list of texts, or tokens.
    pub prompt: Value,
    #[serde(flatten)]
    pub extra: Object,
}

/// A whole answer, or one chunk of a stream: the format is the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub object: String,
    /// Seconds since the epoch.
    #[serde(default)]
    pub created: i64,
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    pub choices: Vec<CompletionChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(flatten)]
    pub extra: Object,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub index: u64,
    pub logprobs: Option<Value>,
    pub finish_reason: Option<String>,
    #[serde(flatten)]
    pub extra: Object,
}
