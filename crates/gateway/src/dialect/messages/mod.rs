//! The Messages format as clients speak it: TRANSLATION §8.

mod reply;
mod request;
mod stream;
mod watch;

use providers::NativeCall;
use serde_json::{Value, json};
use wire::chat::{ChatRequest, ChatResponse};
use wire::error::ApiError;
use wire::raw::RawObject;

use super::{Dialect, DialectStream, Format, Passage};

pub(super) use reply::input;
pub(super) use request::effort;

/// Messages in, messages out.
pub(crate) struct Messages;

impl Dialect for Messages {
    fn format(&self) -> Format {
        Format::Messages
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

    fn ping(&self) -> Option<&'static [u8]> {
        Some(b"event: ping\ndata: {\"type\": \"ping\"}\n\n")
    }

    fn passage(&self) -> Option<&'static Passage> {
        static PASSAGE: Passage = Passage {
            call: NativeCall::Messages,
            needs: &["messages"],
            usage: watch::usage,
            written: watch::written,
            watch: watch::new,
        };
        Some(&PASSAGE)
    }
}

/// How many tokens a message has.
pub(crate) struct CountMessages;

impl Dialect for CountMessages {
    fn format(&self) -> Format {
        Format::Messages
    }

    fn request(&self, body: &RawObject<'_>) -> Result<ChatRequest, ApiError> {
        request::read(body)
    }

    fn reply(&self, body: &RawObject<'_>, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
        Messages.reply(body, reply)
    }

    fn stream(&self, body: &RawObject<'_>) -> Box<dyn DialectStream> {
        Messages.stream(body)
    }

    fn passage(&self) -> Option<&'static Passage> {
        static PASSAGE: Passage = Passage {
            call: NativeCall::CountMessages,
            needs: &["messages"],
            usage: |_| None,
            written: |_| 0,
            watch: watch::new,
        };
        Some(&PASSAGE)
    }

    fn counted(&self, tokens: u64) -> Option<Value> {
        Some(json!({"input_tokens": tokens, "estimated": true}))
    }
}
