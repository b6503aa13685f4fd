//! A text that comes in pieces. It is held back by as much as the longest that can be found, so that what is
//! found, and what is let through, is the same however it is cut. What is encoded is longer than it reads:
//! escapes are measured as they read, and more is held back in an encoded stretch that has not ended. What is
//! found all the same to have begun in what was let through blocks.

use std::sync::Arc;

use super::decode::{DEPTH, ESCAPE, escaped};
use super::fold::{View, Writing, read};
use super::json::{Place, with_sign};
use super::pii::{Entity, REACH};
use super::scan::{Behavior, Found, Rules, What};

/// How many times as long as it reads an encoded stretch may be: a byte is six characters in `0x41, `.
const EXPANSION: usize = 6_usize.pow(DEPTH as u32);
/// Longest that an escape within an escape, which has not ended, reads before it has.
const PARTIAL: usize = DEPTH * ESCAPE;
/// Of what was let through this much is kept, in bytes as it reads: what tells what a number is may be encoded.
const KEPT: usize = 1024;
/// The same of a reading without escapes.
const KEPT_PLAIN: usize = 2 * REACH;
/// New bytes that are worth another look.
const STEP: usize = 32;
/// Longest piece of a whole text that is looked at at once.
const PIECE: usize = 16 << 10;
/// Most bytes that are held back. Only what is invisible can be more.
const MOST: usize = 1 << 20;

#[derive(Debug)]
pub struct Window {
    rules: Arc<Rules>,
    writing: Writing,
    raw: String,
    /// Where in `raw` begins what is held back.
    held: usize,
    /// Bytes that have come since the last look.
    fresh: usize,
    /// Where in a text of JSON `held` is.
    place: Place,
    /// Nothing more is read or let through: the text cannot be judged.
    spent: bool,
}

/// What may go on, and what is in it. What blocks is for the caller to heed.
#[derive(Debug, Default, PartialEq)]
pub struct Released {
    pub text: String,
    pub found: Vec<What>,
}

impl Window {
    pub fn new(rules: Arc<Rules>, writing: Writing) -> Self {
        Self { rules, writing, raw: String::new(), held: 0, fresh: 0, place: Place::default(), spent: false }
    }

    pub fn push(&mut self, text: &str) -> Released {
        if self.spent {
            return Released::default();
        }
        self.raw.push_str(text);
        self.fresh += text.len();
        if self.fresh < self.worth() { Released::default() } else { self.look(false) }
    }

    /// The text is over.
    pub fn finish(&mut self) -> Released {
        if self.spent { Released::default() } else { self.look(true) }
    }

    pub fn writing(&self) -> Writing {
        self.writing
    }

    /// New bytes that are worth a look: each reads all that is held, so that more must have come where much is.
    fn worth(&self) -> usize {
        let much = (self.raw.len() - self.held).saturating_sub(2 * self.rules.longest());
        STEP.max(much / 2)
    }

    fn look(&mut self, last: bool) -> Released {
        self.fresh = 0;
        let readings = read(&self.raw, self.writing);
        let mut found = self.rules.find(&readings);
        found.retain(|found| found.to > self.held);
        let begun = found.iter().any(|found| found.from < self.held && found.what != What::Keyword);
        if self.writing == Writing::Json {
            found.iter_mut().for_each(|found| found.from = with_sign(&self.raw, found.from));
        }
        found.iter_mut().for_each(|found| found.from = found.from.max(self.held));
        let unescaped = unescaped(&readings[0]);
        let shown: Vec<&View> = readings.iter().take(1).chain(&unescaped).collect();
        let mut until = if last { self.raw.len() } else { self.settled(&shown) };
        found.sort_by_key(|found| (found.from, found.to, found.what));
        // What readings share is found in each.
        found.dedup();
        let marks = clusters(&found);
        for found in found.iter().rev() {
            if found.from < until && until < found.to {
                until = found.from;
            }
        }
        found.retain(|found| found.from < until);
        let masks = self.rules.pii() == Some(Behavior::Mask);
        let text = self.text(until, if masks { &marks } else { &[] });
        let mut found: Vec<What> = found.into_iter().map(|found| found.what).collect();
        self.let_go(until, &shown);
        // What is gone cannot be masked any more.
        if (begun && masks) || self.raw.len() - self.held > MOST {
            found.push(What::Unreadable);
            self.spent = true;
        }
        Released { text, found }
    }

    /// Up to where whatever comes changes nothing, in all readings.
    fn settled(&self, shown: &[&View]) -> usize {
        let longest = self.rules.longest();
        let settled = shown.iter().map(|view| {
            let (text, length) = (view.text.as_str(), view.text.len());
            let most = length.saturating_sub(longest * EXPANSION);
            let at = length.saturating_sub(longest + PARTIAL).min(live(text, most));
            // Characters that are several as they read are not taken apart.
            match text.floor_char_boundary(at) {
                0 => 0,
                at => view.start(at),
            }
        });
        settled.min().unwrap_or(0).max(self.held)
    }

    /// What is held back up to `until`, with what is marked masked.
    fn text(&mut self, until: usize, marks: &[(usize, usize, Entity)]) -> String {
        let (mut out, mut at) = (String::with_capacity(until - self.held), self.held);
        for (from, to, entity) in marks.iter().take_while(|(_, to, _)| *to <= until) {
            out.push_str(&self.raw[at..*from]);
            self.place.read(&self.raw[at..*from]);
            // What stands for a value that is no string must become one.
            let bare = self.writing == Writing::Json && self.place.is_bare(&self.raw, *from, *to);
            let quote = if bare { "\"" } else { "" };
            out.extend([quote, "<", entity.as_str(), ">", quote]);
            self.place.read(&self.raw[*from..*to]);
            at = *to;
        }
        out.push_str(&self.raw[at..until]);
        self.place.read(&self.raw[at..until]);
        out
    }

    fn let_go(&mut self, until: usize, shown: &[&View]) {
        let kept = shown.iter().enumerate().map(|(depth, view)| {
            let most = if depth == 0 { KEPT } else { KEPT_PLAIN };
            match view.index_of(until).saturating_sub(most) {
                0 => 0,
                at => view.start(at),
            }
        });
        let cut = kept.min().unwrap_or(0).min(until);
        self.raw.drain(..cut);
        self.held = until - cut;
    }
}

/// `view` with its escapes read, and with those that this gives.
fn unescaped(view: &View) -> Vec<View> {
    let mut out: Vec<View> = Vec::new();
    for _ in 0..DEPTH {
        let Some(next) = escaped(out.last().unwrap_or(view)).into_iter().next() else { break };
        out.push(next);
    }
    out
}

/// What is personal in `found`, which is in order, without overlaps: what overlaps is one, by its most
/// telling name.
pub(super) fn clusters(found: &[Found]) -> Vec<(usize, usize, Entity)> {
    let mut out: Vec<(usize, usize, Entity)> = Vec::new();
    for found in found {
        let What::Pii(entity) = found.what else { continue };
        match out.last_mut().filter(|(_, to, _)| found.from < *to) {
            Some(last) => *last = (last.0, last.1.max(found.to), last.2.min(entity)),
            None => out.push((found.from, found.to, entity)),
        }
    }
    out
}

/// Long enough for a line of base64 that goes on in the next.
const LINE: usize = 16;

/// Where an encoded stretch begins that may go on, from `most` on: the last word, and those before it that are
/// lines of base64 or pairs of digits.
fn live(text: &str, most: usize) -> usize {
    let code = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/_-:,".contains(*byte);
    let (bytes, mut start) = (text.as_bytes(), text.len());
    let mut end = start;
    loop {
        let word = bytes[most..end].iter().rev().take_while(code).count();
        let from = end - word;
        let goes_on = end == bytes.len() || word >= LINE || is_pairs(&bytes[from..end]);
        if goes_on || ends_in_pair(&bytes[from..end]) {
            start = from;
        }
        if !goes_on || from == most || !matches!(bytes[from - 1], b' ' | b'\n') {
            return start;
        }
        end = from - 1;
    }
}

/// Whether it is pairs of hexadecimal digits, with what may stand between them.
fn is_pairs(word: &[u8]) -> bool {
    word.iter().all(|byte| byte.is_ascii_hexdigit() || b"xX:,-".contains(byte))
}

fn ends_in_pair(word: &[u8]) -> bool {
    let word = word.trim_ascii_end().strip_suffix(b",").unwrap_or(word);
    matches!(word, [.., high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// `text` as [`Window`] lets it through, in one go; nothing behind what cannot be judged.
pub fn whole(rules: &Arc<Rules>, writing: Writing, text: &str) -> Released {
    let mut window = Window::new(Arc::clone(rules), writing);
    let (mut out, mut rest) = (Released::default(), text);
    while rest.len() > PIECE {
        let at = rest.floor_char_boundary(PIECE);
        out.add(window.push(&rest[..at]));
        if window.spent {
            return out;
        }
        rest = &rest[at..];
    }
    window.raw.push_str(rest);
    out.add(window.finish());
    out
}

impl Released {
    fn add(&mut self, more: Self) {
        self.text.push_str(&more.text);
        self.found.extend(more.found);
    }
}
