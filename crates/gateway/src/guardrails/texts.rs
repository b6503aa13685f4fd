//! The texts of a request or of an answer: taken out, and put back where they changed.

use std::borrow::Cow;

use bytes::Bytes;
use policy::guardrails::Writing;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use wire::error::ApiError;
use wire::raw::RawObject;

use super::visit::{NO_TEXT, Place, drop_probabilities, own, walk};
use crate::tally::{Tally, tally};

/// Where answers have what is said.
const ANSWERS: [&str; 12] = [
    "choices",
    "content",
    "output",
    "candidates",
    "output_text",
    "promptFeedback",
    "completion",
    // A list of what was asked of a kept response.
    "data",
    "citations",
    "search_results",
    "additionalModelResponseFields",
    "error",
];
/// What tells of an answer, or of an event of its stream, and is not said in it.
pub(super) const ABOUT: [&str; 12] = [
    "usage",
    "usageMetadata",
    "system_fingerprint",
    "service_tier",
    "createTime",
    "partial_image_b64",
    "stop_sequence",
    "stopReason",
    "safetyRatings",
    "tokenCount",
    "metrics",
    "first_id",
];
/// What an answer repeats of its request, or tells of how it was made.
const REPEATED: [&str; 17] = [
    "instructions",
    "tools",
    "tool_choice",
    "text",
    "prompt",
    "metadata",
    "user",
    "reasoning",
    "truncation",
    "previous_response_id",
    "conversation",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "incomplete_details",
    "container",
    "last_id",
];
/// Where requests have what is said to the model.
const PROMPTS: [&str; 6] =
    ["messages", "prompt", "input", "contents", "generateContentRequest", "generate_content_request"];
/// Fields that are spoken by whoever runs the application.
const SYSTEM: [&str; 4] = ["system", "instructions", "systemInstruction", "system_instruction"];
/// Fields of a request that hold no text: names, ids and settings, definitions of tools, and what the caller
/// keeps for itself. Whatever else there is, is read.
const UNREAD: [&str; 53] = [
    "model",
    "model_id",
    "modelId",
    "user",
    "metadata",
    "labels",
    "requestMetadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "client_request_id",
    "usage_context",
    "tools",
    "functions",
    "toolConfig",
    "tool_config",
    "tool_choice",
    "function_call",
    "mcp_servers",
    "container",
    "conversation",
    "previous_response_id",
    "cachedContent",
    "cached_content",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "n",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "logit_bias",
    "include",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "verbosity",
    "modalities",
    "audio",
    "service_tier",
    "serviceTier",
    "performanceConfig",
    "guardrailConfig",
    "inferenceConfig",
    "safetySettings",
    "safety_settings",
    "truncation",
    "betas",
    "context_management",
    "encoding_format",
];

#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) role: String,
    pub(super) writing: Writing,
    /// Which message of the document it is of.
    pub(super) message: usize,
    pub(super) text: String,
}

/// The fields of a body that hold texts.
pub(super) struct Document {
    body: Option<Bytes>,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    speaker: Speaker,
    value: Value,
    changed: bool,
}

/// Whose a field is.
#[derive(Clone, Copy)]
enum Speaker {
    /// Messages, each of whom it says.
    Messages(&'static str),
    /// The application, whatever roles there are in it.
    Application,
    /// Somebody, in JSON whose keys are the caller's.
    Own(&'static str),
}

impl Speaker {
    /// Of a field of a request; `None` where there is no text.
    fn of(name: &str) -> Option<Self> {
        match name {
            name if PROMPTS.contains(&name) => Some(Self::Messages("user")),
            name if SYSTEM.contains(&name) => Some(Self::Application),
            name if UNREAD.contains(&name) => None,
            _ => Some(Self::Own("system")),
        }
    }

    /// Of a field of an answer.
    fn of_answer(name: &str) -> Option<Self> {
        match name {
            name if ANSWERS.contains(&name) => Some(Self::Messages("assistant")),
            name if [&ABOUT[..], &REPEATED, &NO_TEXT].iter().any(|names| names.contains(&name)) => None,
            _ => Some(Self::Own("assistant")),
        }
    }

    /// Visits the texts of a field of such a speaker.
    fn walk(self, value: &mut Value, visit: &mut dyn FnMut(Place<'_>, &mut String)) {
        match self {
            Self::Messages(role) => walk(value, role, visit),
            Self::Application => walk(value, "system", &mut |place, text| {
                visit(Place { role: "system", ..place }, text);
            }),
            Self::Own(role) => own(value, role, visit),
        }
    }
}

impl Document {
    /// Errors when something cannot be read, and so not be guarded.
    pub(super) fn of_request(body: &RawObject<'_>) -> Result<Self, ApiError> {
        let known = body.keys().filter_map(|name| Some((name, Speaker::of(name)?, body.raw(name)?)));
        let fields = known.map(|(name, speaker, raw)| {
            let field = Field::read(name, speaker, raw).map_err(|e| {
                ApiError::bad_request(format!("{name}: cannot be read by the guardrails: {e}"))
            })?;
            let tokens = matches!(name, "prompt" | "input") && holds_tokens(&field.value);
            if tokens {
                return Err(ApiError::bad_request(format!(
                    "{name}: holds tokens, which the guardrails of this endpoint cannot read; send text"
                )));
            }
            Ok(field)
        });
        Ok(Self { body: None, fields: fields.collect::<Result<_, _>>()? })
    }

    pub(super) fn of_answer(body: &Bytes) -> Result<Self, serde_json::Error> {
        let object = RawObject::parse(body)?;
        let said =
            object.keys().filter_map(|name| Some((name, Speaker::of_answer(name)?, object.raw(name)?)));
        let fields = said.map(|(name, speaker, raw)| Field::read(name, speaker, raw));
        let fields = fields.collect::<Result<_, _>>()?;
        Ok(Self { body: Some(body.clone()), fields })
    }

    pub(super) fn texts(&mut self) -> Vec<Text> {
        let (mut out, mut messages) = (Vec::new(), 0);
        for field in &mut self.fields {
            let before = messages + 1;
            field.walk(&mut |place, text| {
                let message = before + place.message;
                messages = messages.max(message);
                let role = place.role.to_owned();
                out.push(Text { role, writing: place.writing, message, text: text.clone() });
            });
        }
        out
    }

    /// Puts `texts`, which [`Self::texts`] gave, where they were.
    pub(super) fn rewrite(&mut self, texts: &[Text]) {
        let mut texts = texts.iter();
        for field in &mut self.fields {
            let mut changed = false;
            field.walk(&mut |_, text| {
                if let Some(new) = texts.next().filter(|new| new.text != *text) {
                    text.clone_from(&new.text);
                    changed = true;
                }
            });
            field.changed |= changed;
        }
        if self.fields.iter().any(|field| field.changed) {
            // They tell the tokens that were masked.
            self.fields.iter_mut().for_each(|field| field.changed |= drop_probabilities(&mut field.value));
        }
    }

    /// Every other field keeps its bytes.
    pub(super) fn put_into(&self, body: &mut RawObject<'_>) -> Result<(), ApiError> {
        for field in self.fields.iter().filter(|field| field.changed) {
            let raw = to_raw_value(&field.value).map_err(|e| ApiError::internal(e.to_string()))?;
            body.set_raw(Cow::Owned(field.name.clone()), Cow::Owned(raw));
        }
        Ok(())
    }

    /// The answer anew; `None` where nothing changed.
    pub(super) fn into_body(self) -> Result<Option<Bytes>, ApiError> {
        let Some(bytes) = self.body.as_ref().filter(|_| self.fields.iter().any(|field| field.changed)) else {
            return Ok(None);
        };
        let internal = |e: serde_json::Error| ApiError::internal(e.to_string());
        let mut object = RawObject::parse(bytes).map_err(internal)?;
        self.put_into(&mut object)?;
        Ok(Some(object.to_vec().map_err(internal)?.into()))
    }
}

impl Field {
    fn read(name: &str, speaker: Speaker, raw: &RawValue) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_str(raw.get())?;
        // A key that is there twice is read by some first, by others last: only one of them goes on.
        let changed = tally(raw, Written)? != entries(&value);
        Ok(Self { name: name.to_owned(), speaker, value, changed })
    }

    fn walk(&mut self, visit: &mut dyn FnMut(Place<'_>, &mut String)) {
        self.speaker.walk(&mut self.value, visit);
    }
}

/// Visits what an answer that stands in an event says.
pub(super) fn answer(answer: &mut Value, visit: &mut dyn FnMut(Place<'_>, &mut String)) {
    for (name, value) in answer.as_object_mut().into_iter().flatten() {
        if let Some(speaker) = Speaker::of_answer(name) {
            speaker.walk(value, visit);
        }
    }
}

fn holds_tokens(value: &Value) -> bool {
    let items = value.as_array().into_iter().flatten();
    items.into_iter().any(|item| {
        item.is_number() || item.as_array().is_some_and(|inner| inner.iter().any(Value::is_number))
    })
}

/// Keys of all objects in a value.
fn entries(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => fields.values().map(|value| 1 + entries(value)).sum(),
        Value::Array(items) => items.iter().map(entries).sum(),
        _ => 0,
    }
}

/// The same as they are written: one that stands there twice counts twice.
#[derive(Clone, Copy)]
struct Written;

impl Tally for Written {
    fn text(self, _: &str) -> u64 {
        0
    }

    fn key(self, _: &str) -> (u64, Option<Self>) {
        (1, Some(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_changed_is_written_anew() {
        let text = r#"{"a":  1.50,"messages":[{"role":"user","content":"x"}],"system":"y" , "n":[1]}"#;
        let mut body = RawObject::parse(text.as_bytes()).unwrap();
        let mut document = Document::of_request(&body).unwrap();
        let mut texts = document.texts();
        document.rewrite(&texts);
        document.put_into(&mut body).unwrap();
        assert_eq!(body.raw("messages").unwrap().get(), r#"[{"role":"user","content":"x"}]"#);
        texts[0].text = "z".into();
        document.rewrite(&texts);
        document.put_into(&mut body).unwrap();
        assert_eq!(
            body.to_vec().unwrap(),
            br#"{"a":1.50,"messages":[{"role":"user","content":"z"}],"system":"y","n":[1]}"#
        );
    }

    #[test]
    fn what_is_said_twice_under_one_key_goes_on_once() {
        let text = r#"{"messages":[{"role":"user","content":"secret","content":"hello"}]}"#;
        let mut body = RawObject::parse(text.as_bytes()).unwrap();
        let mut document = Document::of_request(&body).unwrap();
        let texts = document.texts();
        document.rewrite(&texts);
        document.put_into(&mut body).unwrap();
        assert_eq!(body.to_vec().unwrap(), br#"{"messages":[{"role":"user","content":"hello"}]}"#);
    }

    #[test]
    fn tokens_are_refused() {
        for body in [r#"{"input":[1,2]}"#, r#"{"prompt":[[1],[2]]}"#, r#"{"input":["a",[1]]}"#] {
            let body = RawObject::parse(body.as_bytes()).unwrap();
            assert!(Document::of_request(&body).is_err());
        }
    }

    fn of(body: &Value) -> Vec<(String, String)> {
        let body = body.to_string();
        let texts = Document::of_request(&RawObject::parse(body.as_bytes()).unwrap()).unwrap().texts();
        texts.into_iter().map(|text| (text.role, text.text)).collect()
    }

    #[test]
    fn whatever_reaches_the_model_is_read() {
        for body in [
            json!({"suffix": "secret"}),
            json!({"prediction": {"type": "content", "content": "secret"}}),
            json!({"documents": [{"name": "secret"}]}),
            json!({"chat_template": "secret"}),
            json!({"additionalModelRequestFields": {"id": "secret"}}),
            json!({"promptVariables": {"name": {"text": "secret"}}}),
            json!({"yet_to_come": ["secret"]}),
        ] {
            let texts = of(&body);
            assert!(texts.len() == 1 && texts[0].1.contains("secret"), "{body}: {texts:?}");
        }
        let settings =
            json!({"model": "secret", "stream": true, "temperature": 0.5, "tools": [{"name": "secret"}]});
        assert_eq!(of(&settings), []);
    }

    #[test]
    fn whatever_is_answered_is_read() {
        let said = |body: &Value| Document::of_answer(&body.to_string().into()).unwrap().texts();
        for body in [
            json!({"custom_outputs": {"name": "secret"}}),
            json!({"trace": {"guardrail": {"modelOutput": ["secret"]}}}),
            json!({"yet_to_come": "secret"}),
        ] {
            let texts = said(&body);
            assert!(
                texts.len() == 1 && texts[0].text.contains("secret") && texts[0].role == "assistant",
                "{body}: {texts:?}"
            );
        }
        let about = json!({"id": "secret", "model": "secret", "usage": {"x": "secret"}, "instructions": "secret", "created": 1});
        assert!(said(&about).is_empty());
    }

    #[test]
    fn what_the_application_says_is_the_system_s_whatever_role_it_names() {
        let body = json!({"systemInstruction": {"role": "user", "parts": [{"text": "a"}]}});
        assert_eq!(of(&body), [("system".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn what_a_message_has_is_told_from_what_another_has() {
        let body = json!({"system": "s", "messages": [{"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]}]});
        let body = body.to_string();
        let texts = Document::of_request(&RawObject::parse(body.as_bytes()).unwrap()).unwrap().texts();
        let message = |said: &str| texts.iter().find(|text| text.text == said).unwrap().message;
        assert!(message("b") == message("c") && message("a") != message("b") && message("s") != message("a"));
    }

    #[test]
    fn probabilities_go_with_what_is_masked_beside_them() {
        let body =
            json!({"choices": [{"text": "x"}], "output": [{"logprobs": [{"token": "x"}]}]}).to_string();
        let mut document = Document::of_answer(&body.into()).unwrap();
        let mut texts = document.texts();
        texts.iter_mut().for_each(|text| text.text = "y".into());
        document.rewrite(&texts);
        let body: Value = serde_json::from_slice(&document.into_body().unwrap().unwrap()).unwrap();
        assert_eq!(body, json!({"choices": [{"text": "y"}], "output": [{"logprobs": []}]}));
    }
}
