//! The clock of the node: when what is recorded happened, and when what ends has ended. The wall clock can be set
//! at any time, by people and by the network; neither may go back with it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock when the process began, and a clock that nobody can set.
static BEGAN: LazyLock<(i64, Instant)> = LazyLock::new(|| (wall_ms(), Instant::now()));
static NEWEST: AtomicI64 = AtomicI64::new(i64::MIN);

/// From here on [`expiry_ms`] is right: to be called before the process serves anybody.
pub fn begin() {
    LazyLock::force(&BEGAN);
}

/// Milliseconds since the epoch, never fewer than before: for what is recorded. While a wall clock that was set
/// back has not caught up, it stands still.
pub fn record_ms() -> i64 {
    let now = wall_ms();
    NEWEST.fetch_max(now, Ordering::Relaxed).max(now)
}

/// Milliseconds since the epoch by which a credential ends: the later of the wall clock and of what it was at the
/// start of the process with the time since. Set back, it gives nothing more time.
pub fn expiry_ms() -> i64 {
    wall_ms().max(steady_ms())
}

/// Milliseconds since the epoch by which what is old is deleted: the earlier of the two. Set on, it makes nothing old.
pub fn least_ms() -> i64 {
    wall_ms().min(steady_ms())
}

/// What the wall clock was at the start of the process, with the time since.
fn steady_ms() -> i64 {
    let (began, since) = *BEGAN;
    let elapsed = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
    began.saturating_add(elapsed)
}

/// Milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_goes_back_and_both_are_of_now() {
        for clock in [record_ms, expiry_ms] {
            let (wall, first) = (wall_ms(), clock());
            let later = clock();
            assert!(wall <= first && first <= later && later < wall + 60_000, "{wall} {first} {later}");
        }
    }
}
