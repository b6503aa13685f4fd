//! Calls whose clients leave before there is a response. One whose entity is set to `drain` goes on alone, for
//! the upstream's own count; any other ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use policy::{Endpoint, Entity};
use tracing::Instrument;
use wire::endpoint::OnDisconnect;

use crate::call::Call;
use crate::drain::{self, Drains};
use crate::error::ServeError;
use crate::record::Open;
use crate::stream::Reading;
use crate::upstream::{Success, SuccessBody};

/// What a call and its client's side tell each other. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// Whether there is an answer under way that is read on when the client leaves.
    reads_on: AtomicBool,
    has_left: AtomicBool,
}

impl Presence {
    /// `None` where no entity of `endpoint` is read on.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<Self> {
        endpoint.entities.iter().any(is_read_on).then(Self::default)
    }

    /// `entity` is asked, or answers.
    pub(crate) fn asks(&self, entity: &Entity) {
        self.0.reads_on.store(is_read_on(entity), Ordering::Relaxed);
    }

    /// Nobody is asked any more.
    pub(crate) fn rests(&self) {
        self.0.reads_on.store(false, Ordering::Relaxed);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.0.has_left.load(Ordering::Relaxed)
    }
}

pub(crate) fn is_read_on(entity: &Entity) -> bool {
    entity.on_disconnect == OnDisconnect::Drain
}

/// A call that its client waits for. Dropped before its end, it goes on without the client where an answer is
/// under way that is read on, and there is room.
pub(crate) struct Attended<F: Future<Output: Send> + Send + 'static> {
    /// Until it has ended.
    call: Option<Pin<Box<F>>>,
    presence: Presence,
    drains: Drains,
}

impl<F: Future<Output: Send> + Send + 'static> Attended<F> {
    pub(crate) fn new(call: F, presence: Presence, drains: Drains) -> Self {
        Self { call: Some(Box::pin(call)), presence, drains }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Attended<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let output = ready!(call.as_mut().poll(cx));
        self.call = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Attended<F> {
    fn drop(&mut self) {
        let flags = &self.presence.0;
        let Some(call) = self.call.take().filter(|_| flags.reads_on.load(Ordering::Relaxed)) else { return };
        flags.has_left.store(true, Ordering::Relaxed);
        let run = |call: Pin<Box<F>>| {
            let alone = async {
                // Too late: what is known by then is counted.
                drop(tokio::time::timeout(drain::WITHIN, call).await);
            };
            alone.in_current_span()
        };
        // Without room it is dropped, as those are that are not read on.
        drop(self.drains.start(call, run));
    }
}

/// The client has left: what was used is all of the answer that is still of interest.
pub(crate) async fn unheard(call: &Call<'_>, answered: Result<Success, ServeError>, open: &mut Open) {
    match answered {
        Ok(Success { body: SuccessBody::Whole { body, usage, written }, .. }) => {
            open.describe_answer(&body);
            open.used(usage, written);
        }
        Ok(Success { body: SuccessBody::Stream { mut upstream, .. }, dialect, .. }) => {
            Reading::new(&mut upstream, dialect, open).rest().await;
        }
        // The prompt was with somebody who will not tell what that cost.
        Err(ServeError::Broken { .. } | ServeError::TimedOut { .. }) => {
            open.count(call.lengths().counted());
        }
        Err(_) => {}
    }
}
