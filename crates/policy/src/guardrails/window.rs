//! A text that comes in pieces. It is held back by as much as the longest that can be found, so that what is
//! found, and what is let through, is the same however it is cut. What is encoded is longer than it reads:
//! behind an escape, or in an encoded stretch that has not ended, more is held back.

use std::sync::Arc;

use super::decode::DEPTH;
use super::fold::{View, Writing, read};
use super::pii::Entity;
use super::scan::{Behavior, Found, Rules, What};

/// How many times as long as it reads something may be written: a character is three in an escape.
const EXPANSION: usize = 3_usize.pow(DEPTH as u32);
/// Of what was let through this much is kept, in bytes as it reads: what tells what a number is may be encoded.
const KEPT: usize = 1024;
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
}

/// What may go on, and what is in it. What blocks is for the caller to heed.
#[derive(Debug, Default, PartialEq)]
pub struct Released {
    pub text: String,
    pub found: Vec<What>,
}

impl Window {
    pub fn new(rules: Arc<Rules>, writing: Writing) -> Self {
        Self { rules, writing, raw: String::new(), held: 0, fresh: 0 }
    }

    pub fn push(&mut self, text: &str) -> Released {
        self.raw.push_str(text);
        self.fresh += text.len();
        if self.fresh < STEP { Released::default() } else { self.look(false) }
    }

    /// The text is over.
    pub fn finish(&mut self) -> Released {
        self.look(true)
    }

    pub fn writing(&self) -> Writing {
        self.writing
    }

    fn look(&mut self, last: bool) -> Released {
        self.fresh = 0;
        let readings = read(&self.raw, self.writing);
        let mut found = self.rules.find(&readings);
        found.retain(|found| found.from >= self.held);
        let shown = &readings[0];
        let mut until = if last { self.raw.len() } else { self.settled(shown) };
        found.sort_by_key(|found| (found.from, found.to));
        let marks = clusters(&found);
        if let Some((from, ..)) = marks.iter().find(|(from, to, _)| *from < until && until < *to) {
            until = *from;
        }
        found.retain(|found| found.from < until);
        let masks = self.rules.pii() == Some(Behavior::Mask);
        let text = self.text(until, if masks { &marks } else { &[] });
        let mut found: Vec<What> = found.into_iter().map(|found| found.what).collect();
        self.let_go(until, shown);
        if self.raw.len() - self.held > MOST {
            found.push(What::Unreadable);
        }
        Released { text, found }
    }

    /// Up to where whatever comes changes nothing.
    fn settled(&self, shown: &View) -> usize {
        let (length, longest) = (shown.text.len(), self.rules.longest());
        let mut at = length.saturating_sub(longest);
        let most = length.saturating_sub(longest * EXPANSION);
        if has_escapes(&shown.text.as_bytes()[at..]) {
            at = most;
        } else if at > 0 {
            at = at.min(live(&shown.text).max(most));
        }
        while !shown.text.is_char_boundary(at) {
            at -= 1;
        }
        // Characters that are several as they read are not taken apart.
        if at == 0 { self.held } else { shown.start(at).max(self.held) }
    }

    fn text(&self, until: usize, marks: &[(usize, usize, Entity)]) -> String {
        let (mut out, mut at) = (String::with_capacity(until - self.held), self.held);
        for (from, to, entity) in marks.iter().take_while(|(_, to, _)| *to <= until) {
            out.push_str(&self.raw[at..*from]);
            let quote = if self.is_bare(*from, *to) { "\"" } else { "" };
            out.extend([quote, "<", entity.as_str(), ">", quote]);
            at = *to;
        }
        out.push_str(&self.raw[at..until]);
        out
    }

    /// Whether a value of JSON stands there that is no string, and what takes its place must become one.
    fn is_bare(&self, from: usize, to: usize) -> bool {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let before = self.raw[..from].trim_end().chars().next_back();
        let behind = self.raw[to..].trim_start().chars().next();
        self.writing == Writing::Json
            && number(&self.raw[from..to])
            && matches!(before, None | Some(':' | '[' | ','))
            && matches!(behind, None | Some(',' | ']' | '}'))
            && !in_string(&self.raw[..from])
    }

    fn let_go(&mut self, until: usize, shown: &View) {
        let kept = shown.index_of(until).saturating_sub(KEPT);
        let cut = if kept == 0 { 0 } else { shown.start(kept).min(until) };
        self.raw.drain(..cut);
        self.held = until - cut;
    }
}

/// Whether an odd number of quotation marks stand before: of what is kept, that is a guess, and the other
/// conditions decide in its stead.
fn in_string(before: &str) -> bool {
    let (mut inside, mut escaped) = (false, false);
    for byte in before.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => inside = !inside,
            _ => {}
        }
    }
    inside
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

fn has_escapes(text: &[u8]) -> bool {
    text.windows(3).any(|w| match w {
        [b'%', high, low] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        [b'\\', b'u' | b'x', _] | [b'&', b'#', _] => true,
        _ => false,
    }) || text.ends_with(b"%")
        || matches!(text, [.., b'%', _])
        || text.ends_with(b"\\")
        || text.ends_with(b"&")
        || text.ends_with(b"\\u")
        || text.ends_with(b"\\x")
        || text.ends_with(b"&#")
}

/// Where a stretch without spaces begins that may go on; lines of base64 and pairs of digits go on in the next.
fn live(text: &str) -> usize {
    let mut start = text.len();
    for (count, token) in text.rsplit([' ', '\n']).enumerate() {
        let pair = token.trim_start_matches("0x").trim_end_matches(',');
        let goes_on = count == 0
            || token.len() >= 16
            || (pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
        if !goes_on {
            break;
        }
        start = start.saturating_sub(token.len() + usize::from(count > 0));
    }
    start
}

/// `text` as [`Window`] lets it through, in one go.
pub fn whole(rules: &Arc<Rules>, writing: Writing, text: &str) -> Released {
    let mut window = Window::new(Arc::clone(rules), writing);
    let (mut out, mut rest) = (Released::default(), text);
    while rest.len() > PIECE {
        let at = rest.floor_char_boundary(PIECE);
        out.add(window.push(&rest[..at]));
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
