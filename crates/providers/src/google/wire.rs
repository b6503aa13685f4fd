//! What the API sends. Only the fields we act on; any may be null or missing.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    pub(super) response_id: Option<String>,
    pub(super) model_version: Option<String>,
    pub(super) candidates: Option<Vec<Candidate>>,
    pub(super) prompt_feedback: Option<PromptFeedback>,
    pub(super) usage_metadata: Option<Counts>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) index: Option<u64>,
    pub(super) content: Option<Content>,
    finish_reason: Option<String>,
    pub(super) logprobs_result: Option<Logprobs>,
}

impl Candidate {
    /// Why it ended, once it has.
    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref().filter(|reason| *reason != "FINISH_REASON_UNSPECIFIED")
    }

    pub(super) fn take_parts(&mut self) -> Vec<Part> {
        self.content.take().and_then(|content| content.parts).unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Content {
    pub(super) parts: Option<Vec<Part>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    pub(super) text: Option<String>,
    pub(super) thought: Option<bool>,
    pub(super) thought_signature: Option<String>,
    pub(super) function_call: Option<Call>,
    pub(super) inline_data: Option<Blob>,
}

impl Part {
    pub(super) fn take_signature(&mut self) -> Option<String> {
        self.thought_signature.take().filter(|signature| !signature.is_empty())
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Call {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) args: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob {
    pub(super) mime_type: Option<String>,
    pub(super) data: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    pub(super) block_reason: Option<String>,
    pub(super) block_reason_message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logprobs {
    pub(super) chosen_candidates: Option<Vec<Token>>,
    pub(super) top_candidates: Option<Vec<Top>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Top {
    pub(super) candidates: Option<Vec<Token>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    pub(super) token: Option<String>,
    pub(super) log_probability: Option<f64>,
}

/// Cumulative in a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) prompt_token_count: Option<u64>,
    pub(super) candidates_token_count: Option<u64>,
    pub(super) total_token_count: Option<u64>,
    pub(super) cached_content_token_count: Option<u64>,
    pub(super) thoughts_token_count: Option<u64>,
    pub(super) tool_use_prompt_token_count: Option<u64>,
    #[serde(default)]
    pub(super) prompt_tokens_details: Modalities,
    #[serde(default)]
    pub(super) cache_tokens_details: Modalities,
    #[serde(default)]
    pub(super) candidates_tokens_details: Modalities,
}

/// What a count is made of: `[{"modality": "TEXT", "tokenCount": 1}]`. Unread, since no answer may fail for it.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Modalities(Value);

impl Modalities {
    /// The tokens of one modality; `None` where nothing is told of it.
    pub(super) fn of(&self, modality: &str) -> Option<u64> {
        let mut told = self.0.as_array()?.iter().filter(|part| part["modality"] == modality);
        told.next()?["tokenCount"].as_u64()
    }
}
