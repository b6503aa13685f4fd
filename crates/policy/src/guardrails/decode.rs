//! What is written in a text in another way: base64, hexadecimal digits, escapes. Every alignment is tried,
//! so that what is found does not depend on where a piece of a text begins.

use std::ops::Range;

use super::fold::{Span, View, fold, unicode_escape};

/// Encodings within encodings that are looked into.
pub(super) const DEPTH: usize = 2;
/// Fewer readable bytes than this are taken for chance.
pub(super) const LEAST: usize = 6;
/// Of one line of a base64 text that is broken into lines.
const LINE: usize = 16;

/// The readings of what is encoded in `view`.
pub(super) fn children(view: &View) -> Vec<View> {
    let mut out = escaped(view);
    base64(view, &mut out);
    hex(view, &mut out);
    out
}

/// The stretches of readable text in bytes.
pub(super) fn segments(bytes: &[(u8, Span)]) -> Vec<Vec<(char, Span)>> {
    let plain: Vec<u8> = bytes.iter().map(|(byte, _)| *byte).collect();
    let segment =
        |stretch| characters(&plain, stretch, |from, to| (bytes[from].1.0, bytes[to].1.1)).collect();
    stretches(&plain).into_iter().map(segment).collect()
}

/// The characters of a stretch of `plain`, where the bytes from one to another are at `place`.
fn characters<'a>(
    plain: &'a [u8],
    stretch: Range<usize>,
    place: impl Fn(usize, usize) -> Span + 'a,
) -> impl Iterator<Item = (char, Span)> + 'a {
    let text = str::from_utf8(&plain[stretch.clone()]).unwrap_or_default();
    text.char_indices().map(move |(at, c)| {
        let from = stretch.start + at;
        (c, place(from, from + c.len_utf8() - 1))
    })
}

/// Where readable text of some length stands in bytes.
fn stretches(plain: &[u8]) -> Vec<Range<usize>> {
    let (mut out, mut from, mut at) = (Vec::new(), 0, 0);
    while at < plain.len() {
        match character(&plain[at..]).filter(|c| !c.is_control() || c.is_whitespace()) {
            Some(c) => at += c.len_utf8(),
            None => {
                out.extend((at - from >= LEAST).then_some(from..at));
                at += 1;
                from = at;
            }
        }
    }
    out.extend((at - from >= LEAST).then_some(from..at));
    out
}

/// The character that `bytes` begin with, if they do.
fn character(bytes: &[u8]) -> Option<char> {
    let length = match bytes.first()? {
        byte @ 0..=0x7f => return Some(char::from(*byte)),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    str::from_utf8(bytes.get(..length)?).ok()?.chars().next()
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// What stretches of base64 are for, each read from its first four characters on.
fn base64(view: &View, out: &mut Vec<View>) {
    let text = view.text.as_bytes();
    let (mut run, mut plain, mut at) = (Vec::new(), Vec::new(), 0);
    while at < text.len() {
        run.clear();
        at = base64_run(text, at, &mut run) + 1;
        for skipped in 0..if run.len() >= 8 { 4 } else { 0 } {
            let run = &run[skipped..];
            plain.clear();
            quads(run, &mut plain);
            // Three bytes are of four characters.
            let place = |byte: usize| run[4 * (byte / 3) + byte % 3].1;
            let next = |byte: usize| run[4 * (byte / 3) + byte % 3 + 1].1;
            for stretch in stretches(&plain) {
                let place = |from, to| (view.place(place(from)).0, view.place(next(to)).1);
                out.extend(fold(characters(&plain, stretch, place)));
            }
        }
    }
}

/// Reads on from `at`, with where each stands; long lines of it go on in the next. Gives where it ends.
fn base64_run(text: &[u8], mut at: usize, run: &mut Vec<(u8, usize)>) -> usize {
    let mut line = 0;
    while let Some(byte) = text.get(at) {
        match sextet(*byte) {
            Some(bits) => {
                run.push((bits, at));
                line += 1;
            }
            None if *byte == b'\n' && line >= LINE => line = 0,
            None => return at,
        }
        at += 1;
    }
    at
}

/// Four characters are three bytes; two or three at the end are one or two.
fn quads(run: &[(u8, usize)], out: &mut Vec<u8>) {
    for quad in run.chunks(4) {
        for (at, pair) in quad.windows(2).enumerate() {
            let [(first, _), (second, _)] = *pair else { continue };
            out.push(match at {
                0 => first << 2 | second >> 4,
                1 => first << 4 | second >> 2,
                _ => first << 6 | second,
            });
        }
    }
}

/// What stretches of pairs of hexadecimal digits are for, with or without something between them.
fn hex(view: &View, out: &mut Vec<View>) {
    let text = view.text.as_bytes();
    let mut at = 0;
    while at < text.len() {
        let (run, next) = if begins_pairs(&text[at..]) { pairs(text, at) } else { (Vec::new(), at) };
        if run.len() < LEAST {
            at += 1;
            continue;
        }
        // The other alignment.
        let (shifted, other) = pairs(text, at + 1);
        for run in [run, shifted] {
            let plain: Vec<u8> = run.iter().map(|pair| pair.byte).collect();
            for stretch in stretches(&plain) {
                let place =
                    |from: usize, to: usize| (view.place(run[from].from).0, view.place(run[to].from + 1).1);
                out.extend(fold(characters(&plain, stretch, place)));
            }
        }
        at = next.max(other);
    }
}

/// Whether the first of them may be a pair.
fn begins_pairs(text: &[u8]) -> bool {
    matches!(text, [first, second, ..] if first.is_ascii_hexdigit() && (second.is_ascii_hexdigit() || b"xX".contains(second)))
}

/// A byte, and where its first digit stands.
struct Pair {
    byte: u8,
    from: usize,
}

/// The bytes from `at` on, and where they end.
fn pairs(text: &[u8], at: usize) -> (Vec<Pair>, usize) {
    let (mut run, mut next) = (Vec::new(), at);
    while let Some(pair) = pair(text, next, next > at) {
        next = pair.from + 2;
        run.push(pair);
    }
    (run, next)
}

/// The byte at `at`.
fn pair(text: &[u8], at: usize, within: bool) -> Option<Pair> {
    let byte = |at: usize| text.get(at).copied().unwrap_or_default();
    let mut from = at;
    if within && matches!(byte(from), b' ' | b':' | b',' | b'-' | b'\n') {
        from += 1;
        from += usize::from(byte(from) == b' ');
    }
    if byte(from) == b'0' && matches!(byte(from + 1), b'x' | b'X') {
        from += 2;
    }
    Some(Pair { byte: byte_of(text.get(from..from + 2)?)?, from })
}

/// The byte that two hexadecimal digits are.
fn byte_of(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// The readings of `view` with its escapes read, `%41`, `\u0041`, `\x41`, `&#65;`, `&#x41;`; none where it has none.
pub(super) fn escaped(view: &View) -> Vec<View> {
    let text = view.text.as_str();
    let is_escape = |at: usize| percent(text, at).next().is_some() || escape(&text[at..]).is_some();
    let has_any = memchr::memchr3_iter(b'%', b'\\', b'&', text.as_bytes()).any(is_escape);
    if has_any { unescaped(view) } else { Vec::new() }
}

fn unescaped(view: &View) -> Vec<View> {
    let text = view.text.as_str();
    let (mut out, mut at, mut any) = (Vec::with_capacity(text.len()), 0, false);
    while at < text.len() {
        let plain = memchr::memchr3(b'%', b'\\', b'&', &text.as_bytes()[at..]).unwrap_or(text.len() - at);
        out.extend(text[at..at + plain].char_indices().map(|(within, c)| (c, view.place(at + within))));
        at += plain;
        let bytes: Vec<u8> = percent(text, at).collect();
        if !bytes.is_empty() {
            any |= readable(&bytes, view, at, &mut out);
            at += 3 * bytes.len();
        } else if let Some((c, length)) = escape(&text[at..]) {
            out.push((c, (view.place(at).0, view.place(at + length - 1).1)));
            at += length;
            any = true;
        } else if let Some(c) = text[at..].chars().next() {
            out.push((c, view.place(at)));
            at += c.len_utf8();
        }
    }
    if any { fold(out.into_iter()) } else { Vec::new() }
}

/// The bytes of `%41%42`.
fn percent(text: &str, at: usize) -> impl Iterator<Item = u8> {
    let triples = text.as_bytes()[at..].chunks_exact(3);
    triples.map_while(|triple| if triple[0] == b'%' { byte_of(&triple[1..]) } else { None })
}

/// Bytes as text, and those that are none as they were written, from `at` on. Whether there is any.
fn readable(bytes: &[u8], view: &View, at: usize, out: &mut Vec<(char, Span)>) -> bool {
    let (mut byte, mut any) = (0, false);
    while byte < bytes.len() {
        let from = at + 3 * byte;
        if let Some(c) = character(&bytes[byte..]) {
            byte += c.len_utf8();
            out.push((c, (view.place(from).0, view.place(at + 3 * byte - 1).1)));
            any = true;
        } else {
            let written = view.text[from..from + 3].chars().zip(from..);
            out.extend(written.map(|(c, at)| (c, view.place(at))));
            byte += 1;
        }
    }
    any
}

/// Longest escape of one character.
pub(super) const ESCAPE: usize = 16;

/// The character that an escape at the begin of `rest` is for, and the escape's length.
fn escape(rest: &str) -> Option<(char, usize)> {
    if !matches!(rest.as_bytes(), [b'\\', b'u' | b'x', ..] | [b'&', b'#', ..]) {
        return None;
    }
    let text = &rest[..rest.char_indices().nth(ESCAPE).map_or(rest.len(), |(at, _)| at)];
    if let Some(found) = unicode_escape(text) {
        return Some(found);
    }
    if let Some(digits) = text.strip_prefix("\\x") {
        let code = u8::from_str_radix(digits.get(..2)?, 16).ok().filter(u8::is_ascii)?;
        return Some((char::from(code), 4));
    }
    let entity = text.strip_prefix("&#")?;
    let (digits, _) = entity.split_once(';')?;
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some((char::from_u32(code)?, digits.len() + 3))
}

#[cfg(test)]
mod tests {
    use super::super::fold::{Writing, read};
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    fn decoded(text: &str) -> Vec<String> {
        children(&read(text, Writing::Plain)[0]).into_iter().map(|view| view.text).collect()
    }

    fn finds(text: &str, wanted: &str) {
        let got = decoded(text);
        assert!(got.iter().any(|text| text.contains(wanted)), "{text:?}: {got:?}");
    }

    #[test]
    fn encodings_are_read_wherever_they_begin() {
        let secret = "my ssn is 536-90-4399";
        for before in ["", "a", "ab", "abc", "see: "] {
            finds(&format!("{before}{}", STANDARD.encode(secret)), secret.trim_start_matches("my "));
        }
        finds(&URL_SAFE_NO_PAD.encode("536-90-4399"), "536-90-4399");
        let hex: Vec<String> = secret.bytes().map(|b| format!("{b:02x}")).collect();
        for text in [
            hex.concat(),
            hex.join(" "),
            hex.join(":"),
            format!("0x{}", hex.join(", 0x")),
            hex.concat().to_uppercase(),
        ] {
            finds(&text, secret);
        }
    }

    #[test]
    fn escapes_are_read_in_their_place() {
        for text in [
            "bob%40example.com",
            "bob\\u0040example.com",
            "bob\\x40example.com",
            "bob&#64;example.com",
            "bob&#x40;example.com",
        ] {
            finds(text, "bob@example.com");
        }
        finds("caf%C3%A9 100% sure", "cafe 100% sure");
        finds("bob%40example.com%ff", "bob@example.com");
        finds("bob&#x000000000040;example.com", "bob@example.com");
        assert!(decoded("100% sure").is_empty());
    }

    #[test]
    fn a_broken_text_of_many_lines_is_one() {
        let long = STANDARD.encode("a text that is long enough for lines; write to bob@example.com today");
        let lines: Vec<&str> = long.as_bytes().chunks(32).map(|l| str::from_utf8(l).unwrap()).collect();
        finds(&lines.join("\r\n"), "bob@example.com");
    }

    #[test]
    fn what_is_found_points_to_what_was_written() {
        let text = format!("x {} y", STANDARD.encode("to bob@example.com!"));
        let views = children(&read(&text, Writing::Plain)[0]);
        let view = views.iter().find(|view| view.text.contains("bob@")).unwrap();
        let at = view.text.find("bob").unwrap();
        let (from, to) = view.span(at, at + "bob@example.com".len());
        let quads = &text[from as usize..to as usize];
        assert!(text.contains(quads) && quads.len() >= 20 && quads.len() <= 24, "{quads}");
    }
}
