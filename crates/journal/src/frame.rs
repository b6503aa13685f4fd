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

/// The bodies of all whole records of `data`, and how many bytes of it they take.
pub(crate) fn bodies(data: &[u8]) -> (Vec<&[u8]>, usize) {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(body) = body(&data[at..]) {
        found.push(body);
        at += HEAD + body.len();
    }
    (found, at)
}

fn body(data: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(number(0)?).ok().filter(|length| *length <= MAX_BODY)?;
    let body = data.get(HEAD..HEAD + length)?;
    // A file that was extended and not written is full of zeros, which are a record of no length.
    (length > 0 && crc32fast::hash(body) == number(4)?).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_at_any_byte_gives_the_whole_records_before_it() {
        let records: [&[&[u8]]; 3] = [&[b"one"], &[b"t", b"wo"], &[&[7; 300]]];
        let records = records.map(|parts| frame(parts).unwrap());
        let data: Vec<u8> = records.concat();
        for cut in 0..=data.len() {
            let (found, taken) = bodies(&data[..cut]);
            let mut whole = 0;
            let expected = records.iter().take_while(|record| {
                whole += record.len();
                whole <= cut
            });
            let expected: Vec<&[u8]> = expected.map(|record| &record[HEAD..]).collect();
            assert_eq!(found, expected, "cut at {cut}");
            assert_eq!(taken, expected.iter().map(|body| body.len() + HEAD).sum::<usize>());
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
            assert_eq!(bodies(&damaged).0.len(), 0, "bit {bit}");
        }
        assert_eq!(bodies(&[0; 64]), (Vec::new(), 0));
    }
}
