//! SCIM filters: `userName eq "x" and active eq true`. Names of attributes and operators are
//! case-insensitive, and so are texts, as SCIM has it unless an attribute says otherwise; both kinds of
//! quotes are taken.

use std::borrow::Cow;

use serde_json::Value;

/// Longest filter, in bytes, and how deep parentheses may go.
const MAX_LENGTH: usize = 4096;
const MAX_DEPTH: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare { path: String, op: Op, to: Value },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
    Present,
}

impl Op {
    fn parse(word: &str) -> Option<Self> {
        const ALL: [(&str, Op); 6] = [
            ("eq", Op::Equal),
            ("ne", Op::NotEqual),
            ("co", Op::Contains),
            ("sw", Op::StartsWith),
            ("ew", Op::EndsWith),
            ("pr", Op::Present),
        ];
        ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, op)| *op)
    }
}

#[derive(Debug, PartialEq)]
enum Piece<'t> {
    Open,
    Close,
    Word(&'t str),
    Text(String),
}

impl Filter {
    /// Errors with a sentence that says what to correct.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("has {} bytes, at most {MAX_LENGTH} are allowed", text.len()));
        }
        let mut parser = Parser { pieces: pieces(text)?, at: 0 };
        let filter = parser.any(0)?;
        match parser.next() {
            None => Ok(filter),
            Some(piece) => Err(format!("ends before {}: join conditions by `and` or `or`", shown(&piece))),
        }
    }

    pub(crate) fn matches(&self, resource: &Value) -> bool {
        match self {
            Self::And(a, b) => a.matches(resource) && b.matches(resource),
            Self::Or(a, b) => a.matches(resource) || b.matches(resource),
            Self::Not(inner) => !inner.matches(resource),
            Self::Compare { path, op, to } => {
                let mut values = Vec::new();
                collect(resource, path, &mut values);
                match op {
                    Op::Present => values.iter().any(|v| !v.is_null()),
                    Op::NotEqual => !values.iter().any(|v| equal(v, to)),
                    op => values.iter().any(|v| holds(v, *op, to)),
                }
            }
        }
    }
}

fn shown(piece: &Piece<'_>) -> String {
    match piece {
        Piece::Open => "`(`".to_owned(),
        Piece::Close => "`)`".to_owned(),
        Piece::Word(word) => format!("`{word}`"),
        Piece::Text(text) => format!("{text:?}"),
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '(' | ')' => {
                out.push(if first == '(' { Piece::Open } else { Piece::Close });
                &rest[1..]
            }
            '"' | '\'' => {
                let (text, after) = quoted(&rest[1..], first)?;
                out.push(Piece::Text(text));
                after
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()\"'".contains(c)).unwrap_or(rest.len());
                out.push(Piece::Word(&rest[..end]));
                &rest[end..]
            }
        }
        .trim_start();
    }
    Ok(out)
}

/// The text up to `quote`, and what follows. A backslash keeps a quote or a backslash from counting.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((out, &text[at + 1..])),
            '\\' => match chars.next_if(|(_, next)| *next == quote || *next == '\\') {
                Some((_, next)) => out.push(next),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    Err(format!("has a {quote} that is not closed"))
}

struct Parser<'t> {
    pieces: Vec<Piece<'t>>,
    at: usize,
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Option<Piece<'t>> {
        let piece = self.pieces.get_mut(self.at)?;
        self.at += 1;
        Some(std::mem::replace(piece, Piece::Close))
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = matches!(self.pieces.get(self.at), Some(Piece::Word(w)) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut left = self.all(depth)?;
        while self.takes("or") {
            left = Filter::Or(Box::new(left), Box::new(self.all(depth)?));
        }
        Ok(left)
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut left = self.one(depth)?;
        while self.takes("and") {
            left = Filter::And(Box::new(left), Box::new(self.one(depth)?));
        }
        Ok(left)
    }

    fn one(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > MAX_DEPTH {
            return Err(format!("goes deeper than {MAX_DEPTH} parentheses"));
        }
        if self.takes("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        match self.next() {
            Some(Piece::Open) => {
                let inner = self.any(depth + 1)?;
                match self.next() {
                    Some(Piece::Close) => Ok(inner),
                    _ => Err("has a `(` that is not closed".to_owned()),
                }
            }
            Some(Piece::Word(path)) => self.compare(path),
            Some(piece) => Err(format!("has {} where an attribute is expected", shown(&piece))),
            None => Err("ends where an attribute is expected".to_owned()),
        }
    }

    fn compare(&mut self, path: &str) -> Result<Filter, String> {
        const OPS: &str = "eq, ne, co, sw, ew or pr";
        let op = match self.next() {
            Some(Piece::Word(word)) => {
                Op::parse(word).ok_or_else(|| format!("has the operator `{word}`, use {OPS}"))?
            }
            _ => return Err(format!("has no operator after `{path}`, use {OPS}")),
        };
        // A name may carry its schema in front.
        let path = if path.starts_with("urn:") { path.rsplit(':').next().unwrap_or(path) } else { path };
        let to = match op {
            Op::Present => Value::Null,
            _ => match self.next() {
                Some(Piece::Text(text)) => Value::String(text),
                Some(Piece::Word(word)) => word_value(word),
                _ => return Err(format!("has no value to compare `{path}` with")),
            },
        };
        Ok(Filter::Compare { path: path.to_owned(), op, to })
    }
}

/// `true`, `7`, `null`, and a text that somebody forgot to quote.
fn word_value(word: &str) -> Value {
    serde_json::from_str(&word.to_ascii_lowercase()).unwrap_or_else(|_| Value::from(word))
}

/// An attribute of an object, whatever the case of its name.
pub(crate) fn attribute<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The values at a dotted path, those of all items where there is a list. A complex item stands for its
/// `value`.
fn collect<'v>(value: &'v Value, path: &str, out: &mut Vec<&'v Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, out)),
        value if path.is_empty() => match attribute(value, "value") {
            Some(inner) => out.push(inner),
            None => out.push(value),
        },
        value => {
            let (first, rest) = path.split_once('.').unwrap_or((path, ""));
            match attribute(value, first) {
                Some(inner) => collect(inner, rest, out),
                // An item that is a bare text has no attribute but its value.
                None if value.is_string() && first.eq_ignore_ascii_case("value") => out.push(value),
                None => {}
            }
        }
    }
}

fn lower(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Owned(text.to_lowercase())),
        Value::Bool(true) => Some(Cow::Borrowed("true")),
        Value::Bool(false) => Some(Cow::Borrowed("false")),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

fn equal(value: &Value, to: &Value) -> bool {
    lower(value) == lower(to)
}

fn holds(value: &Value, op: Op, to: &Value) -> bool {
    let (Some(value), Some(to)) = (lower(value), lower(to)) else { return false };
    match op {
        Op::Contains => value.contains(&*to),
        Op::StartsWith => value.starts_with(&*to),
        Op::EndsWith => value.ends_with(&*to),
        Op::Equal => value == to,
        Op::NotEqual | Op::Present => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn ann() -> Value {
        json!({"id": "123", "userName": "Ann@Example.com", "active": true, "name": {"familyName": "O'Hara"},
            "emails": [{"value": "ann@example.com", "type": "work"}, {"value": "a@home.org", "type": "home"}],
            "groups": [{"display": "dev", "value": "7"}]})
    }

    fn matches(filter: &str) -> bool {
        Filter::parse(filter).unwrap_or_else(|e| panic!("{filter} {e}")).matches(&ann())
    }

    #[test]
    fn what_clients_send() {
        for filter in [
            "userName eq \"ann@example.com\"",
            "username EQ 'ANN@example.com'",
            "userName co \"@example\"",
            "userName sw \"ann\"",
            "userName ew .com",
            "id eq 123",
            "id eq \"123\"",
            "active eq true",
            "active eq \"True\"",
            "emails.value eq 'a@home.org'",
            "emails co \"home\"",
            "emails.type eq \"work\" and groups.display eq \"dev\"",
            "groups eq \"7\"",
            "name.familyName eq \"o'hara\"",
            "name.familyName eq 'O\\'Hara'",
            "userName ne \"bob\"",
            "userName pr and not (nickName pr)",
            "userName eq \"bob\" or id eq \"123\"",
            "(userName eq \"bob\" or id eq \"123\") and active eq true",
            "urn:ietf:params:scim:schemas:core:2.0:User:userName sw \"ann\"",
        ] {
            assert!(matches(filter), "{filter}");
        }
        for filter in [
            "userName eq \"ann\"",
            "userName eq \"\"",
            "nickName eq \"ann\"",
            "nickName co \"\"",
            "active eq false",
            "active eq true and id eq \"1\"",
            "userName ne \"ann@example.com\"",
            // `and` binds before `or`.
            "id eq \"1\" or active eq true and id eq \"2\"",
            "emails.type eq \"other\"",
        ] {
            assert!(!matches(filter), "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_says_why() {
        for (filter, says) in [
            ("", "ends where an attribute"),
            ("userName", "no operator"),
            ("userName is \"x\"", "`is`"),
            ("userName eq", "no value"),
            ("userName eq \"x", "not closed"),
            ("userName eq \"x\" id eq 1", "`id`"),
            ("(userName eq \"x\"", "not closed"),
            ("\"x\" eq userName", "where an attribute"),
            (&"(".repeat(100), "deeper"),
            (&"not ".repeat(100), "deeper"),
            (&"a".repeat(5000), "4096"),
        ] {
            let error = Filter::parse(filter).unwrap_err();
            assert!(error.contains(says), "{filter}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error(text in "[a-z()\"' \\\\é]{0,40}") {
            if let Ok(filter) = Filter::parse(&text) {
                filter.matches(&ann());
            }
        }

        #[test]
        fn any_quoted_name_matches_itself(name in "\\PC{0,20}") {
            let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
            let filter = Filter::parse(&format!("userName eq \"{escaped}\"")).unwrap();
            let user = json!({"userName": name});
            prop_assert!(filter.matches(&user));
        }
    }
}
