//! The `generateContent` format as clients speak it: TRANSLATION §2, §3 and §10, read backwards.

mod reply;
mod request;
mod stream;
mod watch;

use providers::NativeCall;
use serde_json::{Value, json};
use wire::chat::{ChatRequest, ChatResponse};
use wire::error::ApiError;
use wire::raw::RawObject;

use super::{ClientFraming, Dialect, DialectStream, Format, Passage};

/// Contents in, candidates out.
pub(crate) struct GenerateContent {
    /// Whether a stream is one JSON array, as it is for who does not ask for `alt=sse`.
    pub(crate) array: bool,
}

impl Dialect for GenerateContent {
    fn format(&self) -> Format {
        Format::Contents
    }

    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
        request::read(body)
    }

    fn reply(&self, _body: &RawObject<'_>, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
        reply::write(reply)
    }

    fn stream(&self, _body: &RawObject<'_>) -> Box<dyn DialectStream> {
        Box::<stream::Events>::default()
    }

    fn framing(&self) -> ClientFraming {
        if self.array { ClientFraming::Array } else { ClientFraming::Events }
    }

    fn passage(&self) -> Option<&'static Passage> {
        static PASSAGE: Passage = Passage {
            call: NativeCall::GenerateContent,
            needs: &["contents"],
            usage: watch::usage,
            written: watch::written,
            watch: watch::new,
        };
        Some(&PASSAGE)
    }
}

/// How many tokens contents have.
pub(crate) struct CountContent;

impl Dialect for CountContent {
    fn format(&self) -> Format {
        Format::Contents
    }

    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
        request::read_counted(body)
    }

    fn reply(&self, _body: &RawObject<'_>, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
        reply::write(reply)
    }

    fn stream(&self, _body: &RawObject<'_>) -> Box<dyn DialectStream> {
        Box::<stream::Events>::default()
    }

    fn passage(&self) -> Option<&'static Passage> {
        static PASSAGE: Passage = Passage {
            call: NativeCall::CountContent,
            needs: &["contents", "generateContentRequest", "generate_content_request"],
            usage: |_| None,
            written: |_| 0,
            watch: watch::new,
        };
        Some(&PASSAGE)
    }

    fn counted(&self, tokens: u64) -> Option<Value> {
        Some(json!({"totalTokens": tokens, "estimated": true}))
    }
}
