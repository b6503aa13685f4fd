//! Text as a reader sees it: compatibility forms, lookalikes, digits of other scripts and what is invisible
//! are made plain, and each byte of the result knows where in the text it is from.

use unicode_normalization::char::{canonical_combining_class, decompose_compatible};

use super::confusables;

/// Where in the text something is: bytes, from and to.
pub(super) type Span = (u32, u32);

/// A reading of a text, or of something that is encoded in it.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) text: String,
    /// For each byte of `text`.
    at: Vec<Span>,
}

impl View {
    fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), at: Vec::with_capacity(bytes) }
    }

    fn push(&mut self, c: char, span: Span) {
        self.at.extend(std::iter::repeat_n(span, c.len_utf8()));
        self.text.push(c);
    }

    /// ASCII that reads as it is written, from `from` of the text on.
    fn push_run(&mut self, run: &str, from: usize) {
        let spans = (from..from + run.len()).map(|at| span(at, at + 1));
        self.at.extend(spans);
        self.text.push_str(run);
    }

    /// Where the byte `at` of this reading is in the text.
    pub(super) fn place(&self, at: usize) -> Span {
        self.at[at]
    }

    /// Where the bytes `from..to` of this reading, at least one, are in the text.
    pub(super) fn span(&self, from: usize, to: usize) -> Span {
        (self.at[from].0, self.at[to - 1].1)
    }

    /// Where the byte `at` of this reading begins in the text.
    pub(super) fn start(&self, at: usize) -> usize {
        self.at[at].0 as usize
    }

    /// The first byte of this reading that is from `raw` of the text or behind it.
    pub(super) fn index_of(&self, raw: usize) -> usize {
        self.at.partition_point(|(start, _)| (*start as usize) < raw)
    }
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writing {
    Plain,
    /// JSON, as the arguments of a tool are: its escapes are read, and what is masked stays JSON.
    Json,
}

/// The readings of `text`: as it is seen, and what its invisible characters spell.
pub(super) fn read(text: &str, writing: Writing) -> Vec<View> {
    match writing {
        Writing::Plain => fold_plain(text),
        Writing::Json => fold(unescaped(text)),
    }
}

/// As [`fold`], of characters that are where they stand: most are letters of ASCII, which read as they are.
fn fold_plain(text: &str) -> Vec<View> {
    let (mut folding, mut at) = (Folding::with_capacity(text.len()), 0);
    while at < text.len() {
        let run = run(&text.as_bytes()[at..]);
        folding.seen.push_run(&text[at..at + run], at);
        at += run;
        if let Some(c) = text[at..].chars().next() {
            folding.take(c, span(at, at + c.len_utf8()));
            at += c.len_utf8();
        }
    }
    folding.views()
}

/// How many of `bytes` are what has a shape, or single blanks between two of them.
fn run(bytes: &[u8]) -> usize {
    let is_shape = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_graphic);
    let goes_on = |at: &usize| {
        is_shape(*at) || (bytes[*at] == b' ' && *at > 0 && is_shape(*at - 1) && is_shape(*at + 1))
    };
    (0..bytes.len()).take_while(goes_on).count()
}

fn span(from: usize, to: usize) -> Span {
    (u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(to).unwrap_or(u32::MAX))
}

/// As [`read`], of characters that are from somewhere in the text.
pub(super) fn fold(chars: impl Iterator<Item = (char, Span)>) -> Vec<View> {
    let mut folding = Folding::with_capacity(chars.size_hint().0);
    chars.for_each(|(c, span)| folding.take(c, span));
    folding.views()
}

/// What is seen, and what is hidden in it.
#[derive(Default)]
struct Folding {
    seen: View,
    tags: View,
    selectors: Vec<(u8, Span)>,
}

impl Folding {
    fn with_capacity(bytes: usize) -> Self {
        Self { seen: View::with_capacity(bytes), ..Self::default() }
    }

    fn take(&mut self, c: char, span: Span) {
        if c.is_ascii() {
            put(&mut self.seen, c, span);
        } else if let Some(byte) = selector(c) {
            self.selectors.push((byte, span));
        } else if ('\u{e0020}'..='\u{e007e}').contains(&c) {
            self.tags.push(char::from_u32(u32::from(c) - 0xe0000).unwrap_or(' '), span);
        } else if !is_invisible(c) {
            decompose_compatible(c, |part| {
                if canonical_combining_class(part) == 0 && !is_invisible(part) {
                    put(&mut self.seen, confusables::plain(part), span);
                }
            });
        }
    }

    fn views(self) -> Vec<View> {
        let Self { seen, tags, selectors } = self;
        let mut views = vec![seen];
        if tags.text.len() >= super::decode::LEAST {
            views.push(tags);
        }
        if selectors.len() >= super::decode::LEAST {
            views.extend(super::decode::segments(&selectors).into_iter().map(|segment| {
                let mut view = View::default();
                segment.into_iter().for_each(|(c, span)| put(&mut view, c, span));
                view
            }));
        }
        views
    }
}

/// White space is one blank, or one line end where there is one in it.
fn put(view: &mut View, c: char, span: Span) {
    let blank = match c {
        '!'..='~' => return view.push(c, span),
        '\n' | '\r' => Some('\n'),
        c if c.is_whitespace() => Some(' '),
        c if c.is_control() => return,
        _ => None,
    };
    match (blank, view.text.as_bytes().last()) {
        (None, _) => view.push(c, span),
        (Some(' '), Some(b' ' | b'\n')) | (Some('\n'), Some(b'\n')) => {}
        (Some('\n'), Some(b' ')) => {
            view.text.pop();
            view.text.push('\n');
        }
        (Some(blank), _) => view.push(blank, span),
    }
}

/// The byte that a variation selector stands for where text is hidden in them.
fn selector(c: char) -> Option<u8> {
    match c {
        '\u{fe00}'..='\u{fe0f}' => u8::try_from(u32::from(c) - 0xfe00).ok(),
        '\u{e0100}'..='\u{e01ef}' => u8::try_from(u32::from(c) - 0xe0100 + 16).ok(),
        _ => None,
    }
}

/// Characters without a shape, besides selectors and tags.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The characters of JSON with its escapes read.
fn unescaped(text: &str) -> impl Iterator<Item = (char, Span)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let (c, length) = escape(rest).or_else(|| rest.chars().next().map(|c| (c, c.len_utf8())))?;
        at += length;
        Some((c, span(at - length, at)))
    })
}

/// The escape that `rest` begins with, and its length.
fn escape(rest: &str) -> Option<(char, usize)> {
    let kind = rest.strip_prefix('\\')?.chars().next()?;
    let c = match kind {
        'n' => '\n',
        'r' => '\r',
        't' | 'b' | 'f' => ' ',
        '"' | '\\' | '/' => kind,
        'u' => return unicode_escape(rest),
        _ => return None,
    };
    Some((c, 2))
}

/// `\u` and four digits, or two of them that are one character.
pub(super) fn unicode_escape(rest: &str) -> Option<(char, usize)> {
    let unit = |rest: &str| u32::from_str_radix(rest.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let first = unit(rest)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 6));
    }
    let second = unit(rest.get(6..)?).filter(|low| (0xdc00..0xe000).contains(low))?;
    let high = first.checked_sub(0xd800).filter(|high| *high < 0x400)?;
    Some((char::from_u32(0x10000 + (high << 10) + (second - 0xdc00))?, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> String {
        read(text, Writing::Plain).swap_remove(0).text
    }

    #[test]
    fn what_looks_the_same_reads_the_same() {
        for text in [
            "secret",
            "ｓｅｃｒｅｔ",
            "s\u{200b}e\u{200d}c\u{2060}r\u{ad}et",
            "ѕесrеt",
            "𝓼𝓮𝓬𝓻𝓮𝓽",
            "ⓢⓔⓒⓡⓔⓣ",
            "ѕ\u{301}e\u{336}cret",
        ] {
            assert_eq!(seen(text), "secret", "{text:?}");
        }
        assert_eq!(seen("٥٣٦‑９０–𝟰𝟯९९"), "536-90-4399");
        assert_eq!(seen("a \u{3000}\tb \r\n c"), "a b\nc");
    }

    #[test]
    fn every_byte_knows_where_it_is_from() {
        let text = "xé\u{200b}ｂ";
        let view = &read(text, Writing::Plain)[0];
        assert_eq!(view.text, "xeb");
        assert_eq!(view.span(1, 2), (1, 3));
        assert_eq!(view.span(1, 3), (1, 9));
        assert_eq!(view.index_of(3), 2);
    }

    #[test]
    fn hidden_text_is_read() {
        let tags: String =
            "536-90-4399".chars().map(|c| char::from_u32(u32::from(c) + 0xe0000).unwrap()).collect();
        assert_eq!(read(&format!("hi{tags}"), Writing::Plain)[1].text, "536-90-4399");
        let selectors: String =
            "secret".bytes().map(|b| char::from_u32(0xe0100 + u32::from(b) - 16).unwrap()).collect();
        assert_eq!(read(&format!("😀{selectors}"), Writing::Plain)[1].text, "secret");
    }

    #[test]
    fn escapes_of_json_are_read() {
        let view = &read(r#"{"a":"x\nb\u0040c\ud83d\ude00\q"}"#, Writing::Json)[0];
        assert_eq!(view.text, "{\"a\":\"x\nb@c😀\\q\"}");
    }
}
