//! Counters in this process's memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use policy::limits::{Admitting, Asked, Book, Counting, Hold, Limiter, Looking, Period};

use crate::clock;

/// Milliseconds since the epoch that never go back.
type Now = Box<dyn Fn() -> u64 + Send + Sync>;

/// Counts exactly, for one server: several servers count each for itself.
pub struct MemoryLimiter {
    now: Now,
    counting: Counting,
    /// By the endpoint's id. A call is counted under one lock, whatever its limits.
    books: RwLock<HashMap<Arc<str>, Arc<Mutex<Book>>>>,
    /// The minute that was swept last.
    swept: AtomicU64,
}

impl std::fmt::Debug for MemoryLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryLimiter").field("counting", &self.counting).finish_non_exhaustive()
    }
}

impl MemoryLimiter {
    pub fn new(counting: Counting) -> Self {
        Self::with_clock(counting, clock::steady())
    }

    /// `now` gives milliseconds since the epoch and never goes back.
    pub fn with_clock(counting: Counting, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { now: Box::new(now), counting, books: RwLock::default(), swept: AtomicU64::new(0) }
    }

    fn book(&self, endpoint_id: &Arc<str>) -> Arc<Mutex<Book>> {
        if let Some(book) = self.books.read().get(endpoint_id) {
            return Arc::clone(book);
        }
        Arc::clone(self.books.write().entry(Arc::clone(endpoint_id)).or_default())
    }

    /// Once a minute, by whoever comes first in it.
    fn sweep(&self, now: u64) {
        let minute = Period::Minute.window(now);
        if self.swept.fetch_max(minute, Ordering::Relaxed) >= minute {
            return;
        }
        self.books.write().retain(|_, book| {
            book.lock().sweep(now);
            // With the map locked, nobody takes up one that only the map has.
            Arc::strong_count(book) > 1 || !book.lock().is_empty()
        });
    }
}

impl Limiter for MemoryLimiter {
    fn admit<'a>(&'a self, asked: &'a Asked) -> Admitting<'a> {
        let now = (self.now)();
        self.sweep(now);
        let verdict = self.book(&asked.endpoint_id).lock().take(now, asked, self.counting);
        Box::pin(std::future::ready(verdict))
    }

    fn settle(&self, hold: Hold, tokens: u64) {
        let book = self.book(&hold.endpoint_id);
        book.lock().settle((self.now)(), &hold, tokens, self.counting);
    }

    fn look<'a>(&'a self, asked: &'a Asked) -> Looking<'a> {
        let book = self.books.read().get(&asked.endpoint_id).cloned().unwrap_or_default();
        let standings = book.lock().look((self.now)(), asked, self.counting);
        Box::pin(std::future::ready(standings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::limits::{Limit, Limits, Tokens, Verdict, Whose};
    use policy::{Principal, PrincipalKind};
    use std::task::{Context, Poll, Waker};

    fn user(name: &str) -> Principal {
        Principal {
            id: name.into(),
            name: name.into(),
            display_name: name.into(),
            kind: PrincipalKind::User,
            groups: Vec::new(),
            can_create: false,
        }
    }

    fn asked(whose: Whose, calls: u64, who: &str) -> Asked {
        let limit = Limit {
            whose,
            period: Period::Minute,
            calls: Some(calls),
            tokens: None,
            concurrent_calls: None,
            report_only: false,
        };
        let applied = Limits::new([limit]).of(&user(who));
        Asked { endpoint_id: "e".into(), applied, tokens: Tokens::default() }
    }

    fn admits(limiter: &MemoryLimiter, asked: &Asked) -> bool {
        let mut admitting = limiter.admit(asked);
        match admitting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => matches!(verdict, Verdict::Admitted { .. }),
            Poll::Pending => panic!("memory does not wait"),
        }
    }

    #[test]
    fn of_many_threads_at_once_exactly_as_many_get_in_as_the_limit_says() {
        for _ in 0..10 {
            let limiter = MemoryLimiter::with_clock(Counting::Reserved, || 0);
            let admitted = AtomicU64::new(0);
            std::thread::scope(|threads| {
                for _ in 0..20 {
                    threads.spawn(|| {
                        let asked = asked(Whose::Endpoint, 100, "a");
                        for _ in 0..500 {
                            admitted.fetch_add(u64::from(admits(&limiter, &asked)), Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(admitted.into_inner(), 100);
        }
    }

    #[test]
    fn memory_is_bounded_by_who_called_lately() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        let limiter = MemoryLimiter::with_clock(Counting::Reserved, move || clock.load(Ordering::Relaxed));
        for user in 0..10_000 {
            assert!(admits(&limiter, &asked(Whose::EachUser, 1, &user.to_string())));
        }
        let counted =
            |limiter: &MemoryLimiter| limiter.books.read().values().map(|b| b.lock().len()).sum::<usize>();
        assert_eq!(counted(&limiter), 10_000);
        now.store(60_000, Ordering::Relaxed);
        assert!(admits(&limiter, &asked(Whose::EachUser, 1, "one")));
        assert_eq!(counted(&limiter), 1);
    }
}
