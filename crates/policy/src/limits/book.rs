//! The counters of one endpoint. Time comes in as an argument, in milliseconds since the epoch; it must
//! not go back by more than one window.

use std::collections::HashMap;

use super::limiter::Held;
use super::{Asked, Counting, Hold, Limit, Measure, Period, Standing, Subject, Verdict, refusing};

#[derive(Debug, Default)]
pub struct Book {
    tallies: HashMap<Subject, Tally>,
}

/// What is counted of one subject.
#[derive(Clone, Debug, Default)]
struct Tally {
    in_flight: u64,
    windows: [Window; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    number: u64,
    calls: u64,
    /// Of calls that are settled.
    tokens: u64,
    /// Of calls under way.
    reserved: u64,
}

impl Window {
    /// The counts of the window `number`; nothing where it has not begun to count.
    fn at(self, number: u64) -> Self {
        if self.number >= number { self } else { Self { number, ..Self::default() } }
    }
}

impl Book {
    /// Counts the call against all of its limits, or against none.
    pub fn take(&mut self, now: u64, asked: &Asked, counting: Counting) -> Verdict {
        let standings = self.look(now, asked, counting);
        if let Some(by) = refusing(&standings) {
            return Verdict::Refused { by: by.clone(), standings };
        }
        let reported = standings.iter().filter(|standing| !standing.has_room()).cloned().collect();
        let reserved = match counting {
            Counting::Reserved => reserve(asked, &standings),
            Counting::After => 0,
        };
        let mut counters = held(now, asked);
        for held in &mut counters {
            self.tallies.entry(held.subject.clone()).or_default().take(held, reserved);
        }
        let hold = Hold { endpoint_id: asked.endpoint_id.clone(), counters, reserved };
        Verdict::Admitted { hold, standings: self.look(now, asked, counting), reported }
    }

    /// Gives back what `hold` holds and counts the tokens that were used instead.
    pub fn settle(&mut self, now: u64, hold: &Hold, tokens: u64, counting: Counting) {
        for held in &hold.counters {
            let tally = self.tallies.entry(held.subject.clone()).or_default();
            tally.in_flight = tally.in_flight.saturating_sub(u64::from(held.concurrent));
            match counting {
                Counting::Reserved => tally.correct(held, hold.reserved, tokens),
                Counting::After => tally.count(now, held, tokens),
            }
        }
    }

    /// How the limits of `asked` stand.
    pub fn look(&self, now: u64, asked: &Asked, counting: Counting) -> Vec<Standing> {
        let needed_tokens = match counting {
            Counting::Reserved => asked.tokens.least,
            Counting::After => asked.tokens.least.min(1),
        };
        let mut standings = Vec::with_capacity(asked.applied.len());
        for applied in &asked.applied {
            let limit = &applied.limit;
            let tally = self.tallies.get(&applied.subject).cloned().unwrap_or_default();
            let window = tally.windows[limit.period as usize].at(limit.period.window(now));
            let measures = [
                (Measure::Calls, limit.calls, window.calls, 1),
                (Measure::Tokens, limit.tokens, window.tokens.saturating_add(window.reserved), needed_tokens),
                (Measure::ConcurrentCalls, limit.concurrent_calls, tally.in_flight, 1),
            ];
            for (measure, cap, used, needs) in measures {
                let Some(cap) = cap else { continue };
                let resets_in = (measure != Measure::ConcurrentCalls).then(|| limit.period.left(now));
                standings.push(Standing { limit: limit.clone(), measure, cap, used, needs, resets_in });
            }
        }
        standings
    }

    /// Forgets who has no call under way and none in a window that lasts.
    pub fn sweep(&mut self, now: u64) {
        self.tallies.retain(|_, tally| {
            let lasts = |period: Period| {
                let window = tally.windows[period as usize];
                (window.calls > 0 || window.tokens > 0) && window.number >= period.window(now)
            };
            tally.in_flight > 0 || Period::ALL.into_iter().any(lasts)
        });
    }

    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    /// How many subjects are counted.
    pub fn len(&self) -> usize {
        self.tallies.len()
    }
}

impl Tally {
    /// `held` gets the windows that the call was in fact counted in: another may have begun the next.
    fn take(&mut self, held: &mut Held, reserved: u64) {
        self.in_flight += u64::from(held.concurrent);
        for (window, number) in self.windows.iter_mut().zip(&mut held.windows) {
            let Some(number) = number else { continue };
            *window = window.at(*number);
            *number = window.number;
            window.calls += 1;
            window.reserved = window.reserved.saturating_add(reserved);
        }
    }

    /// In the window that the call was counted in; when that is over, so is what it counts.
    fn correct(&mut self, held: &Held, reserved: u64, tokens: u64) {
        for (window, number) in self.windows.iter_mut().zip(held.windows) {
            if number == Some(window.number) {
                window.reserved = window.reserved.saturating_sub(reserved);
                window.tokens = window.tokens.saturating_add(tokens);
            }
        }
    }

    fn count(&mut self, now: u64, held: &Held, tokens: u64) {
        for (period, (window, number)) in
            Period::ALL.into_iter().zip(self.windows.iter_mut().zip(held.windows))
        {
            if number.is_some() {
                *window = window.at(period.window(now));
                window.tokens = window.tokens.saturating_add(tokens);
            }
        }
    }
}

/// What a call that no limit refuses reserves. Limits that only report have their say, so that they report what
/// they would refuse; where they have no room, the call takes what it usually takes.
fn reserve(asked: &Asked, standings: &[Standing]) -> u64 {
    let room = |all: bool| {
        let tokens = standings.iter().filter(|s| s.measure == Measure::Tokens);
        let counted = tokens.filter(|s| all || !s.limit.report_only);
        counted.map(Standing::remaining).min().unwrap_or(u64::MAX)
    };
    asked.tokens.reserve(room(true)).unwrap_or_else(|| asked.tokens.expected.min(room(false)))
}

/// Each subject once, however many limits look at it.
fn held(now: u64, asked: &Asked) -> Vec<Held> {
    let mut out: Vec<Held> = Vec::with_capacity(asked.applied.len());
    for applied in &asked.applied {
        let at = out.iter().position(|held| held.subject == applied.subject).unwrap_or_else(|| {
            out.push(Held { subject: applied.subject.clone(), windows: [None; 2], concurrent: false });
            out.len() - 1
        });
        let limit: &Limit = &applied.limit;
        if limit.calls.is_some() || limit.tokens.is_some() {
            out[at].windows[limit.period as usize] = Some(limit.period.window(now));
        }
        out[at].concurrent |= limit.concurrent_calls.is_some();
    }
    out
}
