//! How a block is told: CONTRACT §4.7. Serving endpoints answer 400 with JSON in the message; the paths of the
//! AI Gateway answer 200 with a reason to stop, in the client's own format.

use bytes::{Bytes, BytesMut};
use journal::{GuardKind, GuardPhase};
use policy::guardrails::Protocol;
use serde_json::{Map, Value, json};
use wire::chat::{ChatChunk, ChatResponse, Choice, ChunkChoice, Content, Delta, Message};
use wire::error::ApiError;
use wire::usage::Usage;

use super::service;
use super::texts::Text;
use crate::answer;
use crate::call::Call;
use crate::clock;
use crate::dialect::ClientFraming;

/// What was blocked, and by which guardrail.
#[derive(Debug)]
pub(crate) struct Blocked {
    guard: GuardKind,
    phase: GuardPhase,
    /// Of safety, those that are flagged.
    pub(super) categories: Option<Vec<String>>,
    /// What was said, with what is personal masked.
    pub(super) anonymized: Option<Vec<Text>>,
    /// What judging took.
    pub(super) usage: Usage,
    /// The guard could not judge.
    failed: bool,
}

impl Blocked {
    pub(super) fn new(guard: GuardKind, phase: GuardPhase) -> Self {
        Self { guard, phase, categories: None, anonymized: None, usage: Usage::new(0, 0), failed: false }
    }

    /// Something personal that only the remote analyser finds, in a stream whose events are written already.
    pub(super) fn unmaskable() -> Self {
        Self::new(GuardKind::Pii, GuardPhase::Output)
    }

    /// By a guard that could not judge.
    pub(super) fn failed(guard: GuardKind, phase: GuardPhase) -> Self {
        Self { failed: true, ..Self::new(guard, phase) }
    }

    pub(crate) fn sentence(&self) -> String {
        let name = self.guard.as_str();
        if self.failed {
            return format!(
                "This request was blocked by the '{name}' service policy: it could not be judged."
            );
        }
        format!("This request was blocked by the '{name}' service policy.")
    }

    /// The message of an error: JSON in a string.
    pub(crate) fn message(&self) -> String {
        let phase = self.phase.as_str();
        let usage =
            json!({"prompt_tokens": self.usage.prompt_tokens, "total_tokens": self.usage.total_tokens});
        let mut message = json!({ "usage": usage });
        message[format!("{phase}_guardrail")] = json!([self.item()]);
        message["finishReason"] = format!("{phase}_guardrail_triggered").into();
        message.to_string()
    }

    fn item(&self) -> Value {
        let is = |guard: GuardKind| self.guard == guard && !self.failed;
        let anonymized = self.anonymized.as_ref().map(|texts| {
            let texts = texts.iter().map(|text| json!({"role": text.role, "content": text.text}));
            texts.collect::<Vec<_>>()
        });
        let mut item = json!({
            "flagged": !is(GuardKind::Pii),
            "categories": is(GuardKind::Safety).then(|| self.flags()),
            "category_scores": null,
            "pii_detection": is(GuardKind::Pii).then_some(true),
            "anonymized_input": anonymized.filter(|_| is(GuardKind::Pii)),
        });
        // Databricks says nothing of these.
        match self.guard {
            _ if self.failed => item["error"] = self.sentence().into(),
            GuardKind::InvalidKeywords => item["invalid_keywords"] = true.into(),
            GuardKind::ValidTopics => item["valid_topics"] = false.into(),
            GuardKind::Judge => item["llm_judge"] = true.into(),
            GuardKind::Pii | GuardKind::Safety => {}
        }
        item
    }

    /// All categories, those that are flagged true.
    fn flags(&self) -> Map<String, Value> {
        let mut flags: Map<String, Value> =
            Protocol::categories().map(|name| (name.to_owned(), false.into())).collect();
        for name in self.categories.iter().flatten() {
            flags.insert(name.clone(), true.into());
        }
        flags
    }

    /// What stands beside an answer that is none.
    pub(super) fn policy(&self) -> Value {
        let phase = match self.phase {
            GuardPhase::Input => "pre_call",
            GuardPhase::Output => "post_call",
        };
        let reason = match self.categories.as_deref() {
            Some(categories) if !categories.is_empty() => format!("flagged: {}", categories.join(", ")),
            _ if self.failed => "could not be judged".to_owned(),
            _ => self.guard.as_str().to_owned(),
        };
        json!({"name": self.guard.as_str(), "action": "deny", "phase": phase, "reason": reason})
    }

    /// The name of the reason in the format of contents, whose others are `SAFETY`.
    pub(super) fn contents_reason(&self) -> &'static str {
        match self.guard {
            GuardKind::Pii => "SPII",
            GuardKind::InvalidKeywords => "BLOCKLIST",
            GuardKind::Safety | GuardKind::ValidTopics | GuardKind::Judge => "SAFETY",
        }
    }

    /// An answer in the client's format that says so, and its content type.
    pub(super) fn answer(&self, call: &Call<'_>) -> Result<(&'static str, Bytes), ApiError> {
        let internal = |e: serde_json::Error| ApiError::internal(e.to_string());
        let id = format!("chatcmpl-{}", uuid::Uuid::now_v7().simple());
        let (created, model) = (clock::now_ms() / 1000, call.endpoint.name.to_string());
        let finish_reason = Some("content_filter".to_owned());
        if !call.stream {
            let message = Message {
                role: "assistant".to_owned(),
                content: Some(Content::Text(self.sentence())),
                ..Message::default()
            };
            let choices = vec![Choice { message, finish_reason, ..Choice::default() }];
            let object = "chat.completion".to_owned();
            let usage = Some(Usage::new(0, 0));
            let reply =
                ChatResponse { id, object, created, model, choices, usage, ..ChatResponse::default() };
            let body = call.dialect.reply(&call.body, reply).map_err(internal)?;
            let mut body: Value = serde_json::from_slice(&body).map_err(internal)?;
            body["databricks_service_policy"] = self.policy();
            return Ok(("application/json", body.to_string().into()));
        }
        let mut out = BytesMut::new();
        let mut stream = call.dialect.stream(&call.body);
        let delta =
            Delta { role: Some("assistant".into()), content: Some(self.sentence()), ..Delta::default() };
        let said = ChunkChoice { delta, ..ChunkChoice::default() };
        let last = ChunkChoice { finish_reason, ..ChunkChoice::default() };
        for choice in [said, last] {
            let chunk = ChatChunk { created, ..ChatChunk::of(&id, &model, vec![choice]) };
            stream.chunk(chunk, &mut out).map_err(internal)?;
        }
        let usage = Some(Usage::new(0, 0));
        let counted = ChatChunk { created, usage, ..ChatChunk::of(&id, &model, Vec::new()) };
        stream.chunk(counted, &mut out).map_err(internal)?;
        stream.finish(&mut out).map_err(internal)?;
        let mut out = service::with_policy(&out, call.dialect.format(), &self.policy());
        out.extend_from_slice(call.dialect.terminator());
        let body = if call.dialect.framing() == ClientFraming::Array {
            crate::stream::as_array(out)
        } else {
            out.freeze()
        };
        Ok((answer::stream_type(call.dialect), body))
    }

    /// What is added to the event that ends a stream early.
    pub(super) fn mark(&self, event: &mut Value, serving: bool) {
        if serving {
            event[format!("{}_guardrail", self.phase.as_str())] = json!([self.item()]);
        } else {
            event["databricks_service_policy"] = self.policy();
        }
    }
}
