//! The bodies of a call for the endpoint's table of payloads: kept up to a length, never half.

use bytes::Bytes;
use journal::{Captured, Payload};

use crate::body::Unread;

/// What has been seen of a call's bodies.
#[derive(Debug)]
pub(crate) struct Capture {
    /// Longest body that is kept, in bytes.
    limit: usize,
    request: Captured,
    response: Captured,
    /// The pieces of a response that comes in pieces.
    pieces: Vec<u8>,
}

impl Capture {
    pub(crate) fn new(request: &Bytes, limit: usize) -> Self {
        Self { request: kept(request, limit), ..Self::without_request(limit) }
    }

    /// Of a call whose body has not come.
    pub(crate) fn without_request(limit: usize) -> Self {
        Self { limit, request: Captured::Absent, response: Captured::Absent, pieces: Vec::new() }
    }

    /// Of a call of whose body this came. One that is longer than any that is taken is too long to be kept.
    pub(crate) fn of(request: &Result<Bytes, Unread>, limit: usize) -> Self {
        match request {
            Ok(request) => Self::new(request, limit),
            Err(Unread::TooLarge(_)) => Self { request: Captured::TooLong, ..Self::without_request(limit) },
            Err(Unread::TooSlow(_) | Unread::BrokenOff(_)) => Self::without_request(limit),
        }
    }

    /// The next piece of the response.
    pub(crate) fn piece(&mut self, piece: &[u8]) {
        if self.response == Captured::TooLong {
            return;
        }
        if self.pieces.len() + piece.len() > self.limit {
            self.pieces = Vec::new();
            self.response = Captured::TooLong;
        } else {
            self.pieces.extend_from_slice(piece);
        }
    }

    /// The whole response.
    pub(crate) fn whole(&mut self, response: &Bytes) {
        self.response = kept(response, self.limit);
    }

    pub(crate) fn payload(self) -> Payload {
        let Self { request, mut response, pieces, .. } = self;
        if response == Captured::Absent && !pieces.is_empty() {
            response = Captured::Whole(pieces.into());
        }
        Payload { request, response }
    }
}

fn kept(body: &Bytes, limit: usize) -> Captured {
    if body.len() > limit { Captured::TooLong } else { Captured::Whole(body.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_whole_or_not_at_all() {
        let payload = |pieces: &[&'static [u8]]| {
            let mut capture = Capture::new(&Bytes::from_static(b"1234"), 4);
            pieces.iter().for_each(|piece| capture.piece(piece));
            capture.payload()
        };
        assert_eq!(payload(&[b"ab", b"cd"]).response, Captured::Whole(Bytes::from_static(b"abcd")));
        assert_eq!(payload(&[b"ab", b"cde", b"f"]).response, Captured::TooLong);
        assert_eq!(payload(&[]).response, Captured::Absent);
        assert_eq!(payload(&[]).request, Captured::Whole(Bytes::from_static(b"1234")));
        assert_eq!(Capture::new(&Bytes::from_static(b"12345"), 4).payload().request, Captured::TooLong);
    }
}
