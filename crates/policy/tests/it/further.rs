//! Texts beyond the labelled set, written here: numbers of other countries, the extended kinds, and surroundings in
//! other scripts.

use crate::positives::Positive;

/// Each with the word that tells what it is, where one must.
const VALUES: [(&str, &str); 26] = [
    // The examples of the SWIFT registry.
    ("", "DE89370400440532013000"),
    ("", "GB82 WEST 1234 5698 7654 32"),
    ("", "FR1420041010050500013M02606"),
    ("", "NL91 ABNA 0417 1643 00"),
    ("", "CH9300762011623852957"),
    ("", "ES9121000418450200051332"),
    ("", "NO9386011117947"),
    ("", "BE68-5390-0754-7034"),
    ("", "SE4550000000058398257466"),
    ("", "MT84MALT011000012345MTLCAST001S"),
    // The extended set.
    ("", "10.20.30.40"),
    ("", "2001:db8::8a2e:370:7334"),
    ("", "00:1b:63:84:45:e6"),
    ("", "sk-a1B2a1B2a1B2a1B2a1B2a1B2"),
    ("", "AKIAIOSFODNN7EXAMPLE"),
    ("", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ("", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0"),
    ("", "-----BEGIN RSA PRIVATE KEY-----"),
    ("", "900-70-0000"),
    ("passport ", "123456789"),
    // The five categories.
    ("", "jörg.bob@example.com"),
    ("", "212-555-0147"),
    ("", "4111 1111 1111 1111"),
    ("ssn ", "536904399"),
    ("account number ", "12345678901"),
    ("routing ", "021000021"),
];

const SURROUNDINGS: [(&str, &str); 6] = [
    ("", ""),
    ("Schöne Grüße, bitte an „", "“ schicken – möglichst früh 😀"),
    ("お客様の情報は「", "」です。よろしくお願いします。"),
    ("رقم العميل: ", " شكرا"),
    ("Пишите: ", " — спасибо"),
    ("{\"naïve\": \"", "\", \"reçu\": true}"),
];

/// Each value in each of the surroundings.
pub(crate) fn further() -> Vec<Positive> {
    let rows = VALUES.iter().flat_map(|(word, value)| {
        SURROUNDINGS.iter().map(move |(before, behind)| Positive {
            text: format!("{before}{word}{value}{behind}"),
            value: (*value).to_owned(),
        })
    });
    rows.collect()
}
