//! Patterns, tried at every place where one may begin, and what may stand at their ends.

use std::sync::LazyLock;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

use super::Reading;
use super::nearby::About;

/// A pattern. It is short: time is linear in the text.
pub(super) struct Shape(LazyLock<Option<Regex>>);

impl Shape {
    pub(super) const fn new(build: fn() -> Option<Regex>) -> Self {
        Self(LazyLock::new(build))
    }

    /// Every place where the pattern stands, also within another, but for those that go on a word: what stands
    /// alone begins none of them.
    pub(super) fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
        let (bytes, mut at) = (text.as_bytes(), 0);
        std::iter::from_fn(move || {
            let found = self.0.as_ref()?.find(Input::new(text).range(at..))?;
            let word = bytes[found.start()..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            at = text.ceil_char_boundary(found.start() + word.max(1));
            Some((found.start(), found.end()))
        })
    }
}

/// Compiles a pattern of ASCII; `None` never happens for those that are written here, which a test holds.
pub(super) fn compile(pattern: &str) -> Option<Regex> {
    let syntax = syntax::Config::new().unicode(false).utf8(true);
    let config = Regex::config().match_kind(MatchKind::LeftmostFirst);
    Regex::builder().configure(config).syntax(syntax).build(pattern).ok()
}

/// From so many digits on, what stands beside a mark is a number of its own, and no part of an amount or a date.
const OWN: usize = 6;

/// Whether a number stands at `from..to` by itself, and is no piece of a longer name, number or path.
pub(super) fn stands_alone(text: &str, from: usize, to: usize) -> bool {
    let bytes = text.as_bytes();
    let before_that = from.checked_sub(2).and_then(|at| bytes.get(at));
    let joined = match text[..from].chars().next_back() {
        Some('-' | '_') => before_that.is_some_and(u8::is_ascii_alphanumeric),
        Some('.' | '+') => before_that.is_some_and(u8::is_ascii_digit),
        Some(mark @ (',' | '/')) => {
            let digits = bytes[..from - 1].iter().rev().take_while(|byte| byte.is_ascii_digit()).take(OWN);
            !has_form(&text[from..to], mark) && (1..OWN).contains(&digits.count())
        }
        Some('$' | '@') => true,
        Some(c) => c.is_ascii_alphanumeric(),
        None => false,
    };
    !joined && !goes_on(text, from, to)
}

/// The same of a number about which something must be said: the word may be joined to it, as in `SSN-536-90-4399`.
pub(super) fn is_own(reading: &Reading<'_>, about: About, from: usize, to: usize) -> bool {
    stands_alone(reading.text, from, to) || is_told(reading, about, from, to)
}

fn is_told(reading: &Reading<'_>, about: About, from: usize, to: usize) -> bool {
    let joined = matches!(from.checked_sub(1).map(|at| reading.text.as_bytes()[at]), Some(b'-' | b'_'));
    joined && reading.nearby.ends_at(about, from - 1) && !goes_on(reading.text, from, to)
}

/// Whether it is written as no amount is that goes on behind `mark`, and no number in a path.
fn has_form(number: &str, mark: char) -> bool {
    let count = |sign| number.matches(sign).count();
    let last = number.len() - number.rfind(' ').map_or(0, |at| at + 1);
    let most = if mark == '/' { 12 } else { 9 };
    // Groups of an amount, the last too, are of three.
    number.contains(['-', '('])
        || count('.') >= 2
        || (count(' ') >= 2 && last == 4)
        || digits(number).len() >= most
}

/// Whether the number at `from..to` goes on.
fn goes_on(text: &str, from: usize, to: usize) -> bool {
    let bytes = text.as_bytes();
    let is = |at: usize, test: fn(&u8) -> bool| bytes.get(at).is_some_and(test);
    let digits = || bytes[to + 1..].iter().take_while(|byte| byte.is_ascii_digit()).take(OWN).count();
    match bytes.get(to) {
        Some(b'-' | b'+' | b'@' | b'_') => is(to + 1, u8::is_ascii_alphanumeric),
        Some(b'.') => is(to + 1, u8::is_ascii_digit),
        Some(b',' | b':') => !has_form(&text[from..to], ',') && (1..OWN).contains(&digits()),
        Some(b'/') => {
            let other = is(to + 1, u8::is_ascii_alphanumeric) && digits() < OWN;
            !has_form(&text[from..to], '/') && other
        }
        Some(byte) => byte.is_ascii_alphanumeric(),
        None => false,
    }
}

pub(super) fn digits(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
}

/// Whether what stands between the digits is the same everywhere.
pub(super) fn one_separator(text: &str) -> bool {
    let mut separators = text.bytes().filter(|byte| !byte.is_ascii_digit());
    let first = separators.next();
    separators.all(|other| Some(other) == first)
}
