//! How long the answers of an endpoint are, learned from the last of them.

/// What is expected before anything is known.
const UNKNOWN: u64 = 1_024;
/// How many answers are remembered, and how many are needed to expect from.
const KEPT: usize = 64;
const ENOUGH: usize = 8;

/// The tokens of the last answers.
#[derive(Clone, Debug)]
pub struct Outputs {
    last: [u32; KEPT],
    seen: usize,
    expected: u64,
}

impl Default for Outputs {
    fn default() -> Self {
        Self { last: [0; KEPT], seen: 0, expected: UNKNOWN }
    }
}

impl Outputs {
    pub fn push(&mut self, tokens: u64) {
        self.last[self.seen % KEPT] = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.seen += 1;
        let known = self.seen.min(KEPT);
        if known >= ENOUGH {
            let mut sorted = self.last;
            sorted[..known].sort_unstable();
            self.expected = u64::from(sorted[(known * 95).div_ceil(100) - 1]).max(1);
        }
    }

    /// The tokens that 95 of 100 answers do not exceed, at least 1.
    pub const fn expected(&self) -> u64 {
        self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_follows_the_last_answers() {
        let mut outputs = Outputs::default();
        (0..ENOUGH - 1).for_each(|_| outputs.push(10));
        assert_eq!(outputs.expected(), UNKNOWN);
        outputs.push(10);
        assert_eq!(outputs.expected(), 10);
        (1..=100).for_each(|tokens| outputs.push(tokens));
        assert_eq!(outputs.expected(), 97);
        (0..KEPT).for_each(|_| outputs.push(0));
        assert_eq!(outputs.expected(), 1);
    }
}
