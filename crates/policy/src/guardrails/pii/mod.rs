//! Recognisers of personal data. What one of them finds depends on a bounded piece of text around it alone,
//! so that a stream, read through a window, gives what the whole text gives.

mod bank;
mod card;
mod email;
mod extended;
mod iban;
mod nearby;
mod phone;
mod shape;
mod ssn;

use nearby::Nearby;

/// Longest that is found, in bytes of the text as it reads: a local part, an `@` and a domain.
pub(super) const LONGEST: usize = 256;
/// How far from it what tells what it is may stand.
pub(super) const REACH: usize = 64;

/// A kind of personal data, by the name that Presidio has for it. The first is the most telling where two
/// are found in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    ApiKey,
    IbanCode,
    CreditCard,
    UsSsn,
    UsItin,
    UsPassport,
    AbaRoutingNumber,
    UsBankNumber,
    EmailAddress,
    MacAddress,
    IpAddress,
    PhoneNumber,
    /// Found by a remote analyser that has more kinds.
    Other,
}

impl Entity {
    pub const ALL: [Self; 12] = [
        Self::ApiKey,
        Self::IbanCode,
        Self::CreditCard,
        Self::UsSsn,
        Self::UsItin,
        Self::UsPassport,
        Self::AbaRoutingNumber,
        Self::UsBankNumber,
        Self::EmailAddress,
        Self::MacAddress,
        Self::IpAddress,
        Self::PhoneNumber,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "API_KEY",
            Self::IbanCode => "IBAN_CODE",
            Self::CreditCard => "CREDIT_CARD",
            Self::UsSsn => "US_SSN",
            Self::UsItin => "US_ITIN",
            Self::UsPassport => "US_PASSPORT",
            Self::AbaRoutingNumber => "ABA_ROUTING_NUMBER",
            Self::UsBankNumber => "US_BANK_NUMBER",
            Self::EmailAddress => "EMAIL_ADDRESS",
            Self::MacAddress => "MAC_ADDRESS",
            Self::IpAddress => "IP_ADDRESS",
            Self::PhoneNumber => "PHONE_NUMBER",
            Self::Other => "PII",
        }
    }

    /// The kind of Presidio's name for it.
    pub fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|entity| entity.as_str() == name).unwrap_or(Self::Other)
    }
}

/// Something found, as bytes of the text as it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) entity: Entity,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// A text and what in it tells what numbers are.
struct Reading<'a> {
    text: &'a str,
    nearby: Nearby,
}

/// Digits of the shortest number that is looked for besides the extended set and IBANs: that of an account.
const FEWEST: usize = 6;
/// Most that stands between two digits of a number: `) (`.
const BETWEEN: usize = 3;

/// Whether so many digits stand near each other somewhere.
fn has_digits(text: &str, fewest: usize) -> bool {
    let (mut count, mut end) = (0, 0);
    let digits = text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit());
    digits.map(|(at, _)| at).any(|at| {
        count = if at - end <= BETWEEN { count + 1 } else { 1 };
        end = at + 1;
        count >= fewest
    })
}

/// All that is found in `text`; `lower` is the same in small letters.
pub(super) fn find(text: &str, lower: &str, extended: bool) -> Vec<Hit> {
    let mut hits = Vec::new();
    email::find(text, &mut hits);
    if extended {
        extended::find_keys(text, &mut hits);
    }
    if has_digits(text, 1) {
        iban::find(text, &mut hits);
    }
    // Of the usual kinds none has fewer.
    if has_digits(text, if extended { 1 } else { FEWEST }) {
        let reading = Reading { text, nearby: Nearby::read(lower) };
        card::find(&reading, &mut hits);
        ssn::find(&reading, &mut hits);
        phone::find(&reading, &mut hits);
        bank::find(&reading, &mut hits);
        if extended {
            extended::find_numbers(&reading, &mut hits);
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardrails::keywords::lower;

    pub(super) fn found(text: &str) -> Vec<(&'static str, &str)> {
        let hits = find(text, &lower(text), true);
        hits.iter().map(|hit| (hit.entity.as_str(), &text[hit.from..hit.to])).collect()
    }

    #[test]
    fn names_are_presidio_s() {
        assert!(Entity::ALL.into_iter().all(|entity| Entity::of(entity.as_str()) == entity));
        assert_eq!(Entity::of("PERSON"), Entity::Other);
    }

    #[test]
    fn marks_beside_a_number_hide_nothing() {
        for (text, numbers) in [
            ("17,536-90-4399,x", &["536-90-4399"][..]),
            ("[4111111111111111,5500005555555559]", &["4111111111111111", "5500005555555559"]),
            ("212-555-0147/212-555-0148", &["212-555-0147", "212-555-0148"]),
            ("536-90-4399/m", &["536-90-4399"]),
            ("4111111111111111:12/27", &["4111111111111111"]),
            ("4111111111111111,12,27", &["4111111111111111"]),
            ("17,4111111111111111", &["4111111111111111"]),
            ("_536-90-4399_", &["536-90-4399"]),
            ("SSN-536-90-4399", &["536-90-4399"]),
            ("ssn_536-90-4399", &["536-90-4399"]),
            ("card-4111111111111111", &["4111111111111111"]),
            ("tel-212-555-0147", &["212-555-0147"]),
            ("call 2125550147/2125550148", &["2125550147", "2125550148"]),
            ("tel_2125550147", &["2125550147"]),
            ("acct-12345678", &["12345678"]),
            ("routing_021000021", &["021000021"]),
            ("call 212 555 0147/212 555 0148", &["212 555 0147", "212 555 0148"]),
            ("212.555.0147/212.555.0148", &["212.555.0147", "212.555.0148"]),
            ("ssn,age: 536904399,34", &["536904399"]),
            ("10.0.0.1:8080", &["10.0.0.1"]),
            ("10.0.0.1,10.0.0.2", &["10.0.0.1", "10.0.0.2"]),
        ] {
            let found: Vec<&str> = found(text).into_iter().map(|(_, number)| number).collect();
            assert!(numbers.iter().all(|number| found.contains(number)), "{text}: {found:?}");
        }
    }

    #[test]
    fn near_misses_are_none() {
        for text in [
            "order 112-3456789-1234567",
            "v212.555.0147",
            "ISBN 978-0-13-110362-8",
            "2026-11-27T04:12:41.123456Z",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "icon@2x.png",
            "package@1.2.3",
            "git@host:org/repo.git",
            "SKU-123-45-6789",
            "123-45-6789-01",
            "0.123456789",
            "$123,456,789",
            "user@host",
            "1,234,567",
            "id_4111111111111111",
            "4111111111111111_id",
            "bank account 12 345 678,89",
            "bank account 1234567,89",
            "tel 12/2125550147",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
