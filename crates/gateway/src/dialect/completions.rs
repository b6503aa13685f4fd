//! The unified completions format over chat: the prompt is a message of the user, the answer its text.

use bytes::BytesMut;
use serde_json::Value;
use wire::Object;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse, Content, Message};
use wire::completions::{Completion, CompletionChoice, CompletionRequest};
use wire::error::ApiError;
use wire::raw::RawObject;
use wire::sse;

use super::chat::{asks_for_usage, error_event};
use super::{Dialect, DialectStream, Format};
use crate::error::ServeError;

pub(super) struct UnifiedCompletions {
    /// Whether a stream has its usage although nobody asked for it.
    pub(super) usage: bool,
}

/// Fields that would change the answer and that chat cannot express, and the value that asks for nothing.
const INEXPRESSIBLE: [&str; 3] = ["suffix", "echo", "best_of"];

impl Dialect for UnifiedCompletions {
    fn format(&self) -> Format {
        Format::Completions
    }

    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
        let CompletionRequest { model, prompt, mut extra } = super::read(body, "completions")?;
        for field in INEXPRESSIBLE {
            if extra.shift_remove(field).is_some_and(|value| asks_for_something(&value)) {
                return Err(ApiError::bad_request(format!(
                    "{field}: the model behind this endpoint is a chat model, which has nothing like it"
                )));
            }
        }
        // A number of likely tokens here, a flag in chat.
        if let Some(count) = extra.shift_remove("logprobs").and_then(|v| v.as_u64()) {
            extra.insert("logprobs".to_owned(), true.into());
            extra.insert("top_logprobs".to_owned(), count.into());
        }
        extra.insert("messages".to_owned(), Value::Array(Vec::new()));
        let mut request: ChatRequest = serde_json::from_value(Value::Object(extra))
            .map_err(|e| ApiError::bad_request(format!("the completions request cannot be read: {e}")))?;
        request.model = model;
        request.messages = vec![Message {
            role: "user".to_owned(),
            content: Some(Content::Text(text(prompt)?)),
            ..Message::default()
        }];
        Ok(request)
    }

    fn reply(&self, _body: &RawObject<'_>, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
        let ChatResponse { id, created, model, choices, usage, extra, .. } = reply;
        let choice = |choice: wire::chat::Choice| CompletionChoice {
            text: choice.message.content.as_ref().map(Content::text).unwrap_or_default(),
            index: choice.index,
            finish_reason: choice.finish_reason,
            ..CompletionChoice::default()
        };
        let choices = choices.into_iter().map(choice).collect();
        serde_json::to_vec(&completion(id, created, model, choices, usage, extra))
    }

    fn stream(&self, body: &RawObject<'_>) -> Box<dyn DialectStream> {
        Box::new(Texts { usage: self.usage || asks_for_usage(body) })
    }

    fn tells_usage(&self) -> bool {
        self.usage
    }

    fn terminator(&self) -> &'static [u8] {
        sse::DONE
    }
}

fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        // `best_of: 1` is what there is.
        Value::Number(number) => number.as_u64().is_none_or(|n| n > 1),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// One text, alone or in a list.
fn text(prompt: Value) -> Result<String, ApiError> {
    match prompt {
        Value::String(text) => Ok(text),
        Value::Array(mut texts) if texts.len() == 1 && texts[0].is_string() => text(texts.remove(0)),
        Value::Array(texts) if texts.iter().all(Value::is_string) => Err(ApiError::bad_request(
            "prompt: the model behind this endpoint takes one prompt a call, send the others in calls of their own",
        )),
        _ => Err(ApiError::bad_request(
            "prompt: must be a text; tokens are understood only by the model that made them",
        )),
    }
}

fn completion(
    id: String,
    created: i64,
    model: String,
    choices: Vec<CompletionChoice>,
    usage: Option<wire::usage::Usage>,
    extra: Object,
) -> Completion {
    Completion { id, object: "text_completion".to_owned(), created, model, choices, usage, extra }
}

struct Texts {
    usage: bool,
}

impl DialectStream for Texts {
    fn chunk(&mut self, chunk: ChatChunk, out: &mut BytesMut) -> Result<(), serde_json::Error> {
        let ChatChunk { id, created, model, choices, usage, extra, .. } = chunk;
        let choices: Vec<CompletionChoice> = choices
            .into_iter()
            .filter(|c| c.delta.content.as_ref().is_some_and(|t| !t.is_empty()) || c.finish_reason.is_some())
            .map(|c| CompletionChoice {
                text: c.delta.content.unwrap_or_default(),
                index: c.index,
                finish_reason: c.finish_reason,
                ..CompletionChoice::default()
            })
            .collect();
        // A chunk of nothing but a role or a thought has no counterpart.
        if choices.is_empty() && (usage.is_none() || !self.usage) {
            return Ok(());
        }
        sse::write_json(out, &completion(id, created, model, choices, usage, extra))
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        error_event(error, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use providers::Task;
    use serde_json::json;

    fn request(body: Value) -> Result<ChatRequest, ApiError> {
        let bytes = body.to_string();
        UnifiedCompletions { usage: true }.request(&RawObject::parse(bytes.as_bytes()).unwrap())
    }

    #[test]
    fn a_prompt_becomes_a_message() {
        let chat = request(
            json!({"prompt": ["hi"], "max_tokens": 5, "logprobs": 2, "echo": false, "best_of": 1, "x": 1}),
        );
        let sent = serde_json::to_value(chat.unwrap()).unwrap();
        let expected = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "logprobs": true,
            "top_logprobs": 2, "x": 1});
        assert_eq!(sent, expected);
    }

    #[test]
    fn what_chat_cannot_say_is_refused_by_name() {
        for (field, value) in [("suffix", json!("x")), ("echo", json!(true)), ("best_of", json!(3))] {
            let error = request(json!({"prompt": "hi", field: value})).unwrap_err();
            assert!(error.message.starts_with(field), "{}", error.message);
        }
        for prompt in [json!(["a", "b"]), json!([1, 2]), json!({})] {
            assert!(request(json!({ "prompt": prompt })).unwrap_err().message.starts_with("prompt"));
        }
    }

    #[test]
    fn usage_is_for_those_who_ask_where_openais_habits_hold() {
        let counted = || ChatChunk { usage: Some(wire::usage::Usage::new(3, 1)), ..ChatChunk::default() };
        let told = |dialect: &dyn Dialect, body: &str| {
            let mut out = BytesMut::new();
            let mut stream = dialect.stream(&RawObject::parse(body.as_bytes()).unwrap());
            stream.chunk(counted(), &mut out).unwrap();
            !out.is_empty()
        };
        let (unified, openai) =
            (super::super::unified(Task::Completions), super::super::openai(Task::Completions));
        let asks = r#"{"prompt":"a","stream_options":{"include_usage":true}}"#;
        assert!(told(unified, "{}") && unified.tells_usage());
        assert!(!told(openai, "{}") && !openai.tells_usage());
        assert!(told(openai, asks));
    }
}
