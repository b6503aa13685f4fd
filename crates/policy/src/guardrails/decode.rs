//! What is written in a text in another way: base64, hexadecimal digits, escapes. Every alignment is tried,
//! so that what is found does not depend on where a piece of a text begins.

use super::fold::{Span, View, fold, unicode_escape};

/// Encodings within encodings that are looked into.
pub(super) const DEPTH: usize = 2;
/// Fewer readable bytes than this are taken for chance.
pub(super) const LEAST: usize = 6;
/// Of one line of a base64 text that is broken into lines.
const LINE: usize = 16;

/// The readings of what is encoded in `view`.
pub(super) fn children(view: &View) -> Vec<View> {
    let chars: Vec<(char, Span)> = view.chars().collect();
    let mut out = unescaped(&chars);
    for bytes in base64_runs(&chars).into_iter().chain(hex_runs(&chars)) {
        out.extend(segments(&bytes).into_iter().flat_map(|segment| fold(segment.into_iter())));
    }
    out
}

/// The stretches of readable text in bytes.
pub(super) fn segments(bytes: &[(u8, Span)]) -> Vec<Vec<(char, Span)>> {
    let plain: Vec<u8> = bytes.iter().map(|(byte, _)| *byte).collect();
    let (mut out, mut segment, mut length, mut at) = (Vec::new(), Vec::new(), 0, 0);
    let mut close = |segment: &mut Vec<(char, Span)>, length: &mut usize| {
        if *length >= LEAST {
            out.push(std::mem::take(segment));
        }
        segment.clear();
        *length = 0;
    };
    while at < plain.len() {
        match character(&plain[at..]).filter(|c| !c.is_control() || c.is_whitespace()) {
            Some(c) => {
                let end = at + c.len_utf8();
                segment.push((c, (bytes[at].1.0, bytes[end - 1].1.1)));
                length += c.len_utf8();
                at = end;
            }
            None => {
                close(&mut segment, &mut length);
                at += 1;
            }
        }
    }
    close(&mut segment, &mut length);
    out
}

/// The character that `bytes` begin with, if they do.
fn character(bytes: &[u8]) -> Option<char> {
    let length = match bytes.first()? {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    str::from_utf8(bytes.get(..length)?).ok()?.chars().next()
}

fn sextet(c: char) -> Option<u8> {
    let byte = u8::try_from(c).ok()?;
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// The bytes that stretches of base64 are for, each read from its first four characters on.
fn base64_runs(chars: &[(char, Span)]) -> Vec<Vec<(u8, Span)>> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let mut run = Vec::new();
        at = base64_run(chars, at, &mut run);
        if run.len() >= 8 {
            out.extend((0..4).map(|skipped| quads(&run[skipped..])));
        }
        at += 1;
    }
    out
}

/// Reads on from `at`; long lines of it go on in the next. Gives where it ends.
fn base64_run(chars: &[(char, Span)], mut at: usize, run: &mut Vec<(u8, Span)>) -> usize {
    let mut line = 0;
    while let Some((c, span)) = chars.get(at) {
        match sextet(*c) {
            Some(bits) => {
                run.push((bits, *span));
                line += 1;
            }
            None if *c == '\n' && line >= LINE => line = 0,
            None => return at,
        }
        at += 1;
    }
    at
}

/// Four characters are three bytes; two or three at the end are one or two.
fn quads(run: &[(u8, Span)]) -> Vec<(u8, Span)> {
    let mut out = Vec::with_capacity(run.len());
    for quad in run.chunks(4) {
        for (at, pair) in quad.windows(2).enumerate() {
            let [(first, (from, _)), (second, (_, to))] = *pair else { continue };
            let byte = match at {
                0 => first << 2 | second >> 4,
                1 => first << 4 | second >> 2,
                _ => first << 6 | second,
            };
            out.push((byte, (from, to)));
        }
    }
    out
}

/// The bytes of stretches of pairs of hexadecimal digits, with or without something between them.
fn hex_runs(chars: &[(char, Span)]) -> Vec<Vec<(u8, Span)>> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let (mut run, mut next) = (Vec::new(), at);
        while let Some((byte, end)) = pair(chars, next, !run.is_empty()) {
            run.push(byte);
            next = end;
        }
        if run.len() < LEAST {
            at += 1;
            continue;
        }
        // The other alignment.
        let mut shifted = Vec::new();
        let mut other = at + 1;
        while let Some((byte, end)) = pair(chars, other, !shifted.is_empty()) {
            shifted.push(byte);
            other = end;
        }
        out.extend([run, shifted]);
        at = next.max(other);
    }
    out
}

/// The byte at `at`, and where it ends.
fn pair(chars: &[(char, Span)], at: usize, within: bool) -> Option<((u8, Span), usize)> {
    let c = |at: usize| chars.get(at).map_or('\0', |(c, _)| *c);
    let mut from = at;
    if within && matches!(c(from), ' ' | ':' | ',' | '-' | '\n') {
        from += 1;
        from += usize::from(within && c(from) == ' ');
    }
    if c(from) == '0' && matches!(c(from + 1), 'x' | 'X') {
        from += 2;
    }
    let (high, low) = (c(from).to_digit(16)?, c(from + 1).to_digit(16)?);
    let span = (chars[from].1.0, chars[from + 1].1.1);
    Some(((u8::try_from(high << 4 | low).ok()?, span), from + 2))
}

/// The readings of `view` with its escapes read; none where it has none.
pub(super) fn escaped(view: &View) -> Vec<View> {
    let may = memchr::memchr3(b'%', b'\\', b'&', view.text.as_bytes()).is_some();
    if may { unescaped(&view.chars().collect::<Vec<_>>()) } else { Vec::new() }
}

/// The text with its escapes read, where it has any: `%41`, `\u0041`, `\x41`, `&#65;`, `&#x41;`.
fn unescaped(chars: &[(char, Span)]) -> Vec<View> {
    let (mut out, mut at, mut any) = (Vec::with_capacity(chars.len()), 0, false);
    while at < chars.len() {
        let bytes = percent(chars, at);
        if !bytes.is_empty() {
            any |= readable(&bytes, &chars[at..], &mut out);
            at += 3 * bytes.len();
            continue;
        }
        match escape(chars, at) {
            Some((c, length)) => {
                out.push((c, (chars[at].1.0, chars[at + length - 1].1.1)));
                at += length;
                any = true;
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    if any { fold(out.into_iter()) } else { Vec::new() }
}

/// The bytes of `%41%42` and `\x41\x42`.
fn percent(chars: &[(char, Span)], mut at: usize) -> Vec<(u8, Span)> {
    let mut bytes = Vec::new();
    while let (Some(('%', from)), Some((high, _)), Some((low, to))) =
        (chars.get(at), chars.get(at + 1), chars.get(at + 2))
    {
        let (Some(high), Some(low)) = (high.to_digit(16), low.to_digit(16)) else { break };
        bytes.push((u8::try_from(high << 4 | low).unwrap_or_default(), (from.0, to.1)));
        at += 3;
    }
    bytes
}

/// Bytes as text, and those that are none as they were written. Whether there is any.
fn readable(bytes: &[(u8, Span)], written: &[(char, Span)], out: &mut Vec<(char, Span)>) -> bool {
    let plain: Vec<u8> = bytes.iter().map(|(byte, _)| *byte).collect();
    let (mut at, mut any) = (0, false);
    while at < plain.len() {
        match character(&plain[at..]) {
            Some(c) => {
                let end = at + c.len_utf8();
                out.push((c, (bytes[at].1.0, bytes[end - 1].1.1)));
                at = end;
                any = true;
            }
            None => {
                out.extend_from_slice(&written[3 * at..3 * at + 3]);
                at += 1;
            }
        }
    }
    any
}

/// Longest escape of one character.
pub(super) const ESCAPE: usize = 16;

/// The character that an escape at `at` is for, and the escape's length.
fn escape(chars: &[(char, Span)], at: usize) -> Option<(char, usize)> {
    let next = chars.get(at + 1).map(|(c, _)| *c);
    if !matches!((chars[at].0, next), ('\\', Some('u' | 'x')) | ('&', Some('#'))) {
        return None;
    }
    let text: String = chars[at..].iter().take(ESCAPE).map(|(c, _)| *c).collect();
    if let Some(found) = unicode_escape(&text) {
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
