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
            watch: watch::new,
        };
        Some(&PASSAGE)
    }
}
