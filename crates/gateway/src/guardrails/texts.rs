//! The texts of a request or of an answer: taken out, and put back where they changed.

use std::borrow::Cow;

use bytes::Bytes;
use policy::guardrails::Writing;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use wire::error::ApiError;
use wire::raw::RawObject;

use super::visit::walk;
use crate::estimate::PROMPTS;
use crate::tally::{Tally, tally};

/// Where answers have what is said.
const ANSWERS: [&str; 7] =
    ["choices", "content", "output", "candidates", "output_text", "promptFeedback", "completion"];
/// Fields that are spoken by whoever runs the application.
const SYSTEM: [&str; 4] = ["system", "instructions", "systemInstruction", "system_instruction"];

#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) role: String,
    pub(super) writing: Writing,
    pub(super) text: String,
}

/// The fields of a body that hold texts.
pub(super) struct Document {
    body: Option<Bytes>,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    role: &'static str,
    value: Value,
    changed: bool,
}

impl Document {
    /// Errors when something cannot be read, and so not be guarded.
    pub(super) fn of_request(body: &RawObject<'_>) -> Result<Self, ApiError> {
        let fields = PROMPTS.iter().filter_map(|name| Some((*name, body.raw(name)?))).map(|(name, raw)| {
            let role = if SYSTEM.contains(&name) { "system" } else { "user" };
            let field = Field::read(name, role, raw).map_err(|e| {
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
        let fields = ANSWERS.iter().filter_map(|name| Some((*name, object.raw(name)?)));
        let fields = fields.map(|(name, raw)| Field::read(name, "assistant", raw));
        let fields = fields.collect::<Result<_, _>>()?;
        Ok(Self { body: Some(body.clone()), fields })
    }

    pub(super) fn texts(&mut self) -> Vec<Text> {
        let mut out = Vec::new();
        for field in &mut self.fields {
            walk(&mut field.value, field.role, &mut |place, text| {
                out.push(Text { role: place.role.to_owned(), writing: place.writing, text: text.clone() });
            });
        }
        out
    }

    /// Puts `texts`, which [`Self::texts`] gave, where they were.
    pub(super) fn rewrite(&mut self, texts: &[Text]) {
        let mut texts = texts.iter();
        for field in &mut self.fields {
            let Field { role, value, changed, .. } = field;
            walk(value, role, &mut |_, text| {
                if let Some(new) = texts.next().filter(|new| new.text != *text) {
                    text.clone_from(&new.text);
                    *changed = true;
                }
            });
            if field.changed {
                // They tell the tokens that were masked.
                drop_probabilities(&mut field.value);
            }
        }
    }

    /// Every other field keeps its bytes.
    pub(super) fn put_into(&self, body: &mut RawObject<'_>) -> Result<(), ApiError> {
        for field in self.fields.iter().filter(|field| field.changed) {
            let raw = to_raw_value(&field.value).map_err(|e| ApiError::internal(e.to_string()))?;
            body.set_raw(Cow::Borrowed(field.name), Cow::Owned(raw));
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
    fn read(name: &'static str, role: &'static str, raw: &RawValue) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_str(raw.get())?;
        // A key that is there twice is read by some first, by others last: only one of them goes on.
        let changed = tally(raw, Written)? != entries(&value);
        Ok(Self { name, role, value, changed })
    }
}

fn holds_tokens(value: &Value) -> bool {
    let items = value.as_array().into_iter().flatten();
    items.into_iter().any(|item| {
        item.is_number() || item.as_array().is_some_and(|inner| inner.iter().any(Value::is_number))
    })
}

fn drop_probabilities(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "logprobs" => *value = Value::Null,
                    "logprobsResult" => *value = Value::Null,
                    _ => drop_probabilities(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_probabilities),
        _ => {}
    }
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
}
