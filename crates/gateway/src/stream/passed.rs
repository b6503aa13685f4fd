//! A client's own format in and out: every event goes on as it came, watched for usage, errors and the end.

use bytes::BytesMut;
use journal::inference::Response;
use journal::{CountedUsage, Provenance};
use providers::{Malformed, StreamFault};
use serde_json::Value;
use wire::eventstream;
use wire::sse::{self, Event};
use wire::usage::Usage;

use super::{Progress, ReadError};
use crate::dialect::{ClientFraming, Seen, Watch};
use crate::error::ServeError;
use crate::estimate::Lengths;
use crate::inference;
use crate::stored::Carried;

pub(crate) struct Passed {
    watch: Box<dyn Watch>,
    read_error: ReadError,
    pub(super) lengths: Lengths,
    /// Where somebody wants to know what the answer says of itself.
    response: Option<Response>,
    /// Where the ids in it become others.
    carried: Option<Carried>,
    /// Where the upstream makes the answer whoever listens: tokens of output that are counted of one that is
    /// not seen to its end.
    goes_on: Option<u64>,
    /// Whether the client takes binary frames, as the upstream sends them.
    binary: bool,
    /// Where an event comes in something else.
    unwrap: Option<Unwrap>,
}

/// Takes an event out of what it comes in.
pub(crate) type Unwrap = Box<dyn Fn(Event) -> Result<Event, StreamFault> + Send>;

impl Passed {
    pub(crate) fn new(watch: Box<dyn Watch>, lengths: Lengths, read_error: ReadError) -> Self {
        let (response, carried, goes_on, unwrap) = (None, None, None, None);
        Self { watch, read_error, lengths, response, carried, goes_on, binary: false, unwrap }
    }

    pub(crate) fn described(self, is_described: bool) -> Self {
        Self { response: is_described.then(Response::default), ..self }
    }

    pub(crate) fn unwrapping(self, unwrap: Option<Unwrap>) -> Self {
        Self { unwrap, ..self }
    }

    pub(crate) fn framed(self, framing: ClientFraming) -> Self {
        Self { binary: framing == ClientFraming::AwsEventStream, ..self }
    }

    pub(crate) fn carrying(self, carried: Option<Carried>) -> Self {
        Self { carried, ..self }
    }

    pub(crate) fn going_on(self, goes_on: Option<u64>) -> Self {
        Self { goes_on, ..self }
    }

    pub(super) fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<Progress, StreamFault> {
        match &self.unwrap {
            Some(unwrap) => self.passed(&unwrap(event.clone())?, out),
            None => self.passed(event, out),
        }
    }

    fn passed(&mut self, event: &Event, out: &mut BytesMut) -> Result<Progress, StreamFault> {
        let text =
            str::from_utf8(&event.data).map_err(|e| Malformed(format!("an event is not UTF-8: {e}")))?;
        // What is no JSON is none of the events that we know, and travels on.
        let seen = serde_json::from_str::<Value>(text).map(|data| {
            self.response.iter_mut().for_each(|response| inference::note(response, &data));
            self.watch.see(&event.name, &data)
        });
        match seen {
            Ok(Seen::Error(body)) => {
                let body = serde_json::to_vec(&body)?;
                return Err(StreamFault::Upstream((self.read_error)(&body)));
            }
            Ok(Seen::More { text }) => self.lengths.answer += text,
            Ok(Seen::End | Seen::Failed) | Err(_) => {}
        }
        match &mut self.carried {
            _ if self.binary => {
                let frame = eventstream::frame(event).map_err(|e| Malformed(e.to_string()))?;
                out.extend_from_slice(&frame);
            }
            Some(carried) => sse::write_event(out, &event.name, &carried.rewritten(event.data.clone())),
            None => sse::write_event(out, &event.name, &event.data),
        }
        Ok(match seen {
            Ok(Seen::End) => Progress::Ended,
            Ok(Seen::Failed) => Progress::Failed,
            _ => Progress::More,
        })
    }

    pub(super) fn finish(&self) -> Result<(), StreamFault> {
        if self.watch.is_complete() {
            return Ok(());
        }
        Err(Malformed("the stream ended before its last event".to_owned()).into())
    }

    pub(super) fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        self.watch.fail(error, out);
    }

    pub(super) fn usage(&self) -> CountedUsage {
        match (self.watch.usage().filter(Usage::is_told), self.goes_on) {
            (Some(usage), _) if self.watch.is_complete() => {
                CountedUsage { usage, provenance: Provenance::Provider }
            }
            (_, Some(expected)) if !self.watch.is_complete() => self.lengths.going_on(expected),
            (told, _) => self.lengths.cut(told.as_ref()),
        }
    }

    pub(super) fn response(&self) -> Response {
        self.response.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, Messages};
    use providers::UpstreamError;

    fn passed() -> Passed {
        let watch = (Messages.passage().unwrap().watch)();
        Passed::new(watch, Lengths::default(), Box::new(|data| UpstreamError::read(529, data, |_| None)))
    }

    fn event(name: &str, data: &'static str) -> Event {
        Event { name: name.to_owned(), data: data.into() }
    }

    #[test]
    fn events_that_we_do_not_know_go_on_unchanged() {
        let (mut passed, mut out) = (passed(), BytesMut::new());
        passed
            .event(&event("message_start", r#"{"type":"message_start",  "message":{}}"#), &mut out)
            .unwrap();
        passed.event(&event("hologram", "no json"), &mut out).unwrap();
        passed
            .event(&event("", r#"{"type":"content_block_start","content_block":{"type":"x"}}"#), &mut out)
            .unwrap();
        assert!(passed.finish().is_err());
        let end = passed.event(&event("message_stop", r#"{"type":"message_stop"}"#), &mut out).unwrap();
        assert_eq!(end, Progress::Ended);
        assert!(passed.finish().is_ok());
        let expected = "event: message_start\ndata: {\"type\":\"message_start\",  \"message\":{}}\n\n\
            event: hologram\ndata: no json\n\ndata: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"x\"}}\n\n\
            event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        assert_eq!(str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn a_count_that_is_not_the_last_one_is_not_the_providers() {
        let (mut passed, mut out) = (passed(), BytesMut::new());
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}"#;
        let said = r#"{"type":"content_block_delta","delta":{"text":"twenty characters..."}}"#;
        let told = r#"{"type":"message_delta","usage":{"output_tokens":6}}"#;
        let stop = r#"{"type":"message_stop"}"#;
        let expected = [
            (start, 1, Provenance::Counted),
            (said, 5, Provenance::Counted),
            (told, 6, Provenance::Counted),
            (stop, 6, Provenance::Provider),
        ];
        for (data, output, provenance) in expected {
            passed.event(&event("", data), &mut out).unwrap();
            let counted = passed.usage();
            assert_eq!((counted.tokens().input(), counted.tokens().output()), (13, output), "{data}");
            assert_eq!(counted.provenance, provenance, "{data}");
        }
    }

    #[test]
    fn what_an_answer_says_of_itself_is_read_where_somebody_wants_to_know() {
        let start = event("", r#"{"type":"message_start","message":{"id":"msg_1"}}"#);
        for (is_described, id) in [(true, Some("msg_1")), (false, None)] {
            let mut passed = passed().described(is_described);
            passed.event(&start, &mut BytesMut::new()).unwrap();
            assert_eq!(passed.response().id.as_deref(), id);
        }
    }

    #[test]
    fn an_error_is_not_passed_but_told() {
        let mut out = BytesMut::new();
        let fault = passed()
            .event(&event("error", r#"{"type":"error","error":{"type":"overloaded_error"}}"#), &mut out);
        assert!(matches!(fault, Err(StreamFault::Upstream(error)) if error.status == 529));
        assert!(out.is_empty());
    }
}
