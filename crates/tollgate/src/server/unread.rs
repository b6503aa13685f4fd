//! A request body that a handler refused to read. Closing the connection over it would reset it, and the
//! client, still sending, would never see the refusal. So the refusal goes out at once, and what still
//! comes is thrown away behind it, within bounds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Error;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

/// Bytes that are thrown away for one client.
const BUDGET: usize = 64 << 20;
/// How long a client may go on sending, and how long it may pause.
const LONGEST: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// Where an unread body is left.
#[derive(Clone, Default)]
pub(super) struct Leftover(Arc<Mutex<Option<Incoming>>>);

/// A request body that is left in its [`Leftover`] when it is dropped before its end.
struct Watched {
    body: Option<Incoming>,
    left: Leftover,
}

impl Leftover {
    pub(super) fn watch(&self, body: Incoming) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Watched { body: Some(body), left: self.clone() })
    }

    /// Ties what was left unread to the end of `response`.
    pub(super) fn drain_behind(&self, response: Response, version: Version) -> Response {
        // HTTP/2 refuses one stream and keeps the connection.
        let Some(rest) = self.0.lock().take().filter(|_| version < Version::HTTP_2) else { return response };
        let (mut parts, body) = response.into_parts();
        // With a length, the answer would be over before the rest is drained.
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + PAUSE));
        let draining = Draining { answer: Some(body), rest, budget: BUDGET, until: now + LONGEST, timer };
        Response::from_parts(parts, Body::new(draining))
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|b| !b.is_end_stream()) {
            *self.left.0.lock() = Some(body);
        }
    }
}

/// The answer, and after it the rest of the request.
struct Draining {
    answer: Option<Body>,
    rest: Incoming,
    budget: usize,
    until: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Draining {
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(frame) = Pin::new(&mut self.rest).poll_frame(cx) {
            let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
            self.budget = self.budget.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            let now = Instant::now();
            if self.budget == 0 || now >= self.until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(now + PAUSE);
        }
        self.timer.as_mut().poll(cx)
    }
}

impl http_body::Body for Draining {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(answer) = &mut self.answer {
            match Pin::new(answer).poll_frame(cx) {
                Poll::Ready(None) => self.answer = None,
                other => return other,
            }
        }
        self.poll_rest(cx).map(|()| None)
    }
}
