//! The Responses format as clients speak it: TRANSLATION §9.

mod reply;
mod request;
mod stream;
mod tools;
mod watch;

use providers::NativeCall;
use wire::chat::{ChatRequest, ChatResponse};
use wire::error::ApiError;
use wire::raw::RawObject;

use super::{Dialect, DialectStream, Format, Passage};

/// Responses in, responses out.
pub(crate) struct Responses;

impl Dialect for Responses {
    fn format(&self) -> Format {
        Format::Responses
    }

    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
        request::read(body)
    }

    fn reply(&self, body: &RawObject<'_>, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
        reply::write(&reply::Asked::read(body), reply)
    }

    fn stream(&self, body: &RawObject<'_>) -> Box<dyn DialectStream> {
        Box::new(stream::Events::new(reply::Asked::read(body)))
    }

    fn passage(&self) -> Option<&'static Passage> {
        static PASSAGE: Passage = Passage {
            call: NativeCall::Responses,
            needs: &["input", "previous_response_id", "conversation", "prompt"],
            usage: watch::usage,
            written: watch::written,
            watch: watch::new,
        };
        Some(&PASSAGE)
    }
}

/// A response that is kept, asked for by its id: what it used was counted when it was made.
pub(crate) struct StoredResponses;

impl Dialect for StoredResponses {
    fn format(&self) -> Format {
        Format::Responses
    }

    fn request(&self, _body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
        Err(ApiError::internal("a response that is kept is asked for by its id"))
    }

    fn reply(&self, body: &RawObject<'_>, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
        Responses.reply(body, reply)
    }

    fn stream(&self, body: &RawObject<'_>) -> Box<dyn DialectStream> {
        Responses.stream(body)
    }

    fn passage(&self) -> Option<&'static Passage> {
        static PASSAGE: Passage = Passage {
            call: NativeCall::Responses,
            needs: &[],
            usage: |_| None,
            written: |_| 0,
            watch: watch::new,
        };
        Some(&PASSAGE)
    }

    fn is_free(&self) -> bool {
        true
    }
}
