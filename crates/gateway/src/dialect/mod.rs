//! The formats that clients speak, each over the unified chat format: a request becomes a chat request, a
//! chat answer the client's answer. One file or folder per format.

mod blocks;
mod chat;
mod completions;
mod converse;
mod generate;
mod messages;
pub(crate) mod opaque;
mod responses;

use bytes::BytesMut;
use providers::{NativeCall, Task};
use serde_json::Value;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse};
use wire::error::ApiError;
use wire::raw::RawObject;
use wire::usage::Usage;

use crate::error::ServeError;

pub(crate) use chat::{asks_for_usage, error_event as unified_error_event};
pub(crate) use converse::Converse;
pub(crate) use generate::{CountContent, GenerateContent};
pub(crate) use messages::{CountMessages, Messages};
pub(crate) use responses::{Responses, StoredResponses};

/// What a client's bodies and events look like, for those who must find their way in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Chat,
    Completions,
    Messages,
    Responses,
    Contents,
    Converse,
}

/// A client's format.
pub(crate) trait Dialect: Send + Sync {
    fn format(&self) -> Format;

    /// Reads the client's request, its body without our own fields.
    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError>;
    /// The answer to the request `body` as one JSON document.
    fn reply(&self, body: &RawObject<'_>, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error>;
    fn stream(&self, body: &RawObject<'_>) -> Box<dyn DialectStream>;
    /// What ends a complete stream, where that is the same for all.
    fn terminator(&self) -> &'static [u8] {
        b""
    }
    fn framing(&self) -> ClientFraming {
        ClientFraming::Events
    }
    /// The event that keeps a silent stream alive, where the format's own service sends one.
    fn ping(&self) -> Option<&'static [u8]> {
        None
    }
    /// Whether a stream has its usage although nobody asked for it.
    fn tells_usage(&self) -> bool {
        true
    }
    /// How it passes through to those who speak it; `None` for the unified format, which has ways of its own.
    fn passage(&self) -> Option<&'static Passage> {
        None
    }
    /// The answer where only the length of the prompt is asked for, in tokens that were estimated.
    fn counted(&self, _tokens: u64) -> Option<Value> {
        None
    }
    /// Whether only the length of the prompt is asked for, which uses nothing.
    fn counts(&self) -> bool {
        self.counted(0).is_some()
    }
    /// Whether a call uses no tokens.
    fn is_free(&self) -> bool {
        self.counts()
    }
}

/// How a stream comes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientFraming {
    /// Server-sent events.
    Events,
    /// One JSON array of what else are the events.
    Array,
    /// AWS's binary frames.
    AwsEventStream,
}

/// The state of one streamed answer to a client.
pub(crate) trait DialectStream: Send {
    fn chunk(&mut self, chunk: ChatChunk, out: &mut BytesMut) -> Result<(), serde_json::Error>;
    /// The answer is complete: what is still to be said before the terminator.
    fn finish(&mut self, _out: &mut BytesMut) -> Result<(), serde_json::Error> {
        Ok(())
    }
    /// What stands in the stream in place of the rest, when it fails.
    fn fail(&mut self, error: &ServeError, out: &mut BytesMut);
}

/// What there is to know of a format that passes through unread.
pub(crate) struct Passage {
    pub(crate) call: NativeCall,
    /// Fields of a request of which one must be there, the usual one first.
    pub(crate) needs: &'static [&'static str],
    /// The usage in a whole answer.
    pub(crate) usage: fn(&Value) -> Option<Usage>,
    /// Characters of a whole answer that the model wrote, as they are counted in a stream.
    pub(crate) written: fn(&Value) -> u64,
    pub(crate) watch: fn() -> Box<dyn Watch>,
}

/// Looks at the events of a stream that passes through.
pub(crate) trait Watch: Send {
    /// What `data`, an event's, means. `name` is empty where the event has none.
    fn see(&mut self, name: &str, data: &Value) -> Seen;
    fn usage(&self) -> Option<Usage>;
    /// Whether a stream that ends here is complete.
    fn is_complete(&self) -> bool;
    /// What stands in the stream in place of the rest, when it fails.
    fn fail(&mut self, error: &ServeError, out: &mut BytesMut);
}

/// What an event means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// It passes on; `text` is how many characters the model wrote in it.
    More { text: u64 },
    /// It passes on, and nothing that matters follows.
    End,
    /// The same, and it says that there is no answer.
    Failed,
    /// An error, as a body that a codec reads.
    Error(Value),
}

impl Seen {
    const NOTHING: Self = Self::More { text: 0 };
}

/// The format of the unified surface for a task. Embeddings are never said through chat.
pub(crate) fn unified(task: Task) -> &'static dyn Dialect {
    match task {
        Task::Chat | Task::Embeddings => &chat::UnifiedChat { usage: true },
        Task::Completions => &completions::UnifiedCompletions { usage: true },
    }
}

/// The same where OpenAI's own habits hold: usage in a stream is for those who ask for it.
pub(crate) fn openai(task: Task) -> &'static dyn Dialect {
    match task {
        Task::Chat | Task::Embeddings => &chat::UnifiedChat { usage: false },
        Task::Completions => &completions::UnifiedCompletions { usage: false },
    }
}

/// The items of a list; none where it is none.
fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Characters of the values, of those that are no text as JSON: so arguments come in streams.
fn characters<'a>(values: impl IntoIterator<Item = &'a Value>) -> u64 {
    let length = |value: &Value| match value {
        Value::Null => 0,
        Value::String(text) => text.chars().count(),
        other => other.to_string().chars().count(),
    };
    values.into_iter().map(length).sum::<usize>() as u64
}

/// Writes `value`, which was built here, as an event of its name.
fn write(out: &mut BytesMut, name: &str, value: &Value) {
    // Writing JSON into memory fails for no value that is JSON already.
    let _ = wire::sse::write_event_json(out, name, value);
}

fn read<T: serde::de::DeserializeOwned>(body: &RawObject<'_>, what: &str) -> Result<T, ApiError> {
    let bytes = body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::bad_request(format!("the {what} request cannot be read: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_whole_answer_all_that_the_model_wrote_is_counted_and_nothing_else() {
        let written = |dialect: &dyn Dialect, answer| (dialect.passage().unwrap().written)(&answer);
        let messages = json!({"content": [{"type": "thinking", "thinking": "hö", "signature": "s"}, {"type": "text", "text": "abc"},
            {"type": "tool_use", "id": "i", "name": "f", "input": {"a": 1}},
            {"type": "web_search_tool_result", "content": [{"type": "web_search_result", "title": "t", "url": "u"}]}]});
        assert_eq!(written(&Messages, messages), 2 + 3 + 7);
        let responses = json!({"reasoning": {"summary": "auto"}, "instructions": "be brief", "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hö"}], "encrypted_content": "e"},
            {"type": "message", "content": [{"type": "output_text", "text": "abc"}, {"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "name": "f", "arguments": "{\"a\":1}"}, {"type": "custom_tool_call", "input": "run"},
            {"type": "code_interpreter_call", "code": "1+1", "outputs": [{"type": "logs", "logs": "2"}]}]});
        assert_eq!(written(&Responses, responses), 2 + 3 + 2 + 7 + 3 + 3);
        let contents = json!({"candidates": [{"content": {"parts": [{"text": "hö", "thought": true}, {"text": "abc"},
            {"functionCall": {"name": "f", "args": {"a": 1}}}]}}, {"content": {"parts": [{"text": "d"}]}}]});
        assert_eq!(written(&GenerateContent { array: false }, contents), 2 + 3 + 7 + 1);
        let turn = json!({"output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hö", "signature": "s"}}}, {"text": "abc"},
            {"toolUse": {"toolUseId": "i", "name": "f", "input": {"a": 1}}}]}}, "stopReason": "tool_use"});
        assert_eq!(written(&Converse, turn), 2 + 3 + 7);
    }
}
