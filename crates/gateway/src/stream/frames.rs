//! How a stream is cut into events.

use providers::Framing;
use wire::sse::Event;
use wire::{eventstream, sse};

pub(crate) enum Frames {
    Sse(sse::Parser),
    EventStream(eventstream::Parser),
}

impl Frames {
    /// Single events of more than `longest` bytes are errors.
    pub(crate) fn new(framing: Framing, longest: usize) -> Self {
        match framing {
            Framing::Sse => Self::Sse(sse::Parser::new(longest)),
            Framing::AwsEventStream => Self::EventStream(eventstream::Parser::new(longest)),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Sse(parser) => parser.push(bytes),
            Self::EventStream(parser) => parser.push(bytes),
        }
    }

    /// The next whole event, if it has arrived; else what is wrong with the bytes.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, String> {
        match self {
            Self::Sse(parser) => parser.next_event().map_err(|e| e.to_string()),
            Self::EventStream(parser) => parser.next_event().map_err(|e| e.to_string()),
        }
    }

    /// The upstream closed: the event that the stream ended in, where an event may end so.
    pub(super) fn finish(&mut self) -> Result<Option<Event>, String> {
        match self {
            Self::Sse(parser) => Ok(parser.finish()),
            Self::EventStream(parser) if parser.is_cut() => Err("the stream ended within a frame".to_owned()),
            Self::EventStream(_) => Ok(None),
        }
    }
}
