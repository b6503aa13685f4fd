//! How the body of an HTTP/1.1 message is framed. Written by hand because a full HTTP library would make the
//! generator, not the gateway, the slowest part.

use httparse::Header;
use memchr::{memchr, memmem};
use std::io;

/// Where a body starts and how its end is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Framing {
    /// Bytes of the head, the empty line included.
    pub head: usize,
    /// The value of `content-length`.
    pub length: Option<usize>,
    /// `transfer-encoding` is present.
    pub chunked: bool,
    /// `connection: close` is present.
    pub close: bool,
}

impl Framing {
    /// Reads what matters from the headers of a message whose head has `head` bytes.
    pub fn of(headers: &[Header<'_>], head: usize) -> Self {
        let mut framing = Self { head, ..Self::default() };
        for header in headers {
            let value = header.value.trim_ascii();
            match header.name {
                name if name.eq_ignore_ascii_case("content-length") => {
                    framing.length = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
                }
                name if name.eq_ignore_ascii_case("transfer-encoding") => framing.chunked = true,
                name if name.eq_ignore_ascii_case("connection") => {
                    framing.close = value.eq_ignore_ascii_case(b"close");
                }
                _ => {}
            }
        }
        framing
    }
}

/// Moves the data of whole chunks from the front of `buf` to `out`; true once the last chunk was seen.
pub fn take_chunks(buf: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<bool> {
    let mut at = 0;
    let ended = loop {
        let Some(line) = memchr(b'\n', &buf[at..]) else { break false };
        let size = chunk_size(&buf[at..at + line])?;
        let data = at + line + 1;
        if size == 0 {
            // Trailers, if any, end with an empty line too.
            let Some(end) = memmem::find(&buf[at..], b"\r\n\r\n") else { break false };
            at += end + 4;
            break true;
        }
        if buf.len() < data + size + 2 {
            break false;
        }
        out.extend_from_slice(&buf[data..data + size]);
        at = data + size + 2;
    };
    buf.drain(..at);
    Ok(ended)
}

fn chunk_size(line: &[u8]) -> io::Result<usize> {
    let digits = line.split(|b| *b == b';').next().unwrap_or(b"").trim_ascii();
    let size = std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    size.filter(|size| *size < 1 << 30)
        .ok_or_else(|| io::Error::other(format!("bad chunk size `{}`", String::from_utf8_lossy(line))))
}

/// Writes `data` as one chunk into `out`, which is emptied first.
pub fn put_chunk(out: &mut Vec<u8>, data: &[u8]) {
    out.clear();
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_arrive_in_any_pieces() {
        let wire = b"3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nx: y\r\n\r\n";
        for step in 1..wire.len() {
            let (mut buf, mut out, mut ended) = (Vec::new(), Vec::new(), false);
            for piece in wire.chunks(step) {
                buf.extend_from_slice(piece);
                ended = take_chunks(&mut buf, &mut out).unwrap();
            }
            assert!(ended && buf.is_empty());
            assert_eq!(out, b"abc0123456789abcdef");
        }
    }

    #[test]
    fn a_bad_size_is_an_error() {
        assert!(take_chunks(&mut b"zz\r\n".to_vec(), &mut Vec::new()).is_err());
    }
}
