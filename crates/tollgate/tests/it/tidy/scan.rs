//! Just enough of Rust's lexical structure to tell code from strings and comments.

use super::is_identifier;

/// A file as it is (`text`) and with everything in comments, strings and characters blanked (`code`). Both
/// have the same length, so that a place in one is the same place in the other.
pub(super) struct Scanned {
    pub(super) text: String,
    pub(super) code: String,
    /// Line and contents of each string literal.
    pub(super) strings: Vec<(usize, String)>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    /// From the line of the opening brace to that of the closing one.
    pub(super) lines: usize,
}

impl Scanned {
    pub(super) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (mut code, mut strings, mut line, mut at) = (Vec::with_capacity(bytes.len()), Vec::new(), 1, 0);
        while at < bytes.len() {
            let token = Token::at(bytes, at);
            let piece = &bytes[at..token.end];
            if let Some((start, end)) = token.contents {
                strings.push((line, String::from_utf8_lossy(&bytes[start..end]).into_owned()));
            }
            if token.is_code {
                code.extend_from_slice(piece);
            } else {
                code.extend(piece.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            }
            line += newlines(piece);
            at = token.end;
        }
        Self { text: text.to_owned(), code: String::from_utf8(code).unwrap(), strings }
    }

    /// Without the module of tests at the end.
    pub(super) fn without_tests(mut self) -> Self {
        let mut from = 0;
        while let Some(found) = self.code[from..].find("#[cfg(test)]") {
            let start = from + found;
            from = start + 1;
            // Attributes and comments may stand between.
            let mut rest = self.code[from..].lines().skip(1).map(str::trim);
            let item = rest.find(|line| !line.is_empty() && !line.starts_with('#'));
            if item.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{')) {
                self.cut(start);
                break;
            }
        }
        self
    }

    fn cut(&mut self, at: usize) {
        self.text.truncate(at);
        self.code.truncate(at);
        let last = self.line(at);
        self.strings.retain(|(line, _)| *line < last);
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        newlines(&self.code.as_bytes()[..at]) + 1
    }

    /// Identifiers and keywords, with the line of each.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = (1..).zip(self.code.lines());
        numbered.flat_map(|(line, text)| {
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            words.filter(|word| !word.is_empty()).map(move |word| (line, word))
        })
    }

    pub(super) fn functions(&self) -> Vec<Function> {
        let bytes = self.code.as_bytes();
        let mut functions = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let is_word = at == 0 || !is_identifier(bytes[at - 1]);
            let name: String =
                self.code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !is_word || name.is_empty() {
                continue;
            }
            let Some((open, close)) = body(bytes, at) else { continue };
            let lines = newlines(&bytes[open..close]) + 1;
            functions.push(Function { name, line: self.line(at), lines });
        }
        functions
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The braces of the function that begins at `at`; none when it only declares.
fn body(code: &[u8], at: usize) -> Option<(usize, usize)> {
    // A semicolon inside of brackets is an array's length.
    let mut nested = 0_usize;
    let open = (at..code.len()).find(|at| {
        match code[*at] {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested = nested.saturating_sub(1),
            _ => {}
        }
        nested == 0 && matches!(code[*at], b'{' | b';')
    })?;
    if code[open] == b';' {
        return None;
    }
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((open, at));
        }
    }
    None
}

struct Token {
    end: usize,
    is_code: bool,
    /// Where the contents of a string are.
    contents: Option<(usize, usize)>,
}

impl Token {
    fn at(bytes: &[u8], at: usize) -> Self {
        let rest = &bytes[at..];
        let blank = |length: usize| Self { end: at + length, is_code: false, contents: None };
        if rest.starts_with(b"//") {
            return blank(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
        }
        if rest.starts_with(b"/*") {
            return blank(block_comment(rest));
        }
        if rest[0] == b'\'' {
            return character(rest).map_or_else(|| Self::code(at, 1), blank);
        }
        let starts_word = at == 0 || !is_identifier(bytes[at - 1]);
        if let Some((start, end, length)) = string(rest).filter(|_| starts_word || rest[0] == b'"') {
            return Self { contents: Some((at + start, at + end)), ..blank(length) };
        }
        Self::code(at, 1)
    }

    fn code(at: usize, length: usize) -> Self {
        Self { end: at + length, is_code: true, contents: None }
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a character literal; none for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(close + 4);
    }
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(5)]);
    let first = text.chars().next()?;
    (rest.get(1 + first.len_utf8()) == Some(&b'\'')).then_some(first.len_utf8() + 2)
}

/// Start and end of the contents, and the length, of a string literal of any kind.
fn string(rest: &[u8]) -> Option<(usize, usize, usize)> {
    let prefix = rest.iter().take(2).take_while(|byte| matches!(byte, b'b' | b'c' | b'r')).count();
    let is_raw = rest[..prefix].contains(&b'r');
    let hashes = if is_raw { rest[prefix..].iter().take_while(|byte| **byte == b'#').count() } else { 0 };
    let start = prefix + hashes + 1;
    if rest.get(start - 1) != Some(&b'"') {
        return None;
    }
    if is_raw {
        let close = [b"\"".as_slice(), "#".repeat(hashes).as_bytes()].concat();
        let end = start + rest[start..].windows(close.len()).position(|window| window == close)?;
        return Some((start, end, end + close.len()));
    }
    let mut end = start;
    while *rest.get(end)? != b'"' {
        end += if rest[end] == b'\\' { 2 } else { 1 };
    }
    Some((start, end, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = r####"
// fn in_a_comment() {
fn first<'a>(x: &'a [u8; 4]) -> char {
    let _ = ("}", '}', '\'', b'{', r#"" } "#, br"\", 'é', '\u{7d}');
    /* } /* nested } */ } */
    'x'
}
trait T { fn declared(&self) -> [u8; 2]; fn given(&self) {} }
#[cfg(test)]
fn only_in_tests() { "kept"; }
#[cfg(test)]
mod tests {
    fn inside() { "dropped"; }
}
"####;

    #[test]
    fn functions_are_found_and_measured() {
        let found = Scanned::new(NASTY).functions();
        let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        let expected = [("first", 3, 5), ("given", 8, 1), ("only_in_tests", 10, 1), ("inside", 13, 1)];
        assert_eq!(found, expected);
    }

    #[test]
    fn code_strings_and_comments_are_told_apart() {
        let scanned = Scanned::new(NASTY);
        assert_eq!(scanned.code.len(), scanned.text.len());
        let strings: Vec<&str> = scanned.strings.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(strings, ["}", "\" } ", "\\", "kept", "dropped"]);
        assert!(!scanned.words().any(|(_, word)| ["in_a_comment", "nested", "kept"].contains(&word)));
        let product = scanned.without_tests();
        assert!(!product.text.contains("dropped") && product.text.contains("only_in_tests"));
        assert_eq!(product.strings.len(), 4);
    }
}
