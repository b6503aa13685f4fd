//! What telemetry tells of a call besides its two records. No text of a prompt or an answer is among it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::trace::SpanId;

/// What was asked for: the parameters of OpenTelemetry's `gen_ai.request.*`, whatever the client's format
/// calls them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// `gen_ai.operation.name`.
    pub operation: &'static str,
    pub choices: Option<i64>,
    pub max_tokens: Option<i64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub stop_sequences: Vec<String>,
    /// `text` or `json`, where the request says.
    pub output_type: Option<&'static str>,
    /// Of embeddings.
    pub encoding_format: Option<String>,
    pub dimensions: Option<i64>,
    /// Of the endpoint at the time.
    pub config_version: i64,
    /// `user` or `service_principal`.
    pub requester_kind: &'static str,
}

/// What the answer says of itself, as the client got it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    pub id: Option<String>,
    pub model: Option<String>,
    pub finish_reasons: FinishReasons,
    /// Between the pieces of a stream; `None` where there are not two.
    pub gaps: Option<Box<Gaps>>,
}

/// Why the choices of an answer ended, in the provider's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishReasons(Vec<String>);

impl FinishReasons {
    /// Longer ones are told as `other`, more of them not at all.
    const LONGEST: usize = 64;
    const MOST: usize = 128;

    /// What is no word may be anything that an upstream sends there, text of the answer too: it is `other`.
    pub fn note(&mut self, reason: &str) {
        let is_word = reason.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let told = if is_word && reason.len() <= Self::LONGEST { reason } else { "other" };
        if !reason.is_empty() && self.0.len() < Self::MOST {
            self.0.push(told.to_owned());
        }
    }
}

impl Deref for FinishReasons {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

/// Upper bounds in seconds of OpenTelemetry's histograms of how long calls of models take.
pub const OPERATION_BOUNDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// How long each piece of a stream came after the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaps {
    /// By [`OPERATION_BOUNDS`], and those above the last.
    pub counts: [u64; OPERATION_BOUNDS.len() + 1],
    /// Seconds.
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { counts: [0; OPERATION_BOUNDS.len() + 1], sum: 0.0, min: f64::INFINITY, max: 0.0 }
    }
}

impl Gaps {
    pub fn note(&mut self, gap: Duration) {
        let seconds = gap.as_secs_f64();
        self.counts[OPERATION_BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
        self.min = self.min.min(seconds);
        self.max = self.max.max(seconds);
    }
}

/// Whom an attempt called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub span_id: SpanId,
    /// `gen_ai.provider.name`.
    pub provider: &'static str,
    pub model: Arc<str>,
    pub address: String,
    pub port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_an_answer_ended_is_told_in_a_word_and_a_bounded_number_of_times() {
        let mut reasons = FinishReasons::default();
        for reason in ["tool_calls", "MAX_TOKENS", "eos-token", "", "the answer is 42", &"x".repeat(65)] {
            reasons.note(reason);
        }
        assert_eq!(*reasons, ["tool_calls", "MAX_TOKENS", "eos-token", "other", "other"]);
        (0..1000).for_each(|_| reasons.note("stop"));
        assert_eq!(reasons.len(), FinishReasons::MOST);
    }
}
