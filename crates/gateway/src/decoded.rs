//! An upstream's body without the compression that it may have although none was asked for: some engines,
//! and proxies before them, compress answers, errors and streams whatever they are asked.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http::Response;
use http::header::CONTENT_ENCODING;
use http_body::{Body, Frame};
use hyper::body::Incoming;

/// Most compressed bytes that are taken at once. They inflate to at most a thousand times as much, which is
/// the memory that one step may take, and what a limit on a body is exceeded by at most.
const STEP: usize = 2 << 10;

/// Longest inflated body in bytes of which nothing is asked, and how many times its compressed length one may be
/// beyond that. Answers and streams come to about twenty times; a bomb to a thousand.
const UNASKED: usize = 4 << 20;
const MAX_RATIO: usize = 100;

/// The body of an answer, inflated as it is read.
pub(crate) struct Decoded {
    body: Incoming,
    inflater: Option<Inflater>,
}

impl Decoded {
    /// Errors with the name of an encoding that is not understood.
    pub(crate) fn of(response: Response<Incoming>) -> Result<Response<Self>, String> {
        let named = response.headers().get(CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("unreadable"));
        let inflater = match named.map(|name| name.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => None,
            Some("gzip" | "x-gzip") => Some(Inflater::new(Coding::Gzip(MultiGzDecoder::new(Vec::new())))),
            Some("deflate") => Some(Inflater::new(Coding::Deflate(ZlibDecoder::new(Vec::new())))),
            Some(other) => return Err(other.to_owned()),
        };
        Ok(response.map(|body| Self { body, inflater }))
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.inflater.is_some()
    }
}

impl Body for Decoded {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Self { body, inflater } = &mut *self;
        let Some(inflater) = inflater else {
            return Pin::new(body).poll_frame(cx).map(|frame| frame.map(|f| f.map_err(io::Error::other)));
        };
        loop {
            if let Some(piece) = inflater.step().transpose() {
                return Poll::Ready(Some(piece.map(Frame::data)));
            }
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => inflater.waiting = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => return Poll::Ready(inflater.finish().transpose().map(|last| last.map(Frame::data))),
            }
        }
    }
}

enum Coding {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

struct Inflater {
    coding: Coding,
    /// Has come and is not inflated yet.
    waiting: Bytes,
    begun: bool,
    finished: bool,
    /// Bytes so far, compressed and inflated.
    taken: usize,
    given: usize,
}

impl Inflater {
    fn new(coding: Coding) -> Self {
        Self { coding, waiting: Bytes::new(), begun: false, finished: false, taken: 0, given: 0 }
    }

    /// The next piece of what is waiting; `None` when that gives nothing more.
    fn step(&mut self) -> io::Result<Option<Bytes>> {
        while !self.waiting.is_empty() {
            self.begun = true;
            let step = self.waiting.len().min(STEP);
            self.write(step)?;
            self.waiting.advance(step);
            let piece = self.take();
            self.taken += step;
            self.given += piece.len();
            if self.given > UNASKED && self.given / MAX_RATIO > self.taken {
                let reason = format!("the compressed body is more than {MAX_RATIO} times as long inflated");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    fn write(&mut self, step: usize) -> io::Result<()> {
        let piece = &self.waiting[..step];
        let written = match &mut self.coding {
            Coding::Gzip(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
            Coding::Deflate(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
        };
        written.map_err(unreadable)
    }

    fn take(&mut self) -> Bytes {
        let inflated = match &mut self.coding {
            Coding::Gzip(decoder) => decoder.get_mut(),
            Coding::Deflate(decoder) => decoder.get_mut(),
        };
        Bytes::from(std::mem::take(inflated))
    }

    /// The upstream closed: errors when the compressed data is cut or its checksum is wrong. An empty body
    /// may be said to be compressed as well.
    fn finish(&mut self) -> io::Result<Option<Bytes>> {
        if !self.begun || std::mem::replace(&mut self.finished, true) {
            return Ok(None);
        }
        match &mut self.coding {
            Coding::Gzip(decoder) => decoder.try_finish(),
            Coding::Deflate(decoder) => decoder.try_finish(),
        }
        .map_err(unreadable)?;
        Ok(Some(self.take()).filter(|piece| !piece.is_empty()))
    }
}

fn unreadable(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the compressed body cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    fn text() -> Vec<u8> {
        (0..2000).flat_map(|n| format!("data: {{\"n\":{n}}}\n\n").into_bytes()).collect()
    }

    fn packed() -> [(Inflater, Vec<u8>); 2] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text()).unwrap();
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
        deflate.write_all(&text()).unwrap();
        [
            (Inflater::new(Coding::Gzip(MultiGzDecoder::new(Vec::new()))), gzip.finish().unwrap()),
            (Inflater::new(Coding::Deflate(ZlibDecoder::new(Vec::new()))), deflate.finish().unwrap()),
        ]
    }

    fn inflate(inflater: &mut Inflater, pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        for piece in pieces {
            inflater.waiting = Bytes::copy_from_slice(piece);
            while let Some(piece) = inflater.step()? {
                out.extend_from_slice(&piece);
            }
        }
        out.extend(inflater.finish()?.unwrap_or_default());
        Ok(out)
    }

    #[test]
    fn any_split_inflates_to_the_same() {
        for size in [1, 7, 1000, usize::MAX] {
            for (mut inflater, packed) in packed() {
                let pieces: Vec<&[u8]> = packed.chunks(size.min(packed.len())).collect();
                assert_eq!(inflate(&mut inflater, &pieces).unwrap(), text());
            }
        }
    }

    /// What a server flushed is there at once, not with the next piece.
    #[test]
    fn what_was_flushed_comes_out_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let mut inflater = Inflater::new(Coding::Gzip(MultiGzDecoder::new(Vec::new())));
        inflater.waiting = Bytes::copy_from_slice(encoder.get_ref());
        assert_eq!(inflater.step().unwrap().as_deref(), Some(&b"data: 1\n\n"[..]));
    }

    #[test]
    fn what_is_cut_or_damaged_is_an_error() {
        for (mut inflater, packed) in packed() {
            assert!(inflate(&mut inflater, &[&packed[..packed.len() - 5]]).is_err());
        }
        for (mut inflater, mut packed) in packed() {
            let at = packed.len() - 3;
            packed[at] ^= 1;
            assert!(inflate(&mut inflater, &[&packed]).is_err());
        }
        for (mut inflater, _) in packed() {
            assert!(inflate(&mut inflater, &[b"{\"choices\":[]}"]).is_err());
        }
    }

    #[test]
    fn a_bomb_comes_out_in_bounded_pieces_and_not_whole() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..64 {
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let mut inflater = Inflater::new(Coding::Gzip(MultiGzDecoder::new(Vec::new())));
        inflater.waiting = encoder.finish().unwrap().into();
        let mut total = 0;
        let refused = loop {
            match inflater.step() {
                Ok(piece) => {
                    let piece = piece.expect("it came out whole");
                    assert!(piece.len() <= STEP * 1100, "{}", piece.len());
                    total += piece.len();
                }
                Err(error) => break error.to_string(),
            }
        };
        assert!(total <= UNASKED && refused.contains("100 times"), "{total}: {refused}");
    }

    /// Twenty times as long: the text of a model that repeats itself.
    #[test]
    fn what_compresses_well_is_no_bomb() {
        let line =
            |n: usize| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", n * 7919);
        let text: Vec<u8> = (0..120_000).flat_map(|n| line(n).into_bytes()).collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut inflater = Inflater::new(Coding::Gzip(MultiGzDecoder::new(Vec::new())));
        assert!(inflate(&mut inflater, &[&gzip.finish().unwrap()]).unwrap() == text);
        assert!(text.len() > UNASKED);
    }

    #[test]
    fn an_empty_body_is_empty() {
        for (mut inflater, _) in packed() {
            assert_eq!(inflate(&mut inflater, &[]).unwrap(), b"");
        }
    }
}
