//! The tokens of a call in kinds that do not overlap, so that they can be added, priced and compared: what
//! providers tell overlaps, each in another way.

use std::iter::Sum;
use std::ops::AddAssign;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What a token was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Input of text, neither read from the provider's prompt cache nor written to it; and all input whose
    /// kind was not told.
    Input,
    /// Input read from the cache.
    CacheRead,
    /// Input written to the cache for five minutes, or for a time that was not told.
    CacheWrite5m,
    /// Input written to the cache for an hour.
    CacheWrite1h,
    /// Audio in the input, not from the cache.
    InputAudio,
    /// Audio in the input, read from the cache.
    CacheReadAudio,
    /// Images in the input, as far as they are told apart.
    InputImage,
    /// Output of text that is the answer; and all output whose kind was not told.
    Output,
    /// Output that the model wrote to itself.
    Reasoning,
    OutputAudio,
    OutputImage,
}

impl TokenKind {
    /// Every kind, input first, in the order of [`TokenCounts`].
    pub const ALL: [Self; 11] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::InputAudio,
        Self::CacheReadAudio,
        Self::InputImage,
        Self::Output,
        Self::Reasoning,
        Self::OutputAudio,
        Self::OutputImage,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::InputAudio => "input_audio",
            Self::CacheReadAudio => "cache_read_audio",
            Self::InputImage => "input_image",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::OutputAudio => "output_audio",
            Self::OutputImage => "output_image",
        }
    }

    pub const fn is_input(self) -> bool {
        (self as usize) < Self::Output as usize
    }
}

/// How many tokens of each kind. The counts are the providers': sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts([u64; TokenKind::ALL.len()]);

impl TokenCounts {
    /// `input` and `output` tokens of which nothing else is told.
    pub fn new(input: u64, output: u64) -> Self {
        Self::default().and(TokenKind::Input, input).and(TokenKind::Output, output)
    }

    pub fn get(&self, kind: TokenKind) -> u64 {
        self.0[kind as usize]
    }

    /// With `tokens` more of `kind`.
    #[must_use]
    pub fn and(mut self, kind: TokenKind, tokens: u64) -> Self {
        let count = &mut self.0[kind as usize];
        *count = count.saturating_add(tokens);
        self
    }

    /// Says that `tokens` of those that are input or output of no told kind, or all there are of them, were of
    /// `kind`. The sum stays.
    #[must_use]
    pub fn of_which(self, kind: TokenKind, tokens: Option<u64>) -> Self {
        let plain = if kind.is_input() { TokenKind::Input } else { TokenKind::Output };
        self.of(plain, kind, tokens)
    }

    /// Says that `tokens` of those that are `whole`, or all there are of them, were of `kind`. The sum stays.
    #[must_use]
    pub fn of(mut self, whole: TokenKind, kind: TokenKind, tokens: Option<u64>) -> Self {
        let moved = tokens.unwrap_or(0).min(self.get(whole));
        self.0[whole as usize] -= moved;
        self.and(kind, moved)
    }

    /// All input, that of caches among it.
    pub fn input(&self) -> u64 {
        self.sum(TokenKind::is_input)
    }

    /// All output, reasoning among it.
    pub fn output(&self) -> u64 {
        self.sum(|kind| !kind.is_input())
    }

    pub fn total(&self) -> u64 {
        self.sum(|_| true)
    }

    /// Input written to the cache, for however long.
    pub fn cache_write(&self) -> u64 {
        self.sum(|kind| matches!(kind, TokenKind::CacheWrite5m | TokenKind::CacheWrite1h))
    }

    /// Input read from the cache, whatever it was.
    pub fn cache_read(&self) -> u64 {
        self.sum(|kind| matches!(kind, TokenKind::CacheRead | TokenKind::CacheReadAudio))
    }

    pub fn iter(&self) -> impl Iterator<Item = (TokenKind, u64)> {
        TokenKind::ALL.into_iter().zip(self.0)
    }

    fn sum(&self, takes: impl Fn(TokenKind) -> bool) -> u64 {
        self.iter().filter(|(kind, _)| takes(*kind)).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

impl FromIterator<(TokenKind, u64)> for TokenCounts {
    fn from_iter<I: IntoIterator<Item = (TokenKind, u64)>>(counts: I) -> Self {
        counts.into_iter().fold(Self::default(), |sum, (kind, tokens)| sum.and(kind, tokens))
    }
}

impl AddAssign for TokenCounts {
    fn add_assign(&mut self, more: Self) {
        *self = self.iter().chain(more.iter()).collect();
    }
}

impl Sum for TokenCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |mut sum, more| {
            sum += more;
            sum
        })
    }
}

impl Serialize for TokenCounts {
    /// The kinds of which there are some, by name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let some = || self.iter().filter(|(_, count)| *count > 0);
        let mut map = serializer.serialize_map(Some(some().count()))?;
        for (kind, count) in some() {
            map.serialize_entry(kind.as_str(), &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts() -> impl Strategy<Value = TokenCounts> {
        proptest::array::uniform11(0..1_u64 << 40).prop_map(TokenCounts)
    }

    fn kind() -> impl Strategy<Value = TokenKind> {
        proptest::sample::select(TokenKind::ALL.as_slice())
    }

    proptest! {
        #[test]
        fn the_kinds_add_up(counts in counts()) {
            prop_assert_eq!(counts.input() + counts.output(), counts.total());
            prop_assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), counts.total());
            prop_assert_eq!(counts.iter().collect::<TokenCounts>(), counts);
        }

        #[test]
        fn to_say_more_of_a_token_makes_no_token(
            input: u64, output: u64, told in proptest::collection::vec((kind(), any::<Option<u64>>()), 0..20),
        ) {
            let plain = TokenCounts::new(input, output);
            let split = told.into_iter().fold(plain, |counts, (kind, tokens)| counts.of_which(kind, tokens));
            prop_assert_eq!((split.input(), split.output()), (input, output));
        }

        #[test]
        fn sums_are_the_sums_of_each_kind(all in proptest::collection::vec(counts(), 0..8)) {
            let sum: TokenCounts = all.iter().copied().sum();
            for kind in TokenKind::ALL {
                prop_assert_eq!(sum.get(kind), all.iter().map(|counts| counts.get(kind)).sum::<u64>());
            }
        }
    }

    #[test]
    fn every_kind_has_a_place_and_a_name_of_its_own() {
        for (at, kind) in TokenKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            assert_eq!(TokenKind::ALL.iter().filter(|k| k.as_str() == kind.as_str()).count(), 1);
        }
        let some = TokenCounts::new(3, 0).of_which(TokenKind::CacheRead, Some(1));
        assert_eq!(serde_json::to_string(&some).unwrap(), r#"{"input":2,"cache_read":1}"#);
    }
}
