//! Server-sent events: bytes in any pieces to events, and events to bytes.

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field; empty when there was none.
    pub name: String,
    /// The `data:` lines, joined by newlines.
    pub data: Bytes,
}

/// The event grew past the parser's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    pub limit: usize,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an event of the stream is longer than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLong {}

/// Splits a stream into events whatever the read boundaries.
///
/// Takes LF, CRLF and CR line ends, comments, fields without a space after the colon, missing `event:`
/// lines, and a last event without a blank line (see [`Parser::finish`]).
#[derive(Debug)]
pub struct Parser {
    buffer: BytesMut,
    /// Bytes of `buffer` that are known to hold no end of line.
    scanned: usize,
    name: String,
    data: Option<Data>,
    /// A CR ended the last line: an LF that follows belongs to it.
    after_cr: bool,
    limit: usize,
}

/// The data of the event being read. One line, the normal case, is a slice without a copy.
#[derive(Debug)]
enum Data {
    One(Bytes),
    Many(BytesMut),
}

impl Parser {
    /// A parser that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, name: String::new(), data: None, after_cr: false, limit }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, if it has arrived.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLong> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                if let Some(event) = self.take() {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line);
            }
            self.check()?;
        }
        self.check()?;
        Ok(None)
    }

    /// The event that the stream ended in without its blank line.
    pub fn finish(&mut self) -> Option<Event> {
        if !self.buffer.is_empty() {
            let line = self.buffer.split().freeze();
            self.field(&line);
        }
        self.take()
    }

    fn check(&self) -> Result<(), TooLong> {
        let held = match &self.data {
            None => 0,
            Some(Data::One(data)) => data.len(),
            Some(Data::Many(data)) => data.len(),
        };
        if held + self.scanned > self.limit { Err(TooLong { limit: self.limit }) } else { Ok(()) }
    }

    fn line(&mut self) -> Option<Bytes> {
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                self.buffer.advance(1);
            }
        }
        let Some(found) = memchr::memchr2(b'\n', b'\r', &self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let at = self.scanned + found;
        self.after_cr = self.buffer[at] == b'\r';
        let line = self.buffer.split_to(at).freeze();
        self.buffer.advance(1);
        self.scanned = 0;
        Some(line)
    }

    fn field(&mut self, line: &Bytes) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let mut start = (colon + 1).min(line.len());
        if line.get(start) == Some(&b' ') {
            start += 1;
        }
        match &line[..colon] {
            b"event" => self.name = String::from_utf8_lossy(&line[start..]).into_owned(),
            b"data" => self.add_data(line.slice(start..)),
            _ => {}
        }
    }

    fn add_data(&mut self, more: Bytes) {
        self.data = Some(match self.data.take() {
            None => Data::One(more),
            Some(Data::One(first)) => {
                let mut joined = BytesMut::with_capacity(first.len() + 1 + more.len());
                joined.extend_from_slice(&first);
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&more);
                Data::Many(joined)
            }
            Some(Data::Many(mut joined)) => {
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&more);
                Data::Many(joined)
            }
        });
    }

    fn take(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = match self.data.take()? {
            Data::One(data) => data,
            Data::Many(data) => data.freeze(),
        };
        Some(Event { name, data })
    }
}

/// Appends `data: <bytes>` as one event. Data that holds newlines becomes several lines, so that no
/// payload can forge a field.
pub fn write_data(out: &mut BytesMut, data: &[u8]) {
    for line in data.split(|&b| b == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}

/// Appends `value` as the data of one event.
pub fn write_json<T: Serialize>(out: &mut BytesMut, value: &T) -> Result<(), serde_json::Error> {
    let start = out.len();
    out.extend_from_slice(b"data: ");
    if let Err(error) = serde_json::to_writer(Appender(out), value) {
        out.truncate(start);
        return Err(error);
    }
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// As [`write_data`], of an event that has a name. Names without end of line only: those of a [`Parser`] are.
pub fn write_event(out: &mut BytesMut, name: &str, data: &[u8]) {
    write_name(out, name);
    write_data(out, data);
}

/// As [`write_json`], of an event that has a name.
pub fn write_event_json<T: Serialize>(
    out: &mut BytesMut,
    name: &str,
    value: &T,
) -> Result<(), serde_json::Error> {
    let start = out.len();
    write_name(out, name);
    write_json(out, value).inspect_err(|_| out.truncate(start))
}

fn write_name(out: &mut BytesMut, name: &str) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\n");
    }
}

/// The terminator of the OpenAI formats.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

struct Appender<'a>(&'a mut BytesMut);

impl std::io::Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Parser::new(1 << 20);
        let mut out = Vec::new();
        for piece in pieces {
            parser.push(piece);
            while let Some(event) = parser.next_event().unwrap() {
                out.push(event);
            }
        }
        out.extend(parser.finish());
        out.into_iter().map(|e| (e.name, String::from_utf8(e.data.to_vec()).unwrap())).collect()
    }

    const MIXED: &str = ": hello\r\n\r\nevent: a\r\ndata: {\"x\":1}\r\n\r\ndata:no space\n\ndata: one\ndata: two\n\nid: 7\nretry: 3\n\nevent:b\rdata: é\r\rdata: last";

    #[test]
    fn reads_every_legal_spelling() {
        let expected = [("a", "{\"x\":1}"), ("", "no space"), ("", "one\ntwo"), ("b", "é"), ("", "last")];
        let got = events(&[MIXED.as_bytes()]);
        assert_eq!(got, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::new(10);
        parser.push(b"data: 0123456789abcdef");
        assert_eq!(parser.next_event(), Err(TooLong { limit: 10 }));
    }

    #[test]
    fn newlines_in_data_cannot_forge_an_event() {
        let mut out = BytesMut::new();
        write_data(&mut out, b"a\n\nevent: x");
        assert_eq!(events(&[&out]), [(String::new(), "a\n\nevent: x".to_owned())]);
    }

    #[test]
    fn a_named_event_is_read_as_it_was_written() {
        let mut out = BytesMut::new();
        write_event(&mut out, "a", b"{}");
        write_event_json(&mut out, "b", &1).unwrap();
        write_event(&mut out, "", b"x");
        let expected = [("a", "{}"), ("b", "1"), ("", "x")];
        assert_eq!(events(&[&out]), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(cuts in proptest::collection::vec(0..MIXED.len(), 0..6)) {
            let mut cuts = cuts;
            cuts.extend([0, MIXED.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &MIXED.as_bytes()[w[0]..w[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[MIXED.as_bytes()]));
        }
    }
}
