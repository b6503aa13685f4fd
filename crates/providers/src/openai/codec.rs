//! The OpenAI chat format as a codec: what the conformance suite and the native surfaces use. On the
//! unified surface its bytes pass through unparsed.

use std::collections::BTreeSet;

use serde_json::Value;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse};
use wire::raw::RawObject;

use super::Edits;
use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, StreamFault, UpstreamError};
use crate::names::Names;
use crate::native::NativeCodec;
use crate::provider::{Splice, Task};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenAiChat {
    pub(crate) edits: Edits,
}

impl ChatCodec for OpenAiChat {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        let fault = |e: serde_json::Error| Refused::new("messages", e.to_string());
        let bytes = serde_json::to_vec(request).map_err(fault)?;
        let mut body = RawObject::parse(&bytes).map_err(fault)?;
        self.splice(model, Task::Chat, request.stream == Some(true), &mut body)?;
        let body = serde_json::to_value(&body).map_err(fault)?;
        Ok(Encoded { body, names: Names::default() })
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        let mut reply: Value = serde_json::from_slice(body)?;
        drop_nulls(&mut reply, "message");
        name_reasoning(&mut reply, "message");
        Ok(serde_json::from_value(reply)?)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Box::new(OpenAiStream { codec: *self, ..OpenAiStream::default() })
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        let mut error = UpstreamError::read(status, body, message);
        if status == 0 {
            error.status = status_of(&error.body);
        }
        error
    }
}

impl NativeCodec for OpenAiChat {
    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError {
        self.error(status, body)
    }
}

/// `{"error": {"message"}}`, `{"error": "…"}`, `{"message"}` or `{"detail"}`: engines of this format differ.
fn message(body: &Value) -> Option<String> {
    let error = body.get("error").unwrap_or(body);
    let text = error.get("message").or_else(|| error.get("detail")).unwrap_or(error);
    text.as_str().map(str::to_owned)
}

/// The status that an error inside a stream would have had.
fn status_of(body: &Value) -> u16 {
    let error = body.get("error").unwrap_or(body);
    // A number, or a number in a string: both occur.
    let number = |v: &Value| v.as_u64().or_else(|| v.as_str()?.parse().ok());
    let numeric = error.get("code").and_then(number).or_else(|| error.get("status").and_then(number));
    if let Some(status @ 400..=599) = numeric {
        return u16::try_from(status).unwrap_or(502);
    }
    let word = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    match (word("type"), word("code")) {
        ("invalid_request_error", _) => 400,
        ("authentication_error", _) => 401,
        ("permission_error", _) => 403,
        ("not_found_error", _) => 404,
        ("insufficient_quota", _) => 429,
        (kind, code) if kind.contains("rate_limit") || code.contains("rate_limit") => 429,
        ("server_error" | "internal_error", _) => 500,
        ("overloaded_error", _) => 503,
        _ => 502,
    }
}

/// Some engines send null where the format has a value; there it means absent. What is null by the
/// format, or is not of it, stays.
fn drop_nulls(body: &mut Value, payload: &str) {
    let Some(body) = body.as_object_mut() else { return };
    let named = ["id", "object", "created", "model"];
    body.retain(|key, value| !value.is_null() || !named.contains(&key.as_str()));
    // A chunk may have no choices; a reply without any is malformed.
    if payload == "delta" {
        body.retain(|key, value| !value.is_null() || key != "choices");
    }
    for choice in body.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(choice) = choice.as_object_mut() else { continue };
        choice.retain(|key, value| !value.is_null() || (key != "index" && key != payload));
        let calls =
            choice.get_mut(payload).and_then(|p| p.get_mut("tool_calls")).and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
            call.retain(|key, value| !value.is_null() || !["id", "index", "type"].contains(&key.as_str()));
        }
    }
}

/// `reasoning` is what newer engines call the text that others call `reasoning_content`; some send both.
fn name_reasoning(body: &mut Value, payload: &str) {
    let is_text = |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    for choice in body.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(said) = choice.get_mut(payload).and_then(Value::as_object_mut) else { continue };
        if !is_text(said.get("reasoning")) {
            continue;
        }
        let text = said.shift_remove("reasoning").unwrap_or_default();
        if !is_text(said.get("reasoning_content")) {
            said.insert("reasoning_content".to_owned(), text);
        }
    }
}

/// Databricks streams `content` as a list of reasoning and text parts, where the format has a text.
fn flatten_parts(chunk: &mut Value) {
    for choice in chunk.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) else { continue };
        let Some(Value::Array(parts)) = delta.get("content") else { continue };
        let texts = |part: &Value| part["text"].as_str().map(str::to_owned);
        let text: String = parts.iter().filter(|part| part["type"] == "text").filter_map(texts).collect();
        let summaries = parts.iter().filter_map(|part| part["summary"].as_array()).flatten();
        let reasoning: String = summaries.filter_map(texts).collect();
        delta.insert("content".to_owned(), text.into());
        if !reasoning.is_empty() {
            delta.insert("reasoning_content".to_owned(), reasoning.into());
        }
    }
}

#[derive(Debug, Default)]
struct OpenAiStream {
    codec: OpenAiChat,
    /// Choices that have begun and not told why they ended.
    open: BTreeSet<u64>,
    finished: bool,
    done: bool,
}

impl ChatStream for OpenAiStream {
    fn event(&mut self, name: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
        match data.trim_ascii() {
            b"[DONE]" => {
                self.done = true;
                return Ok(());
            }
            // A keep-alive.
            b"" => return Ok(()),
            _ => {}
        }
        let mut value: Value = serde_json::from_slice(data)?;
        let has = |key: &str| value.get(key).is_some_and(|v| !v.is_null());
        if name == "error" || has("error") || value.get("object").is_some_and(|o| o == "error") {
            return Err(StreamFault::Upstream(self.codec.error(0, data)));
        }
        // An event of another kind, of an engine's own: no chunk.
        if !has("choices") && !has("usage") {
            return Ok(());
        }
        drop_nulls(&mut value, "delta");
        name_reasoning(&mut value, "delta");
        flatten_parts(&mut value);
        let chunk: ChatChunk = serde_json::from_value(value)?;
        for choice in &chunk.choices {
            if choice.finish_reason.is_some() {
                self.finished = true;
                self.open.remove(&choice.index);
            } else {
                self.open.insert(choice.index);
            }
        }
        out.push(chunk);
        Ok(())
    }

    fn ended(&self) -> bool {
        self.done
    }

    fn finish(&mut self, _out: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
        // Some engines never send [DONE]; one that sent neither it nor a finish reason was cut off.
        if self.done || (self.finished && self.open.is_empty()) {
            Ok(())
        } else {
            Err(Malformed("the stream ended before a finish reason".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(events: &[&str]) -> (Vec<ChatChunk>, Result<(), StreamFault>) {
        let mut stream = OpenAiChat::default().stream();
        let mut out = Vec::new();
        for data in events {
            if let Err(fault) = stream.event("", data.as_bytes(), &mut out) {
                return (out, Err(fault));
            }
        }
        let end = stream.finish(&mut out).map_err(StreamFault::from);
        (out, end)
    }

    const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

    #[test]
    fn a_finish_reason_or_done_ends_a_stream_cleanly() {
        assert_eq!(run(&[TEXT, STOP]).1, Ok(()));
        assert_eq!(run(&[TEXT, "[DONE]"]).1, Ok(()));
        assert!(matches!(run(&[TEXT]).1, Err(StreamFault::Malformed(_))));
        assert!(matches!(run(&[]).1, Err(StreamFault::Malformed(_))));
    }

    #[test]
    fn one_finished_choice_of_two_is_a_cut_stream() {
        let second = r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#;
        assert!(run(&[TEXT, second, STOP]).1.is_err());
        assert!(run(&[TEXT, second, STOP, "[DONE]"]).1.is_ok());
    }

    #[test]
    fn errors_in_every_spelling_carry_a_status() {
        let status = |data: &str| match run(&[TEXT, data]).1 {
            Err(StreamFault::Upstream(error)) => (error.status, error.message),
            other => panic!("{data}: {other:?}"),
        };
        let cases = [
            (r#"{"error":{"message":"m","type":"server_error","code":null}}"#, 500),
            (r#"{"error":{"message":"m","type":"tokens","code":"rate_limit_exceeded"}}"#, 429),
            (r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#, 429),
            (r#"{"error":{"message":"m","code":"503"}}"#, 503),
            (r#"{"error":{"message":"m","code":400}}"#, 400),
            (r#"{"error":{"message":"m","code":200}}"#, 502),
            (r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#, 400),
            (r#"{"error":"m"}"#, 502),
        ];
        for (data, expected) in cases {
            assert_eq!(status(data), (expected, "m".to_owned()), "{data}");
        }
    }

    #[test]
    fn nulls_and_keep_alives_are_harmless() {
        let (chunks, end) = run(&[
            "",
            r#"{"type":"ping"}"#,
            r#"{"id":null,"created":null,"choices":[{"index":null,"delta":null,"finish_reason":null}],"usage":null}"#,
            r#"{"error":null,"choices":[{"index":0,"delta":{"content":null,"tool_calls":null},"finish_reason":"stop"}]}"#,
            r#"{"choices":null,"usage":{"prompt_tokens":1,"completion_tokens":null,"total_tokens":1}}"#,
        ]);
        assert_eq!(end, Ok(()));
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks[2].usage.as_ref().map(|u| u.prompt_tokens), Some(1));
    }

    #[test]
    fn reasoning_is_read_by_both_its_names() {
        for said in [
            json!({"role": "assistant", "content": "a", "reasoning": "hm"}),
            json!({"role": "assistant", "content": "a", "reasoning": "hm", "reasoning_content": null}),
            json!({"role": "assistant", "content": "a", "reasoning": "hm", "reasoning_content": ""}),
            json!({"role": "assistant", "content": "a", "reasoning": "hm", "reasoning_content": "hm"}),
            json!({"role": "assistant", "content": "a", "reasoning": null, "reasoning_content": "hm"}),
        ] {
            let event = json!({"choices": [{"index": 0, "delta": said}]}).to_string();
            let (chunks, end) = run(&[&event, STOP]);
            let delta = &chunks[0].choices[0].delta;
            assert_eq!((end, delta.reasoning_content.as_deref()), (Ok(()), Some("hm")), "{event}");
            let body =
                json!({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}).to_string();
            let reply = OpenAiChat::default().decode(body.as_bytes()).unwrap();
            assert_eq!(reply.choices[0].message.reasoning_content.as_deref(), Some("hm"), "{body}");
        }
    }

    #[test]
    fn a_list_of_parts_is_read_as_text_and_reasoning() {
        let (chunks, end) = run(&[
            r#"{"choices":[{"index":0,"delta":{"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"type":"text","text":"a"}]}}]}"#,
            STOP,
        ]);
        assert_eq!(end, Ok(()));
        let delta = &chunks[0].choices[0].delta;
        assert_eq!((delta.content.as_deref(), delta.reasoning_content.as_deref()), (Some("a"), Some("hm")));
    }

    #[test]
    fn null_is_kept_where_it_is_not_ours() {
        let body = json!({"id": "c", "system_fingerprint": null, "choices": [
            {"index": 0, "logprobs": null, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]});
        let reply = OpenAiChat::default().decode(body.to_string().as_bytes()).unwrap();
        assert!(
            reply.extra.contains_key("system_fingerprint") && reply.choices[0].extra.contains_key("logprobs")
        );
    }

    #[test]
    fn a_reply_without_choices_is_malformed() {
        for body in [r#"{"error":{"message":"m"}}"#, r#"{"choices":null}"#, "{}", "[]", "", "<html>"] {
            assert!(OpenAiChat::default().decode(body.as_bytes()).is_err(), "{body}");
        }
    }
}
