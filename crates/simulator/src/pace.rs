//! Turns a list of frames into a response body that plays them on a schedule.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame as BodyFrame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::frames::{Frame, Kind};
use crate::ledger::Track;

/// How a body ends after its last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Properly.
    End,
    /// The connection is dropped.
    Cut,
    /// Never.
    Hang,
}

/// The times between frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Before the first frame.
    pub(crate) first: Duration,
    /// Between chunks.
    pub(crate) gap: Duration,
    /// Whether every byte is a chunk.
    pub(crate) drip: bool,
}

/// The script asked for the connection to be dropped here.
#[derive(Debug, thiserror::Error)]
#[error("connection cut by the script")]
pub(crate) struct CutByScript;

/// What a body plays.
#[derive(Debug)]
pub(crate) struct Playlist {
    pub(crate) frames: Vec<Frame>,
    pub(crate) ending: Ending,
    pub(crate) pace: Pace,
    /// The announced length of a body that is not a stream.
    pub(crate) length: Option<u64>,
}

/// The body: one timer for the whole stream, set against an absolute schedule so that pauses do not drift.
#[derive(Debug)]
pub(crate) struct PacedBody {
    frames: std::vec::IntoIter<Frame>,
    ending: Ending,
    pace: Pace,
    length: Option<u64>,
    started: Instant,
    chunks: u32,
    timer: Option<Pin<Box<Sleep>>>,
    flushed: bool,
    track: Track,
}

impl PacedBody {
    pub(crate) fn new(play: Playlist, mut track: Track) -> Self {
        if play.frames.is_empty() && play.ending == Ending::End {
            track.complete();
        }
        Self {
            frames: play.frames.into_iter(),
            ending: play.ending,
            pace: play.pace,
            length: play.length,
            started: Instant::now(),
            chunks: 0,
            timer: None,
            flushed: false,
            track,
        }
    }

    /// When a frame may leave, counted from the start; none if it may leave at once.
    fn offset(&self, kind: Kind) -> Option<Duration> {
        let offset = match kind {
            _ if self.pace.drip => self.pace.first + self.pace.gap * self.chunks,
            Kind::Head => self.pace.first,
            Kind::Chunk => self.pace.first + self.pace.gap * self.chunks,
            Kind::Tail | Kind::Done => Duration::ZERO,
        };
        (!offset.is_zero()).then_some(offset)
    }

    fn next_frame(&mut self) -> Option<Frame> {
        match self.frames.as_mut_slice().first_mut() {
            Some(front) if self.pace.drip && front.bytes.len() > 1 => {
                Some(Frame { kind: front.kind, bytes: front.bytes.split_to(1) })
            }
            _ => self.frames.next(),
        }
    }

    fn poll_due(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= due {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<BodyFrame<Bytes>, CutByScript>>> {
        match self.ending {
            Ending::End => Poll::Ready(None),
            Ending::Hang => Poll::Pending,
            // hyper drops what it has buffered when a body fails, and flushes when a body is pending: so be pending once.
            Ending::Cut if !self.flushed => {
                self.flushed = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::Cut => {
                self.track.complete();
                Poll::Ready(Some(Err(CutByScript)))
            }
        }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = CutByScript;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, CutByScript>>> {
        let this = self.get_mut();
        let Some(kind) = this.frames.as_slice().first().map(|frame| frame.kind) else {
            return this.poll_ending(cx);
        };
        if let Some(offset) = this.offset(kind) {
            ready!(this.poll_due(this.started + offset, cx));
        }
        let Some(frame) = this.next_frame() else { return Poll::Ready(None) };
        let is_chunk = this.pace.drip || frame.kind == Kind::Chunk;
        this.chunks += u32::from(is_chunk);
        this.length = this.length.map(|length| length.saturating_sub(frame.bytes.len() as u64));
        this.track.sent(frame.bytes.len(), is_chunk);
        if this.is_end_stream() {
            this.track.complete();
        }
        Poll::Ready(Some(Ok(BodyFrame::data(frame.bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.ending == Ending::End && self.frames.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
