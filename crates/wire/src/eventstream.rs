//! AWS's binary event stream (`application/vnd.amazon.eventstream`): bytes in any pieces to events.

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::{Buf, Bytes, BytesMut};

use crate::sse::Event;

/// Lengths of a frame and of its headers, and a checksum over both.
const PRELUDE: usize = 12;

/// The bytes are no frame, or one of more than the parser's bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFrame(pub String);

impl std::fmt::Display for BadFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadFrame {}

/// Splits a stream into events whatever the read boundaries. The name of an event is its `:event-type`;
/// that of an exception is `exception:` and its `:exception-type`, that of an error `error:` and its code.
#[derive(Debug)]
pub struct Parser {
    buffer: BytesMut,
    limit: usize,
}

impl Parser {
    /// A parser that refuses frames of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, if it has arrived.
    pub fn next_event(&mut self) -> Result<Option<Event>, BadFrame> {
        let Some(mut head) = self.buffer.get(..PRELUDE) else { return Ok(None) };
        let length = head.get_u32() as usize;
        if length < PRELUDE + 4 || length > self.limit {
            return Err(BadFrame(format!(
                "a frame of the event stream announces {length} bytes, {} to {} are possible",
                PRELUDE + 4,
                self.limit
            )));
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let frame = self.buffer.split_to(length).freeze();
        let message = read_message_from(frame)
            .map_err(|e| BadFrame(format!("a frame of the event stream is broken: {e}")))?;
        Ok(Some(event(message)))
    }

    /// Whether the stream ended within a frame.
    pub fn is_cut(&self) -> bool {
        !self.buffer.is_empty()
    }
}

fn event(message: Message) -> Event {
    let text = |name: &str| {
        let header = message.headers().iter().find(|h| h.name().as_str() == name);
        header.and_then(|h| h.value().as_string().ok()).map(|s| s.as_str().to_owned()).unwrap_or_default()
    };
    match text(":message-type").as_str() {
        "exception" => {
            let name = format!("exception:{}", text(":exception-type"));
            Event { name, data: message.payload().clone() }
        }
        // An error has its sentence in a header and no payload.
        "error" => {
            let said = serde_json::json!({ "message": text(":error-message") });
            Event { name: format!("error:{}", text(":error-code")), data: said.to_string().into() }
        }
        _ => Event { name: text(":event-type"), data: message.payload().clone() },
    }
}

/// The frame that says `event`, the inverse of the parser.
///
/// Errors when a name or the data is longer than the format allows.
pub fn frame(event: &Event) -> Result<Bytes, BadFrame> {
    let header = |name: &'static str, value: String| Header::new(name, HeaderValue::String(value.into()));
    let (kind, name, value) = match event.name.strip_prefix("exception:") {
        Some(exception) => ("exception", ":exception-type", exception),
        None => ("event", ":event-type", event.name.as_str()),
    };
    let message = Message::new(event.data.clone())
        .add_header(header(":message-type", kind.to_owned()))
        .add_header(header(name, value.to_owned()))
        .add_header(header(":content-type", "application/json".to_owned()));
    let mut out = BytesMut::new();
    write_message_to(&message, &mut out).map_err(|e| BadFrame(e.to_string()))?;
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(name: &str, data: &'static str) -> Event {
        Event { name: name.to_owned(), data: data.into() }
    }

    fn mixed() -> Vec<Event> {
        vec![
            event("messageStart", r#"{"role":"assistant"}"#),
            event("contentBlockDelta", r#"{"delta":{"text":"é"}}"#),
            event("exception:throttlingException", r#"{"message":"slow"}"#),
            event("metadata", ""),
        ]
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<Event>, BadFrame> {
        let (mut parser, mut out) = (Parser::new(1 << 20), Vec::new());
        for piece in pieces {
            parser.push(piece);
            while let Some(event) = parser.next_event()? {
                out.push(event);
            }
        }
        assert!(!parser.is_cut());
        Ok(out)
    }

    fn bytes() -> Vec<u8> {
        mixed().iter().flat_map(|e| frame(e).unwrap()).collect()
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        assert_eq!(read(&[&bytes()]).unwrap(), mixed());
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let whole = bytes();
        for at in 0..frame(&mixed()[0]).unwrap().len() {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            let mut parser = Parser::new(1 << 20);
            parser.push(&broken);
            // A changed length asks for more bytes or is refused; anything else breaks a checksum.
            assert!(!matches!(parser.next_event(), Ok(Some(_))), "byte {at}");
        }
    }

    #[test]
    fn an_endless_frame_is_refused_at_once() {
        let mut parser = Parser::new(100);
        parser.push(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(parser.next_event().is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(cuts in proptest::collection::vec(0..300usize, 0..8)) {
            let whole = bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &whole[w[0]..w[1]]).collect();
            prop_assert_eq!(read(&pieces).unwrap(), mixed());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut parser = Parser::new(1 << 16);
            parser.push(&bytes);
            while let Ok(Some(_)) = parser.next_event() {}
        }
    }
}
