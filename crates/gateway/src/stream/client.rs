//! The client's side of a stream: a response body that is pulled by the client's own connection, so that
//! back-pressure reaches the upstream, and dropped with it, so that a client that leaves ends the call.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use journal::{Durable, Outcome};
use tokio::time::{Instant, Sleep};

use super::array::Array;
use super::upstream::{Step, Upstream};
use crate::dialect::{ClientFraming, Dialect};
use crate::drain::{self, Drains};
use crate::error::ServeError;
use crate::guardrails::Guarded;
use crate::record::Open;

/// What becomes of a stream beside its way to the client.
pub(crate) struct Watching {
    /// What of it may go on, where guardrails say so.
    pub(crate) guarded: Option<Box<Guarded>>,
    /// How long it may be silent before the client is told that it is alive.
    pub(crate) ping_every: Duration,
    /// Where the answer is read on when the client leaves; `None` to leave the upstream as well.
    pub(crate) drains: Option<Drains>,
}

pub(crate) struct ClientBody {
    /// Until it is dropped.
    pull: Option<Pull>,
    /// Where the answer is read on when the client leaves; `None` to leave the upstream as well.
    drains: Option<Drains>,
}

struct Pull {
    upstream: Box<Upstream>,
    out: BytesMut,
    open: Box<Open>,
    dialect: &'static dyn Dialect,
    /// Where the client takes an array in place of events.
    array: Option<Array>,
    ping: Option<Ping>,
    /// What of it may go on, where guardrails say so.
    guarded: Option<Box<Guarded>>,
    state: State,
    /// What the last bytes wait for.
    durable: Option<Durable>,
}

/// Tells a client that waits that the stream is alive, as the service of its format does.
struct Ping {
    event: &'static [u8],
    every: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Ping {
    fn new(event: &'static [u8], every: Duration) -> Self {
        Self { event, every, timer: Box::pin(tokio::time::sleep(every)) }
    }

    fn restart(&mut self) {
        self.timer.as_mut().reset(Instant::now() + self.every);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Streaming,
    /// Everything is with the client; the upstream may still close in good order.
    Closing,
    Done,
}

impl ClientBody {
    pub(crate) fn new(
        (upstream, ready): (Box<Upstream>, BytesMut),
        open: Box<Open>,
        dialect: &'static dyn Dialect,
        watching: Watching,
    ) -> Self {
        let Watching { guarded, ping_every, drains } = watching;
        let ping = dialect.ping().map(|event| Ping::new(event, ping_every));
        let array = (dialect.framing() == ClientFraming::Array).then(Array::default);
        let (state, durable) = (State::Streaming, None);
        let mut pull = Pull { upstream, out: ready, open, dialect, array, ping, guarded, state, durable };
        if pull.may_go_on(false) {
            pull.frame();
        }
        Self { pull: Some(pull), drains }
    }
}

impl Pull {
    /// Puts what was just written into the form that the client takes.
    fn frame(&mut self) {
        if let Some(array) = &mut self.array {
            array.take(&mut self.out);
        }
    }

    fn count(&mut self) {
        self.upstream.record(self.dialect, &mut self.open);
        if let Some(guarded) = &mut self.guarded {
            self.open.guarded(guarded.verdicts());
        }
    }

    /// Between two events of an upstream that is silent for long stands a ping.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, ServeError>> {
        if let Poll::Ready(step) = self.upstream.poll_step(cx, &mut self.out) {
            return Poll::Ready(step);
        }
        let Some(ping) = &mut self.ping else { return Poll::Pending };
        ready!(ping.timer.as_mut().poll(cx));
        self.out.extend_from_slice(ping.event);
        Poll::Ready(Ok(Step::Read))
    }

    /// Has guardrails look at what was just written; `last` when nothing follows. What they do not let
    /// through ends the stream.
    fn may_go_on(&mut self, last: bool) -> bool {
        let Some(guarded) = &mut self.guarded else { return true };
        if guarded.take(&mut self.out, last, || self.upstream.usage()) {
            return true;
        }
        self.end(Outcome::Refused);
        false
    }

    /// The settlement is recorded before the last bytes are handed over.
    fn end(&mut self, outcome: Outcome) {
        self.frame();
        if let Some(array) = &mut self.array {
            array.close(&mut self.out);
        }
        self.count();
        self.open.sent(&self.out);
        self.open.settle(outcome, 200);
        self.durable = self.open.durable();
        self.state = if outcome == Outcome::Completed { State::Closing } else { State::Done };
    }

    /// The status is long sent: the error goes into the stream, and no terminator follows.
    fn fail(&mut self, error: &ServeError) {
        self.upstream.fail(error, &mut self.out);
        self.end(Outcome::Failed);
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self;
        loop {
            if let Some(durable) = &mut this.durable {
                ready!(durable.as_mut().poll(cx));
                this.durable = None;
            }
            if !this.out.is_empty() {
                let data = this.out.split().freeze();
                this.ping.iter_mut().for_each(Ping::restart);
                if this.state == State::Streaming {
                    this.open.sent(&data);
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            match this.state {
                State::Streaming => match ready!(this.poll_upstream(cx)) {
                    Ok(Step::Read) => {
                        if this.may_go_on(false) {
                            this.frame();
                        }
                    }
                    Ok(Step::Complete) => {
                        if this.may_go_on(true) {
                            this.out.extend_from_slice(this.dialect.terminator());
                            this.end(Outcome::Completed);
                        }
                    }
                    Ok(Step::Failed) => {
                        if this.may_go_on(true) {
                            this.end(Outcome::Failed);
                        }
                    }
                    Err(error) => {
                        if this.may_go_on(true) {
                            this.fail(&error);
                        }
                    }
                },
                State::Closing => {
                    ready!(this.upstream.poll_close(cx));
                    this.state = State::Done;
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }
}

impl Pull {
    /// The client has left: the rest is read for its count alone.
    async fn drain(mut self) {
        self.out = BytesMut::new();
        // Too long or too late: what came by then is counted.
        let _ = tokio::time::timeout(drain::WITHIN, self.upstream.read_rest()).await;
    }
}

impl Drop for Pull {
    /// Of a client that left: what has come by now is what was used.
    fn drop(&mut self) {
        if self.state == State::Streaming {
            self.count();
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pull.as_mut().map_or(Poll::Ready(None), |pull| pull.poll_frame(cx))
    }
}

impl Drop for ClientBody {
    /// A client that left pays for what was delivered, or, where that is so set, for what the upstream made.
    fn drop(&mut self) {
        let Some(pull) = self.pull.take().filter(|pull| pull.state == State::Streaming) else { return };
        if let Some(drains) = &self.drains {
            // Without room it is dropped, as those are that are not read on.
            drop(drains.start(pull, Pull::drain));
        }
    }
}
