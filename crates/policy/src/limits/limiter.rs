//! What is asked of a limiter, and what it answers. Who counts is behind [`Limiter`], so that several
//! servers may count together.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Applied, Limit, Subject};

/// Counts calls against limits.
pub trait Limiter: Send + Sync {
    /// Takes from the counters of all limits if all have room, and from none if one has not: one step that
    /// nothing comes between. When the future is dropped before it is ready, nothing must stay taken.
    fn admit<'a>(&'a self, asked: &'a Asked) -> Admitting<'a>;
    /// Gives back what was held, and counts the tokens that were used. Called once for each hold, also
    /// while the call is being dropped, so that it does not wait.
    fn settle(&self, hold: Hold, tokens: u64);
    /// How the limits stand, taking nothing.
    fn look<'a>(&'a self, asked: &'a Asked) -> Looking<'a>;
}

pub type Admitting<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;
pub type Looking<'a> = Pin<Box<dyn Future<Output = Vec<Standing>> + Send + 'a>>;

/// When tokens count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// They are reserved before the call and corrected after it.
    #[default]
    Reserved,
    /// After the answer, in the window it ends in, as Databricks counts: calls at once may overshoot.
    After,
}

/// A call that asks to be let in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub endpoint_id: Arc<str>,
    pub applied: Vec<Applied>,
    pub tokens: Tokens,
}

/// How many tokens a call may take; all zero for one that takes none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Its input and the first token of an answer.
    pub least: u64,
    /// Its input and a usual answer.
    pub expected: u64,
    /// Its input and the longest answer it allows.
    pub most: u64,
}

impl Tokens {
    /// What is reserved where `room` is left: all that the call may take; else what it usually takes; else
    /// what there is. `None` where not even the least fits.
    pub fn reserve(self, room: u64) -> Option<u64> {
        let fits = |tokens: u64| (tokens <= room).then_some(tokens);
        fits(self.most).or_else(|| fits(self.expected)).or_else(|| (self.least <= room).then_some(room))
    }
}

#[derive(Debug)]
pub enum Verdict {
    /// The standings are those after the call was counted. `reported` are the limits that would have
    /// refused it if they did not only report.
    Admitted {
        hold: Hold,
        standings: Vec<Standing>,
        reported: Vec<Standing>,
    },
    Refused {
        by: Standing,
        standings: Vec<Standing>,
    },
}

/// What an admitted call holds until it is settled.
#[derive(Debug)]
pub struct Hold {
    pub endpoint_id: Arc<str>,
    pub counters: Vec<Held>,
    /// Tokens, in each of the windows.
    pub reserved: u64,
}

/// What is held of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub subject: Subject,
    /// The window of each [`super::Period`] that it counts in.
    pub windows: [Option<u64>; 2],
    /// Whether it counts among the calls under way.
    pub concurrent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    Calls,
    Tokens,
    ConcurrentCalls,
}

impl Measure {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Tokens => "tokens",
            Self::ConcurrentCalls => "concurrent_calls",
        }
    }
}

/// One measure of one limit, and how a call would find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit: Arc<Limit>,
    pub measure: Measure,
    pub cap: u64,
    /// Reserved tokens among them.
    pub used: u64,
    /// What the call needs at least.
    pub needs: u64,
    /// To the next window; `None` for calls under way, whose end nobody knows.
    pub resets_in: Option<Duration>,
}

impl Standing {
    pub const fn remaining(&self) -> u64 {
        self.cap.saturating_sub(self.used)
    }

    pub const fn has_room(&self) -> bool {
        self.needs <= self.remaining()
    }

    /// Whether no window has room for the call.
    pub const fn fits_never(&self) -> bool {
        self.needs > self.cap
    }
}

/// The limit that refuses a call, of those that stand so: the one that lasts longest, since who waits for
/// it need not wait again.
pub fn refusing(standings: &[Standing]) -> Option<&Standing> {
    let full = standings.iter().filter(|standing| !standing.has_room() && !standing.limit.report_only);
    full.max_by_key(|standing| (standing.fits_never(), standing.resets_in))
}
