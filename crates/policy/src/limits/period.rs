//! Windows of time: whole minutes and hours of UTC.

use std::time::Duration;

/// How often a limit begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    Minute,
    Hour,
}

impl Period {
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    const fn ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The number of the window that `now` is in, in milliseconds since the epoch.
    pub const fn window(self, now: u64) -> u64 {
        now / self.ms()
    }

    /// From `now` to the next window: more than nothing, at most the whole period.
    pub const fn left(self, now: u64) -> Duration {
        Duration::from_millis(self.ms() - now % self.ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_where_the_next_begins() {
        for period in Period::ALL {
            for now in [0, 1, 59_999, 60_000, 3_599_999, 3_600_000] {
                let left = u64::try_from(period.left(now).as_millis()).unwrap();
                assert!(left > 0 && left <= period.ms());
                assert_eq!(period.window(now + left), period.window(now) + 1);
                assert_eq!(period.window(now + left - 1), period.window(now));
            }
        }
    }
}
