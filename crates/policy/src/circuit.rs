//! Whether an upstream is worth asking: opened by what fails, closed by the first success. Whose fault it
//! was is kept, so that the right party is looked at. Time comes in as an argument, in milliseconds of any
//! clock that does not go back.

/// Failures in a row that open a circuit. A 429 opens it at once.
const FAILURES: u32 = 5;
/// Between two probes: at first, and at most.
const FIRST_PAUSE: u64 = 1_000;
const LONGEST_PAUSE: u64 = 30_000;
/// No probe follows another sooner, whatever became of it.
const PROBE_EVERY: u64 = 1_000;
/// Longest time that an upstream is left alone because it said so.
const LONGEST_RETRY_AFTER: u64 = 300_000;

/// Who has to do something about failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The credential: 401 and 403.
    Key,
    /// The model or its address: other 4xx that say it is not there.
    Model,
    /// The provider: 5xx, no connection, no answer in time, an answer that cannot be read.
    Provider,
    /// Nobody: the provider's own limit is reached, 429.
    Quota,
}

impl Blame {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Quota => "quota",
        }
    }

    /// Of an upstream's status; `None` where the caller is to blame, which says nothing of the upstream.
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            401 | 403 => Some(Self::Key),
            404 | 405 | 410 => Some(Self::Model),
            429 => Some(Self::Quota),
            500.. => Some(Self::Provider),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    /// Calls go to others.
    Open,
    /// A probe is under way.
    HalfOpen,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a call does with an entity whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Ask,
    /// As the one call that finds out whether it is well again.
    Probe,
    /// Only after all others.
    Avoid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    failures: u32,
    /// The open circuit: who is to blame, and when it may be tried again.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    blame: Blame,
    pause: u64,
    next_probe: u64,
    probing: bool,
}

impl Circuit {
    /// Whether to ask now. [`Gate::Probe`] is given once, then not before a second has passed.
    pub fn gate(&mut self, now: u64) -> Gate {
        match &mut self.open {
            None => Gate::Ask,
            Some(open) if now >= open.next_probe => {
                open.next_probe = now + PROBE_EVERY;
                open.probing = true;
                Gate::Probe
            }
            Some(_) => Gate::Avoid,
        }
    }

    /// The call that [`Gate::Probe`] was given to asked nobody: the next one may.
    pub fn not_probed(&mut self, now: u64) {
        if let Some(open) = &mut self.open
            && std::mem::replace(&mut open.probing, false)
        {
            open.next_probe = open.next_probe.min(now);
        }
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// `retry_after` is what the upstream asked for, in seconds.
    pub fn failed(&mut self, now: u64, blame: Blame, retry_after: Option<u32>) {
        self.failures = self.failures.saturating_add(1);
        let wait = retry_after.map_or(0, |seconds| (u64::from(seconds) * 1_000).min(LONGEST_RETRY_AFTER));
        match &mut self.open {
            Some(open) => {
                // Of calls that were under way together, one moves the next probe.
                let probed = std::mem::replace(&mut open.probing, false);
                if probed {
                    open.pause = (open.pause * 2).min(LONGEST_PAUSE);
                }
                let pause = if probed { open.pause } else { 0 };
                open.blame = blame;
                open.next_probe = open.next_probe.max(now + pause.max(wait));
            }
            None if blame == Blame::Quota || self.failures >= FAILURES => {
                let next_probe = now + FIRST_PAUSE.max(wait);
                self.open = Some(Open { blame, pause: FIRST_PAUSE, next_probe, probing: false });
            }
            None => {}
        }
    }

    pub fn state(&self) -> State {
        match self.open {
            None => State::Closed,
            Some(open) if open.probing => State::HalfOpen,
            Some(_) => State::Open,
        }
    }

    /// Who is to blame while it is not closed.
    pub fn blame(&self) -> Option<Blame> {
        self.open.map(|open| open.blame)
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Milliseconds from `now` until it may be asked; `None` while it is closed.
    pub fn probe_in(&self, now: u64) -> Option<u64> {
        self.open.map(|open| open.next_probe.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(blame: Blame) -> Circuit {
        let mut circuit = Circuit::default();
        (0..FAILURES).for_each(|_| circuit.failed(0, blame, None));
        circuit
    }

    #[test]
    fn each_status_blames_one_party() {
        let of = Blame::of_status;
        assert_eq!([of(401), of(403)], [Some(Blame::Key); 2]);
        assert_eq!(of(404), Some(Blame::Model));
        assert_eq!([of(500), of(503), of(529)], [Some(Blame::Provider); 3]);
        assert_eq!(of(429), Some(Blame::Quota));
        assert_eq!([of(400), of(413), of(422)], [None; 3]);
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_success_closes_it() {
        let mut circuit = Circuit::default();
        (1..FAILURES).for_each(|_| circuit.failed(0, Blame::Provider, None));
        circuit.succeeded();
        (1..FAILURES).for_each(|_| circuit.failed(0, Blame::Provider, None));
        assert_eq!(circuit.gate(0), Gate::Ask);
        circuit.failed(0, Blame::Key, None);
        assert_eq!(
            (circuit.gate(999), circuit.state(), circuit.blame()),
            (Gate::Avoid, State::Open, Some(Blame::Key))
        );
        assert_eq!((circuit.gate(1_000), circuit.state()), (Gate::Probe, State::HalfOpen));
        assert_eq!(circuit.gate(1_001), Gate::Avoid);
        circuit.succeeded();
        assert_eq!((circuit.gate(1_002), circuit.state(), circuit.blame()), (Gate::Ask, State::Closed, None));
    }

    #[test]
    fn a_429_opens_it_for_as_long_as_it_says() {
        let mut circuit = Circuit::default();
        circuit.failed(0, Blame::Quota, Some(7));
        assert_eq!((circuit.gate(6_999), circuit.probe_in(6_999)), (Gate::Avoid, Some(1)));
        assert_eq!(circuit.gate(7_000), Gate::Probe);
        circuit.failed(7_010, Blame::Quota, Some(86_400));
        assert_eq!(circuit.probe_in(7_010), Some(LONGEST_RETRY_AFTER));
        let mut circuit = Circuit::default();
        circuit.failed(0, Blame::Quota, None);
        assert_eq!(circuit.gate(999), Gate::Avoid);
    }

    #[test]
    fn probes_that_fail_come_less_often() {
        let mut circuit = opened(Blame::Provider);
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..8 {
            let wait = circuit.probe_in(now).unwrap();
            pauses.push(wait);
            now += wait;
            assert_eq!(circuit.gate(now), Gate::Probe);
            circuit.failed(now, Blame::Provider, None);
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn a_probe_that_nobody_heard_of_again_is_followed_by_another() {
        let mut circuit = opened(Blame::Provider);
        assert_eq!(circuit.gate(1_000), Gate::Probe);
        assert_eq!((circuit.gate(1_999), circuit.gate(2_000)), (Gate::Avoid, Gate::Probe));
    }

    #[test]
    fn a_probe_that_asked_nobody_is_given_back() {
        let mut circuit = opened(Blame::Provider);
        assert_eq!(circuit.gate(1_000), Gate::Probe);
        circuit.not_probed(1_001);
        assert_eq!((circuit.state(), circuit.probe_in(1_001)), (State::Open, Some(0)));
        assert_eq!((circuit.gate(1_001), circuit.gate(1_002)), (Gate::Probe, Gate::Avoid));
        // Of one that failed meanwhile there is nothing to give back.
        circuit.failed(1_003, Blame::Provider, None);
        circuit.not_probed(1_004);
        assert_eq!(circuit.probe_in(1_004), Some(1_999));
    }

    proptest! {
        /// Whatever comes back and when, an open circuit lets one call a second through.
        #[test]
        fn no_second_has_two_probes(steps in proptest::collection::vec((0_u64..700, 0_u8..3, 0_u32..4), 1..200)) {
            let mut circuit = opened(Blame::Provider);
            let (mut now, mut last) = (0, None);
            for (wait, what, retry_after) in steps {
                now += wait;
                match what {
                    0 => circuit.failed(now, Blame::Quota, Some(retry_after)),
                    _ => if circuit.gate(now) == Gate::Probe {
                        prop_assert!(last.is_none_or(|last| now - last >= PROBE_EVERY));
                        last = Some(now);
                    },
                }
            }
        }
    }
}
