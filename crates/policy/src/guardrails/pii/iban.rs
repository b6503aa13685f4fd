//! International bank account numbers (ISO 13616): a country, its length, and a remainder of 1 by 97.

use super::{Entity, Hit};

/// From the SWIFT registry.
const LENGTHS: &[(usize, &str)] = &[
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FO GL NL SD FK"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH CR HR LI LV"),
    (22, "BG BH DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "LY PT ST"),
    (26, "IS TR"),
    (27, "BI DJ FR GR IT MC MR SM"),
    (28, "AL AZ BY CY DO GT HU LB NI PL SV"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
];

pub(super) fn find(text: &str, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    for at in 0..bytes.len().saturating_sub(14) {
        let begins = bytes[at].is_ascii_alphabetic()
            && bytes[at + 1].is_ascii_alphabetic()
            && bytes[at + 2].is_ascii_digit()
            && bytes[at + 3].is_ascii_digit();
        if begins
            && !at.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_alphanumeric())
            && let Some(to) = end(bytes, at)
        {
            hits.push(Hit { entity: Entity::IbanCode, from: at, to });
        }
    }
}

/// Where the number that begins at `from` ends, if it is one.
fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let country = [bytes[from].to_ascii_uppercase(), bytes[from + 1].to_ascii_uppercase()];
    let country = str::from_utf8(&country).ok()?;
    let (length, _) = LENGTHS.iter().find(|(_, countries)| countries.split(' ').any(|c| c == country))?;
    let (mut number, mut at) = (Vec::with_capacity(*length), from);
    while number.len() < *length {
        let byte = *bytes.get(at)?;
        let between = matches!(byte, b' ' | b'-' | b'.') && number.len() >= 4;
        if byte.is_ascii_alphanumeric() {
            number.push(byte.to_ascii_uppercase());
        } else if !between || !bytes[at - 1].is_ascii_alphanumeric() {
            return None;
        }
        at += 1;
    }
    let goes_on = bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    (!goes_on && remainder(&number) == 1).then_some(at)
}

fn remainder(number: &[u8]) -> u32 {
    let rotated = number[4..].iter().chain(&number[..4]);
    rotated.fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;

    #[test]
    fn numbers_with_the_right_remainder_are_found() {
        for text in
            ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "fr14 2004 1010 0505 0001 3m02 606"]
        {
            assert!(found(text).contains(&("IBAN_CODE", text)), "{text}: {:?}", found(text));
        }
        assert!(found("DE89370400440532013001").is_empty());
    }
}
