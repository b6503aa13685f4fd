//! Bedrock's Converse as clients speak it: the service model of `bedrock-runtime` in botocore, read backwards.

mod reply;
mod request;
mod stream;
mod watch;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use providers::NativeCall;
use serde_json::Value;
use wire::chat::{ChatRequest, ChatResponse};
use wire::error::ApiError;
use wire::eventstream;
use wire::raw::RawObject;
use wire::sse::Event;

use super::{ClientFraming, Dialect, DialectStream, Format, Passage};
use crate::error::ServeError;
use crate::shape::Shape;

/// A turn of a conversation in, the next one out.
pub(crate) struct Converse;

impl Dialect for Converse {
    fn format(&self) -> Format {
        Format::Converse
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
        ClientFraming::AwsEventStream
    }

    fn passage(&self) -> Option<&'static Passage> {
        static PASSAGE: Passage = Passage {
            call: NativeCall::Converse,
            needs: &["messages"],
            usage: watch::usage,
            written: watch::written,
            watch: watch::new,
        };
        Some(&PASSAGE)
    }
}

/// Appends the frame of an event.
fn write(out: &mut BytesMut, name: &str, value: &Value) {
    let event = Event { name: name.to_owned(), data: value.to_string().into() };
    // Errors only for what is longer than a frame can be, which no event built here is.
    if let Ok(frame) = eventstream::frame(&event) {
        out.extend_from_slice(&frame);
    }
}

/// The exceptions that a stream may end in.
fn fail(error: &ServeError, out: &mut BytesMut) {
    let name = match error.to_api().status {
        429 => "throttlingException",
        503 | 529 => "serviceUnavailableException",
        400..=499 => "validationException",
        502 | 504 => "modelStreamErrorException",
        _ => "internalServerException",
    };
    write(out, &format!("exception:{name}"), &Shape::Converse.body(error));
}

/// What is signed or sealed is a blob in this format: its characters as base64.
fn blob(text: &str) -> String {
    STANDARD.encode(text)
}

fn unblob(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}
