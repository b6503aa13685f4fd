//! The upstream's side of a stream: bytes to events to the client's bytes, with the time limit between
//! pieces.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http_body::Body;
use journal::CountedUsage;
use journal::inference::{Gaps, Response};
use providers::{Framing, StreamFault};
use tokio::time::{Instant, Sleep};
use wire::sse::Event;

use super::frames::Frames;
use super::{Progress, Relay};
use crate::decoded::Decoded;
use crate::dialect::Dialect;
use crate::drain;
use crate::error::{At, ServeError};
use crate::record::Open;

/// Longest single event.
const MAX_EVENT: usize = 16 << 20;
/// How long the upstream may take to close after its terminator, so that the connection can be kept.
const CLOSE_WITHIN: Duration = Duration::from_millis(50);

pub(crate) struct Upstream {
    body: Decoded,
    frames: Frames,
    relay: Relay,
    at: At,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    last: Instant,
    /// What the read that gave the first event said besides: the answer of the next poll.
    deferred: Option<Result<Step, ServeError>>,
    gaps: Option<Box<Gaps>>,
    /// Whether something has gone to the client: before, the limit is that of the first byte.
    begun: bool,
    ended: bool,
    failed: bool,
    closing: bool,
}

/// What came of polling.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something was read; it may have given nothing for the client.
    Read,
    /// The answer is complete.
    Complete,
    /// The upstream said that there is no answer, and the client has that in the upstream's words.
    Failed,
}

impl Upstream {
    pub(crate) fn new(body: Decoded, framing: Framing, relay: Relay, idle: Duration, at: At) -> Self {
        let last = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(last + idle));
        Self {
            body,
            frames: Frames::new(framing, MAX_EVENT),
            relay,
            at,
            idle,
            timer,
            last,
            begun: false,
            deferred: None,
            gaps: None,
            ended: false,
            failed: false,
            closing: false,
        }
    }

    /// Reads until something can go to the client, so that an error in the first event still becomes a
    /// status and another entity may be tried.
    pub(crate) async fn first_event(mut self: Box<Self>) -> Result<(Box<Self>, BytesMut), ServeError> {
        let mut out = BytesMut::new();
        loop {
            let step = std::future::poll_fn(|cx| self.poll_step(cx, &mut out)).await;
            if !out.is_empty() {
                self.begun = true;
                // One read may hold the first event and the end: the end is for the next poll, so that
                // what the client sees does not depend on how the bytes were cut.
                self.deferred = (!matches!(step, Ok(Step::Read))).then_some(step);
                return Ok((self, out));
            }
            if !matches!(step?, Step::Read) {
                let reason = "the stream ended without an event".to_owned();
                return Err(ServeError::Broken { at: self.at, reason });
            }
        }
    }

    /// Reads one piece of the upstream's body and appends what it means for the client to `out`.
    pub(crate) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut BytesMut,
    ) -> Poll<Result<Step, ServeError>> {
        if let Some(step) = self.deferred.take() {
            return Poll::Ready(step);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let before = std::mem::replace(&mut self.last, Instant::now());
                if self.begun {
                    self.gaps.get_or_insert_default().note(self.last - before);
                }
                if let Some(data) = frame.data_ref() {
                    self.frames.push(data);
                    self.drain(out)?;
                }
                Poll::Ready(Ok(if self.ended { self.complete(out)? } else { Step::Read }))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Err(self.broken(format!("the stream broke off: {error}"))))
            }
            Poll::Ready(None) => {
                let last = self.frames.finish().map_err(|e| self.broken(e))?;
                if let Some(event) = last.filter(|event| self.relay.takes_unfinished(event)) {
                    self.event(&event, out)?;
                }
                Poll::Ready(self.complete(out))
            }
            Poll::Pending => self.poll_idle(cx),
        }
    }

    fn drain(&mut self, out: &mut BytesMut) -> Result<(), ServeError> {
        while let Some(event) = self.frames.next_event().map_err(|e| self.broken(e))? {
            self.event(&event, out)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), ServeError> {
        if self.ended {
            return Ok(());
        }
        let progress = self.relay.event(event, out).map_err(|fault| self.fault(fault))?;
        self.ended = progress != Progress::More;
        self.failed = progress == Progress::Failed;
        Ok(())
    }

    fn complete(&mut self, out: &mut BytesMut) -> Result<Step, ServeError> {
        self.relay.finish(out).map_err(|fault| self.fault(fault))?;
        Ok(if self.failed { Step::Failed } else { Step::Complete })
    }

    /// The timer is moved only when it fires, not on every piece.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, ServeError>> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let due = if self.begun { self.last } else { now } + self.idle;
            if now >= due {
                let reason = format!("the stream stopped: no event within {} ms", self.idle.as_millis());
                return Poll::Ready(Err(ServeError::TimedOut { at: self.at.clone(), reason }));
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// After the terminator: waits a moment for the upstream to close, so that its connection is reused.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.closing, true) {
            self.timer.as_mut().reset(Instant::now() + CLOSE_WITHIN);
        }
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            // An upstream that goes on and on is not waited for either.
            if !matches!(frame, Some(Ok(_))) || Instant::now() >= self.timer.deadline() {
                return Poll::Ready(());
            }
        }
        self.timer.as_mut().poll(cx)
    }

    /// Nobody hears the rest: it is read for its count alone, as far as such are read.
    pub(crate) async fn read_rest(&mut self) {
        let (mut out, mut read) = (BytesMut::new(), 0);
        while read <= drain::MOST {
            out.clear();
            let step = std::future::poll_fn(|cx| self.poll_step(cx, &mut out)).await;
            if !matches!(step, Ok(Step::Read)) {
                break;
            }
            read += out.len();
        }
    }

    pub(crate) fn usage(&self) -> CountedUsage {
        self.relay.usage()
    }

    fn response(&self) -> Response {
        Response { gaps: self.gaps.clone(), ..self.relay.response() }
    }

    /// Puts on record what was used by now, and what the answer says of itself.
    pub(crate) fn record(&self, dialect: &dyn Dialect, open: &mut Open) {
        if !dialect.is_free() {
            open.count(self.usage());
            open.wrote(self.relay.characters());
        }
        if open.is_described() {
            open.answered(self.response());
        }
    }

    /// Puts `error` into the stream in place of the rest.
    pub(crate) fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        self.relay.fail(error, out);
    }

    fn broken(&self, reason: String) -> ServeError {
        ServeError::Broken { at: self.at.clone(), reason }
    }

    fn fault(&self, fault: StreamFault) -> ServeError {
        match fault {
            StreamFault::Malformed(malformed) => self.broken(malformed.to_string()),
            StreamFault::Upstream(error) => {
                ServeError::Upstream { at: self.at.clone(), error: Box::new(error), retry_after: None }
            }
        }
    }
}
