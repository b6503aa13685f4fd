//! How records lie in a file: length, checksum, body; so that a file that was cut anywhere is read up to its
//! last whole record.
//!
//! `[length of the body: u32 LE][CRC-32 of the body: u32 LE][body]`

/// Bytes before a body.
const HEAD: usize = 8;

/// Longest body: two payloads, and what is around them. A longer length is damage, not a record.
const MAX_BODY: usize = 256 << 20;

/// A record that would not be read again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of {0} bytes is longer than the journal takes, {MAX_BODY}")]
pub(crate) struct TooLong(usize);

/// One record as bytes.
pub(crate) fn frame(parts: &[&[u8]]) -> Result<Vec<u8>, TooLong> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let stated = u32::try_from(length).ok().filter(|_| length <= MAX_BODY).ok_or(TooLong(length))?;
    let mut out = Vec::with_capacity(HEAD + length);
    let mut checksum = crc32fast::Hasher::new();
    parts.iter().for_each(|part| checksum.update(part));
    out.extend_from_slice(&stated.to_le_bytes());
    out.extend_from_slice(&checksum.finalize().to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(out)
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

    #[test]
    fn a_cut_at_any_byte_gives_the_whole_records_before_it() {
        let records: [&[&[u8]]; 3] = [&[b"one"], &[b"t", b"wo"], &[&[7; 300]]];
        let framed = records.map(|parts| frame(parts).unwrap());
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
    fn what_would_not_be_read_is_not_written() {
        let part = vec![0; MAX_BODY / 2];
        assert_eq!(frame(&[&part, &part, b"x"]), Err(TooLong(MAX_BODY + 1)));
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let data = frame(&[b"a record"]).unwrap();
        for bit in 0..data.len() * 8 {
            let mut damaged = data.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(records(&damaged).bodies.len(), 0, "bit {bit}");
        }
        assert_eq!(records(&[0; 64]), Records { bodies: Vec::new(), taken: 0, rest: Rest::Damaged });
    }
}
