//! Answers whose client has left, read on for the upstream's own count where the entity is set to `drain`.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Answers that are read on at once; of more, what was delivered is counted.
const AT_ONCE: usize = 64;
/// How long an answer is read on.
pub(crate) const WITHIN: Duration = Duration::from_secs(120);
/// How much of an answer is read on, in bytes as they would have gone to the client.
pub(crate) const MOST: usize = 16 << 20;

/// Where answers are read on. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Drains {
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Default for Drains {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }
}

impl Drains {
    /// Runs `reading` to its end. Gives it back when there is no room.
    pub(crate) fn start<T, F>(&self, reading: T, run: impl FnOnce(T) -> F) -> Result<(), T>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        // Without a runtime the process is ending.
        let (Ok(slot), Ok(runtime)) = (slot, Handle::try_current()) else { return Err(reading) };
        let (run, stop) = (run(reading), self.stop.clone());
        self.tasks.spawn_on(
            async move {
                // What is dropped is settled with what it has.
                let _ = stop.run_until_cancelled(run).await;
                drop(slot);
            },
            &runtime,
        );
        Ok(())
    }

    /// Waits for those under way, for a while; none starts any more.
    pub(crate) async fn finish(&self, within: Duration) {
        self.slots.close();
        self.tasks.close();
        if tokio::time::timeout(within, self.tasks.wait()).await.is_err() {
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn no_more_are_read_on_than_there_is_room_for() {
        let drains = Drains::default();
        for _ in 0..AT_ONCE {
            assert_eq!(drains.start((), |()| pending()), Ok(()));
        }
        assert_eq!(drains.start("one more", |_| pending()), Err("one more"));
    }

    #[tokio::test]
    async fn at_the_end_those_under_way_are_waited_for_and_then_dropped() {
        let drains = Drains::default();
        let (kept, dropped) = (Arc::new(()), Arc::new(()));
        let ends = |held: Arc<()>| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(held);
        };
        let hangs = |held: Arc<()>| async move {
            pending::<()>().await;
            drop(held);
        };
        assert!(
            drains.start(Arc::clone(&kept), ends).is_ok()
                && drains.start(Arc::clone(&dropped), hangs).is_ok()
        );
        drains.finish(Duration::from_millis(200)).await;
        assert_eq!((Arc::strong_count(&kept), Arc::strong_count(&dropped)), (1, 1));
        assert!(drains.start((), |()| pending()).is_err(), "none starts any more");
    }
}
