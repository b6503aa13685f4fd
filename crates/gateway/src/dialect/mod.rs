//! The formats that clients speak, each over the unified chat format: a request becomes a chat request, a
//! chat answer the client's answer. One file per format.

mod chat;
mod completions;

use bytes::BytesMut;
use providers::Task;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse};
use wire::error::ApiError;
use wire::raw::RawObject;

use crate::error::ServeError;

/// A client's format.
pub(crate) trait Dialect: Send + Sync {
    /// Reads the client's request, its body without our own fields.
    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError>;
    /// The answer as one JSON document.
    fn reply(&self, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error>;
    fn stream(&self) -> Box<dyn DialectStream>;
    /// What stands in the stream in place of the rest, when it fails.
    fn error_event(&self, error: &ServeError, out: &mut BytesMut);
    /// What ends a complete stream.
    fn terminator(&self) -> &'static [u8];
}

/// The state of one streamed answer to a client.
pub(crate) trait DialectStream: Send {
    fn chunk(&mut self, chunk: ChatChunk, out: &mut BytesMut) -> Result<(), serde_json::Error>;
    /// The answer is complete: what is still to be said before the terminator.
    fn finish(&mut self, _out: &mut BytesMut) -> Result<(), serde_json::Error> {
        Ok(())
    }
}

/// The format of the unified surface for a task. Embeddings are never said through chat.
pub(crate) fn unified(task: Task) -> &'static dyn Dialect {
    match task {
        Task::Chat | Task::Embeddings => &chat::UnifiedChat,
        Task::Completions => &completions::UnifiedCompletions,
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &RawObject<'_>, what: &str) -> Result<T, ApiError> {
    let bytes = body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::bad_request(format!("the {what} request cannot be read: {e}")))
}
