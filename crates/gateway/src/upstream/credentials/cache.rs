//! What is got from elsewhere for a while: got once for all calls that need it, kept, and got anew before it
//! ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Failed;
use crate::clock;

/// A value is got anew so long before it ends, or at half its life where that is shorter.
const EARLY_MS: i64 = 5 * 60 * 1000;
/// How long getting one may take; a call waits for it.
const WITHIN: Duration = Duration::from_secs(10);
/// The same where the old value is still good, which the call can go out with instead.
const WITHIN_SPARE: Duration = Duration::from_secs(3);
/// A value that could not be got anew is asked for again so much later, by one call at a time.
const AGAIN_MS: i64 = 10_000;
/// Values that are remembered: far more than a server has entities with credentials of their own.
const MAX_SLOTS: usize = 10_000;

/// The values by what they are got with.
pub(super) struct Cache<V> {
    slots: Mutex<HashMap<[u8; 32], Arc<Slot<V>>>>,
}

/// Whoever finds its value missing gets it while the others wait; whoever finds it due gets it while the
/// others go on with the old one.
struct Slot<V> {
    kept: Mutex<Option<Kept<V>>>,
    /// The last failure, and how many there were: whoever waited for it takes it as its own.
    failed: Mutex<(u64, Option<Failed>)>,
    getting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
pub(super) struct Kept<V> {
    pub(super) value: V,
    /// When it is to be got anew, in milliseconds since the epoch.
    pub(super) good_until: i64,
    /// It is never used after this.
    ends_at: i64,
    /// Whether it was said that it cannot be got anew.
    told: bool,
}

/// What there is when a value is asked for.
enum Found<V> {
    Good(V),
    /// Good still, and to be got anew by whoever was told so.
    Due,
    Missing,
}

impl<V> Kept<V> {
    pub(super) fn new(value: V, asked_at: i64, ends_at: i64) -> Self {
        let life = ends_at.saturating_sub(asked_at).max(0);
        let ends_at = asked_at + life;
        Self { value, good_until: ends_at - EARLY_MS.min(life / 2), ends_at, told: false }
    }

    pub(super) fn forever(value: V) -> Self {
        Self { value, good_until: i64::MAX, ends_at: i64::MAX, told: false }
    }

    pub(super) fn map<W>(self, make: impl FnOnce(V) -> W) -> Kept<W> {
        let Self { value, good_until, ends_at, told } = self;
        Kept { value: make(value), good_until, ends_at, told }
    }
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self { slots: Mutex::default() }
    }
}

impl<V: Clone> Cache<V> {
    /// The value of `id`, from `get` when there is none; `source` is who gives it.
    pub(super) async fn get(
        &self,
        id: [u8; 32],
        source: &str,
        get: impl Future<Output = Result<Kept<V>, Failed>>,
    ) -> Result<V, Failed> {
        let slot = self.slot(id);
        let failures = slot.failed.lock().0;
        let within = match slot.find() {
            Found::Good(value) => return Ok(value),
            Found::Due => WITHIN_SPARE,
            Found::Missing => WITHIN,
        };
        let _getting = slot.getting.lock().await;
        if within == WITHIN {
            if let Found::Good(value) = slot.find() {
                return Ok(value);
            }
            if let Some(failed) = slot.failed_since(failures) {
                return Err(failed);
            }
        }
        let got = tokio::time::timeout(within, get).await.unwrap_or_else(|_| {
            Err(Failed::TimedOut(format!("{source} did not answer within {} s", within.as_secs())))
        });
        match got {
            Ok(kept) => {
                *slot.kept.lock() = Some(kept.clone());
                Ok(kept.value)
            }
            Err(failed) => slot.spare(source, &failed).ok_or_else(|| slot.fail(failed)),
        }
    }

    /// Forgets the value that was refused, unless another took its place.
    pub(super) fn discard(&self, id: [u8; 32], refused: impl Fn(&V) -> bool) {
        let slot = self.slot(id);
        let mut kept = slot.kept.lock();
        if kept.as_ref().is_some_and(|kept| refused(&kept.value)) {
            *kept = None;
        }
    }

    fn slot(&self, id: [u8; 32]) -> Arc<Slot<V>> {
        let mut slots = self.slots.lock();
        if slots.len() >= MAX_SLOTS {
            slots.clear();
        }
        let empty = || {
            Arc::new(Slot {
                kept: Mutex::new(None),
                failed: Mutex::default(),
                getting: tokio::sync::Mutex::default(),
            })
        };
        Arc::clone(slots.entry(id).or_insert_with(empty))
    }
}

impl<V: Clone> Slot<V> {
    /// The last failure, if there were more than `failures`.
    fn failed_since(&self, failures: u64) -> Option<Failed> {
        let last = self.failed.lock();
        last.1.clone().filter(|_| last.0 != failures)
    }

    fn fail(&self, failed: Failed) -> Failed {
        let mut last = self.failed.lock();
        *last = (last.0 + 1, Some(failed.clone()));
        failed
    }

    fn find(&self) -> Found<V> {
        let now = clock::now_ms();
        let mut kept = self.kept.lock();
        match kept.as_mut().filter(|kept| now < kept.ends_at) {
            Some(kept) if now < kept.good_until => Found::Good(kept.value.clone()),
            Some(kept) => {
                // The others take the old value from here on, also when this call is given up.
                kept.good_until = now.saturating_add(AGAIN_MS);
                Found::Due
            }
            None => Found::Missing,
        }
    }

    /// The old value, where it has not ended and was not refused.
    fn spare(&self, source: &str, failed: &Failed) -> Option<V> {
        let mut kept = self.kept.lock();
        let kept = kept.as_mut().filter(|kept| clock::now_ms() < kept.ends_at)?;
        if !std::mem::replace(&mut kept.told, true) {
            tracing::warn!(%source, error = failed.reason(), "credentials not got anew: the old ones are used until they end");
        }
        Some(kept.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_got_anew_before_it_ends() {
        let until = |ends_at| Kept::new((), 0, ends_at).good_until;
        assert_eq!(until(3_600_000), 3_300_000);
        assert_eq!(until(60_000), 30_000);
        assert_eq!(until(-1), 0);
    }

    /// A cache whose one value is to be got anew since a second ago, and ends in so many milliseconds.
    fn due(ends_in: i64) -> Cache<u8> {
        let cache = Cache::default();
        let now = clock::now_ms();
        let kept = Kept { value: 1, good_until: now - 1000, ends_at: now + ends_in, told: false };
        *cache.slot([0; 32]).kept.lock() = Some(kept);
        cache
    }

    async fn down() -> Result<Kept<u8>, Failed> {
        Err(Failed::Unreachable("down".to_owned()))
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_got_anew_is_used_until_it_ends() {
        let cache = due(60_000);
        assert_eq!(cache.get([0; 32], "s", down()).await.unwrap(), 1);
        // Nobody asks again at once.
        assert_eq!(cache.get([0; 32], "s", async { panic!("asked again") }).await.unwrap(), 1);
        assert!(due(-1).get([0; 32], "s", down()).await.is_err());
        let cache = due(20);
        assert_eq!(cache.get([0; 32], "s", down()).await.unwrap(), 1);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(cache.get([0; 32], "s", down()).await.is_err());
    }

    #[tokio::test]
    async fn one_call_gets_a_value_anew_and_the_others_take_the_old_one() {
        let cache = due(60_000);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let first = cache.get([0; 32], "s", async {
            answered.await.unwrap();
            Ok(Kept { value: 2, ..Kept::forever(0) })
        });
        let second = async {
            tokio::task::yield_now().await;
            let old = cache.get([0; 32], "s", async { panic!("asked too") }).await;
            answer.send(()).unwrap();
            old
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first.unwrap(), second.unwrap()), (2, 1));
        assert_eq!(cache.get([0; 32], "s", down()).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_value_that_was_refused_is_not_used_again() {
        let cache = due(60_000);
        let refused = async {
            cache.discard([0; 32], |_| true);
            down().await
        };
        assert!(cache.get([0; 32], "s", refused).await.is_err());
    }
}
