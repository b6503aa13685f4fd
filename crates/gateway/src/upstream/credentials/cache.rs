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
/// Values that are remembered: far more than a server has entities with credentials of their own.
const MAX_SLOTS: usize = 10_000;

/// The values by what they are got with.
pub(super) struct Cache<V> {
    slots: Mutex<HashMap<[u8; 32], Arc<Slot<V>>>>,
}

/// Whoever finds its value missing gets it while the others wait.
struct Slot<V> {
    kept: Mutex<Option<Kept<V>>>,
    /// The last failure, and how many there were: whoever waited for it takes it as its own.
    failed: Mutex<(u64, Option<Failed>)>,
    getting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
pub(super) struct Kept<V> {
    pub(super) value: V,
    /// Milliseconds since the epoch.
    pub(super) good_until: i64,
}

impl<V> Kept<V> {
    pub(super) fn new(value: V, asked_at: i64, ends_at: i64) -> Self {
        let life = ends_at.saturating_sub(asked_at).max(0);
        Self { value, good_until: asked_at + life - EARLY_MS.min(life / 2) }
    }

    pub(super) fn forever(value: V) -> Self {
        Self { value, good_until: i64::MAX }
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
        if let Some(value) = slot.current() {
            return Ok(value);
        }
        let failures = slot.failed.lock().0;
        let _getting = slot.getting.lock().await;
        if let Some(value) = slot.current() {
            return Ok(value);
        }
        if let Some(failed) = slot.failed_since(failures) {
            return Err(failed);
        }
        let got = tokio::time::timeout(WITHIN, get).await.unwrap_or_else(|_| {
            Err(Failed::TimedOut(format!("{source} did not answer within {} s", WITHIN.as_secs())))
        });
        match got {
            Ok(kept) => {
                *slot.kept.lock() = Some(kept.clone());
                Ok(kept.value)
            }
            Err(failed) => {
                let mut last = slot.failed.lock();
                *last = (last.0 + 1, Some(failed.clone()));
                Err(failed)
            }
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

    fn current(&self) -> Option<V> {
        let kept = self.kept.lock();
        kept.as_ref().filter(|kept| clock::now_ms() < kept.good_until).map(|kept| kept.value.clone())
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
}
