//! A streamed answer on its way from the upstream to the client.

mod array;
mod client;
mod frames;
mod hub;
mod passed;
mod reading;
mod translated;
mod upstream;

use bytes::{Bytes, BytesMut};
use journal::CountedUsage;
use journal::inference::Response;
use providers::{StreamFault, UpstreamError};
use wire::sse::Event;

pub(crate) use client::{ClientBody, Watching};
pub(crate) use frames::Frames;
pub(crate) use passed::{Passed, Unwrap};
pub(crate) use reading::Reading;
pub(crate) use translated::{Origin, Translated};
pub(crate) use upstream::{Step, Upstream};

use crate::dialect::unified_error_event;
use crate::error::ServeError;
use crate::estimate::Lengths;
use hub::Hub;

/// What becomes of the upstream's events.
pub(crate) enum Relay {
    /// The upstream speaks the unified format: its data passes through, watched for usage and errors.
    Hub(Hub),
    /// The upstream speaks another format.
    Translated(Translated),
    /// The upstream speaks the client's own format.
    Passed(Passed),
}

/// Reads an error that came inside a stream.
pub(crate) type ReadError = Box<dyn Fn(&[u8]) -> UpstreamError + Send>;

/// What an event meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    /// The format's own terminator: nothing that matters follows.
    Ended,
    /// The same, and the client was told with it that there is no answer.
    Failed,
}

/// Whole events as one JSON array.
pub(crate) fn as_array(mut events: BytesMut) -> Bytes {
    let mut array = array::Array::default();
    array.take(&mut events);
    array.close(&mut events);
    events.freeze()
}

impl Relay {
    /// `lengths` is for the estimate when the upstream gives no usage; `read_error` reads an error object
    /// of the upstream's dialect; `tells_usage` is whether the client is told what was used.
    pub(crate) fn hub(lengths: Lengths, read_error: ReadError, tells_usage: bool) -> Self {
        Self::Hub(Hub::new(lengths, read_error, tells_usage))
    }

    pub(crate) fn translated(translated: Translated) -> Self {
        Self::Translated(translated)
    }

    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<Progress, StreamFault> {
        match self {
            Self::Hub(hub) => hub.event(event, out),
            Self::Translated(translated) => translated.event(event, out),
            Self::Passed(passed) => passed.event(event, out),
        }
    }

    /// Whether an event counts in which the upstream stopped: a piece of one must not pass as if it were whole.
    fn takes_unfinished(&self, event: &Event) -> bool {
        match self {
            Self::Passed(_) => serde_json::from_slice::<serde::de::IgnoredAny>(&event.data).is_ok(),
            Self::Hub(_) | Self::Translated(_) => true,
        }
    }

    /// The upstream is done. Errors when its answer was not complete.
    fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        match self {
            Self::Hub(hub) => hub.finish(out),
            Self::Translated(translated) => translated.finish(out),
            Self::Passed(passed) => passed.finish(),
        }
    }

    /// The status is long sent: the error goes into the stream.
    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        match self {
            Self::Hub(_) => unified_error_event(error, out),
            Self::Translated(translated) => translated.fail(error, out),
            Self::Passed(passed) => passed.fail(error, out),
        }
    }

    /// The usage: the upstream's, or an estimate of what has come so far.
    fn usage(&self) -> CountedUsage {
        match self {
            Self::Hub(hub) => hub.usage(),
            Self::Translated(translated) => translated.usage(),
            Self::Passed(passed) => passed.usage(),
        }
    }

    /// Characters that the model wrote so far: text, what it wrote to itself, and arguments of calls.
    fn characters(&self) -> u64 {
        match self {
            Self::Hub(hub) => hub.lengths.answer,
            Self::Translated(translated) => translated.lengths.answer,
            Self::Passed(passed) => passed.lengths.answer,
        }
    }

    /// What the answer has said of itself so far.
    fn response(&self) -> Response {
        match self {
            Self::Hub(hub) => hub.response(),
            Self::Translated(translated) => translated.response(),
            Self::Passed(passed) => passed.response(),
        }
    }
}
