//! How records lie in a file: length, checksum, body; so that a file that was cut anywhere is read up to its
//! last whole record.
//!
//! `[length of the body: u32 LE][CRC-32 of the body: u32 LE][body]`

use bytes::Bytes;

/// Bytes before a body.
pub(crate) const HEAD: usize = 8;

/// Longest body: two payloads, and what is around them. A longer length is damage, not a record.
const MAX_BODY: usize = 256 << 20;

/// A record that would not be read again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of {0} bytes is longer than the journal takes, {MAX_BODY}")]
pub(crate) struct TooLong(usize);

/// A record as it lies in a file. Bodies behind it are not copied for it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    head: Bytes,
    behind: [Bytes; 2],
}

impl Frame {
    /// `head` begins with [`HEAD`] bytes of room.
    pub(crate) fn new(mut head: Vec<u8>, behind: [Bytes; 2]) -> Result<Self, TooLong> {
        let body = head.get(HEAD..).unwrap_or_default();
        let parts = [body, &behind[0], &behind[1]];
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let stated = u32::try_from(length).ok().filter(|_| length <= MAX_BODY).ok_or(TooLong(length))?;
        let mut checksum = crc32fast::Hasher::new();
        parts.iter().for_each(|part| checksum.update(part));
        let stated = [stated.to_le_bytes(), checksum.finalize().to_le_bytes()];
        head.iter_mut().zip(stated.as_flattened()).for_each(|(room, byte)| *room = *byte);
        Ok(Self { head: head.into(), behind })
    }

    /// What lies one behind the other.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [&self.head, &self.behind[0], &self.behind[1]]
    }

    pub(crate) fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// For what is kept, since memory is counted by its length: a body may be a part of something far longer.
    pub(crate) fn in_one_piece(&self) -> Self {
        Self { head: self.parts().concat().into(), behind: Default::default() }
    }
}

/// The records of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Records<'a> {
    /// Of all that are whole.
    pub(crate) bodies: Vec<&'a [u8]>,
    /// Bytes that these take.
    pub(crate) taken: usize,
    pub(crate) rest: Rest,
}

/// What is behind the whole records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing yet, or less of a record than it takes: at least so many bytes, from its begin.
    Begun(usize),
    Damaged,
}

pub(crate) fn records(data: &[u8]) -> Records<'_> {
    let (mut bodies, mut taken) = (Vec::new(), 0);
    loop {
        match body(&data[taken..]) {
            Ok(body) => {
                bodies.push(body);
                taken += HEAD + body.len();
            }
            Err(rest) => return Records { bodies, taken, rest },
        }
    }
}

fn body(data: &[u8]) -> Result<&[u8], Rest> {
    let ([length, checksum], _) = data.as_chunks::<4>().0.split_first_chunk().ok_or(Rest::Begun(HEAD))?;
    // A file that was extended and not written is full of zeros, which are a record of no length.
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if !(1..=MAX_BODY).contains(&length) {
        return Err(Rest::Damaged);
    }
    let body = data.get(HEAD..HEAD + length).ok_or(Rest::Begun(HEAD + length))?;
    if crc32fast::hash(body) == u32::from_le_bytes(*checksum) { Ok(body) } else { Err(Rest::Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8], behind: [&'static [u8]; 2]) -> Result<Frame, TooLong> {
        Frame::new([&[0; HEAD], body].concat(), behind.map(Bytes::from_static))
    }

    #[test]
    fn a_cut_at_any_byte_gives_the_whole_records_before_it() {
        let frames = [frame(b"one", [b"", b""]), frame(b"t", [b"w", b"o"]), frame(&[7; 300], [b"", b"x"])];
        let framed = frames.map(|frame| frame.unwrap().parts().concat());
        let data: Vec<u8> = framed.concat();
        for cut in 0..=data.len() {
            let Records { bodies: found, taken, rest } = super::records(&data[..cut]);
            let mut whole = 0;
            let expected = framed.iter().take_while(|record| {
                whole += record.len();
                whole <= cut
            });
            let expected: Vec<&[u8]> = expected.map(|record| &record[HEAD..]).collect();
            assert_eq!(found, expected, "cut at {cut}");
            assert_eq!(taken, expected.iter().map(|body| body.len() + HEAD).sum::<usize>());
            // More than there is, and no more than the next record takes.
            let next = framed.get(found.len()).map_or(HEAD, Vec::len);
            let wants = if cut - taken < HEAD { HEAD } else { next };
            assert_eq!(rest, Rest::Begun(wants), "cut at {cut}");
        }
    }

    #[test]
    fn a_record_in_one_piece_is_the_same() {
        for behind in [[&b""[..], b""], [b"a", b""], [b"", b"b"]] {
            let frame = frame(b"one", behind).unwrap();
            let whole = frame.in_one_piece();
            assert_eq!((whole.parts()[0], whole.len()), (&*frame.parts().concat(), frame.len()));
        }
    }

    #[test]
    fn what_would_not_be_read_is_not_written() {
        let part = Bytes::from(vec![0; MAX_BODY / 2]);
        let framed = Frame::new([&[0; HEAD], &b"x"[..]].concat(), [part.clone(), part]);
        assert_eq!(framed.unwrap_err(), TooLong(MAX_BODY + 1));
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let data = frame(b"a rec", [b"o", b"rd"]).unwrap().parts().concat();
        for bit in 0..data.len() * 8 {
            let mut damaged = data.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(records(&damaged).bodies.len(), 0, "bit {bit}");
        }
        assert_eq!(records(&[0; 64]), Records { bodies: Vec::new(), taken: 0, rest: Rest::Damaged });
    }
}
