//! The wall clock, read here only.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A clock of milliseconds since the epoch that is read once and then goes by the machine's steady clock:
/// when the wall clock is set, it neither jumps nor stands still.
pub(crate) fn steady() -> impl Fn() -> u64 + Send + Sync {
    let (began, since) = (u64::try_from(now_ms()).unwrap_or_default(), Instant::now());
    move || began + u64::try_from(since.elapsed().as_millis()).unwrap_or_default()
}
