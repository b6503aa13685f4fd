//! Patterns, tried at every place where one may begin, and what may stand at their ends.

use std::sync::LazyLock;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

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

/// Whether a number stands at `from..to` by itself, and is no piece of a longer name, number or path.
pub(super) fn stands_alone(text: &str, from: usize, to: usize) -> bool {
    let before = text[..from].chars().next_back();
    let bytes = text.as_bytes();
    let before_that = from.checked_sub(2).and_then(|at| bytes.get(at));
    let joined = match before {
        Some('-') => before_that.is_some_and(u8::is_ascii_alphanumeric),
        Some('.' | '/' | '+' | ',') => before_that.is_some_and(u8::is_ascii_digit),
        Some('$' | '_' | '@') => true,
        Some(c) => c.is_ascii_alphanumeric(),
        None => false,
    };
    !joined && !goes_on(bytes, to)
}

/// Whether a number goes on at `to`.
fn goes_on(bytes: &[u8], to: usize) -> bool {
    let is = |at: usize, test: fn(&u8) -> bool| bytes.get(at).is_some_and(test);
    match bytes.get(to) {
        Some(b'-' | b'/' | b'+' | b'@') => is(to + 1, u8::is_ascii_alphanumeric),
        Some(b'.' | b',' | b':') => is(to + 1, u8::is_ascii_digit),
        Some(b'_') => true,
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
