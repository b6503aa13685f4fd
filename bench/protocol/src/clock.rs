//! One clock for all processes of a run, and a timer finer than tokio's.

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

const SECOND_NS: u64 = 1_000_000_000;

fn nanoseconds(at: Timespec) -> u64 {
    at.tv_sec as u64 * SECOND_NS + at.tv_nsec as u64
}

/// Nanoseconds of CLOCK_MONOTONIC: the same in every process, so that a stamp of the stub can be compared
/// with the moment the load generator read it.
pub fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Processor time this process has used.
pub fn cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// Sleeps until absolute moments. Tokio's timer rounds to 1 ms, which is more than what is measured here.
#[derive(Debug)]
pub struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Needs a tokio runtime with I/O enabled.
    #[expect(deprecated, reason = "its successor is unsafe; an `OwnedFd` keeps what it asks for")]
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?))
    }

    /// Returns once `now_ns()` has reached `at_ns`.
    pub async fn until(&self, at_ns: u64) -> io::Result<()> {
        if at_ns <= now_ns() {
            return Ok(());
        }
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = Timespec { tv_sec: (at_ns / SECOND_NS) as i64, tv_nsec: (at_ns % SECOND_NS) as i64 };
        let once = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut expirations = [0u8; 8];
            let read = rustix::io::read(self.0.get_ref(), &mut expirations);
            ready.clear_ready();
            if read.is_ok() {
                return Ok(());
            }
        }
    }
}
