//! What goes beyond the usual categories, on request: addresses of machines, keys, more numbers of offices.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::nearby::About;
use super::shape::{Shape, compile, digits, stands_alone};
use super::{Entity, Hit, Reading};

/// Keys that say by their beginning whose they are, and JSON Web Tokens.
static KEY: Shape = Shape::new(|| {
    compile(concat!(
        r"sk-[A-Za-z0-9_-]{20,200}|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,90}",
        r"|xox[abeprs]-[A-Za-z0-9-]{10,90}|AIza[0-9A-Za-z_-]{35}|dapi[0-9a-f]{32}|glpat-[A-Za-z0-9_-]{20}|hf_[A-Za-z0-9]{30,40}",
        r"|eyJ[A-Za-z0-9_-]{8,90}\.eyJ[A-Za-z0-9_-]{1,140}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
    ))
});
static V4: Shape = Shape::new(|| compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"));
static V6: Shape = Shape::new(|| compile(r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}"));
static MAC: Shape = Shape::new(|| compile("[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}"));
static ITIN: Shape = Shape::new(|| compile("9[0-9]{2}[ -]?[5-9][0-9][ -]?[0-9]{4}"));
static PASSPORT: Shape = Shape::new(|| compile("[A-Za-z]?[0-9]{8,9}"));

pub(super) fn find_keys(text: &str, hits: &mut Vec<Hit>) {
    for (from, to) in KEY.find(text) {
        if !is_word(text.as_bytes(), from.checked_sub(1)) {
            hits.push(Hit { entity: Entity::ApiKey, from, to });
        }
    }
}

pub(super) fn find_numbers(reading: &Reading<'_>, hits: &mut Vec<Hit>) {
    let (text, nearby) = (reading.text, &reading.nearby);
    let bytes = text.as_bytes();
    for (from, to) in V4.find(text) {
        let version = nearby.says_before(About::Otherwise, from);
        if text[from..to].parse::<Ipv4Addr>().is_ok() && !version && stands_alone(text, from, to) {
            hits.push(Hit { entity: Entity::IpAddress, from, to });
        }
    }
    for (from, to) in V6.find(text) {
        let alone = !is_hex(bytes, from.checked_sub(1)) && !is_hex(bytes, Some(to));
        let written = text[from..to].trim_end_matches(|c| c == ':' && !text[from..to].ends_with("::"));
        if alone && digits(written).len() > 1 && written.parse::<Ipv6Addr>().is_ok() {
            hits.push(Hit { entity: Entity::IpAddress, from, to });
        }
    }
    for (from, to) in MAC.find(text) {
        if !is_hex(bytes, from.checked_sub(1)) && !is_hex(bytes, Some(to)) {
            hits.push(Hit { entity: Entity::MacAddress, from, to });
        }
    }
    for (from, to) in ITIN.find(text) {
        let told = text[from..to].contains('-') || nearby.says(About::Itin, from, to);
        if told && stands_alone(text, from, to) {
            hits.push(Hit { entity: Entity::UsItin, from, to });
        }
    }
    for (from, to) in PASSPORT.find(text) {
        if nearby.says(About::Passport, from, to) && stands_alone(text, from, to) {
            hits.push(Hit { entity: Entity::UsPassport, from, to });
        }
    }
}

fn is_word(bytes: &[u8], at: Option<usize>) -> bool {
    at.and_then(|at| bytes.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn is_hex(bytes: &[u8], at: Option<usize>) -> bool {
    at.and_then(|at| bytes.get(at))
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;

    #[test]
    fn the_extended_set_is_found() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0";
        let key = format!("sk-{}", "a1B2".repeat(8));
        for (text, entity) in [
            ("10.0.0.1", "IP_ADDRESS"),
            ("2001:db8::8a2e:370:7334", "IP_ADDRESS"),
            ("00:1b:63:84:45:e6", "MAC_ADDRESS"),
            ("900-70-0000", "US_ITIN"),
            ("passport 123456789", "US_PASSPORT"),
            (jwt, "API_KEY"),
            (key.as_str(), "API_KEY"),
            ("-----BEGIN RSA PRIVATE KEY-----", "API_KEY"),
        ] {
            assert!(found(text).iter().any(|(found, _)| *found == entity), "{text}: {:?}", found(text));
        }
        for text in ["256.1.1.1", "version 1.2.3.4", "12:34:56"] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
