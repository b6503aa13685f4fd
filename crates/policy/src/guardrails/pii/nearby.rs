//! Words that tell what a number is, and whether one stands near it.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::REACH;

/// What a word says about the numbers near it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Phone,
    Card,
    Ssn,
    /// A bank account, whatever else is said.
    Account,
    /// An account, of a bank if a bank is spoken of.
    AnyAccount,
    Bank,
    Routing,
    Passport,
    Itin,
    /// An account that is no bank's, a version and the like.
    Otherwise,
}

const WORDS: &[(About, &[&str])] = &[
    (
        About::Phone,
        &[
            "phone",
            "tel",
            "telephone",
            "mobile",
            "cell",
            "call",
            "calls",
            "calling",
            "dial",
            "fax",
            "text",
            "texted",
            "sms",
            "whatsapp",
            "reach",
            "contact",
            "ring",
            "voicemail",
            "hotline",
            "pager",
            "handy",
            "teléfono",
            "phones",
            "telefon",
            "mobil",
            "cellphone",
            "landline",
        ],
    ),
    (
        About::Card,
        &[
            "card",
            "credit",
            "debit",
            "visa",
            "mastercard",
            "amex",
            "discover",
            "maestro",
            "cc",
            "cvv",
            "cvc",
            "payment",
            "pay",
            "charge",
            "pan",
            "cardnumber",
        ],
    ),
    (
        About::Ssn,
        &[
            "ssn",
            "social security",
            "social",
            "ssns",
            "tax id",
            "tin",
            "taxpayer",
            "soc sec",
            "w-2",
            "social_security",
        ],
    ),
    (
        About::Account,
        &[
            "account number",
            "account no",
            "account nr",
            "account num",
            "account_number",
            "accountnumber",
            "acct",
            "acct_number",
            "bank account",
            "bank_account",
            "checking",
            "savings",
            "chequing",
            "a/c",
            "direct deposit",
            "account #",
            "bban",
        ],
    ),
    (About::AnyAccount, &["account", "acc", "deposit"]),
    (
        About::Bank,
        &[
            "bank",
            "banking",
            "routing",
            "aba",
            "wire",
            "ach",
            "deposit",
            "transfer",
            "debit",
            "iban",
            "swift",
            "credit union",
        ],
    ),
    (About::Routing, &["routing", "aba", "rtn", "transit", "routing_number", "wire", "ach"]),
    (About::Passport, &["passport", "passports", "travel document"]),
    (About::Itin, &["itin", "taxpayer", "tax id", "tin", "individual taxpayer"]),
    (
        About::Otherwise,
        &["aws", "azure", "gcp", "tenant", "github", "version", "build", "commit", "isbn", "serial"],
    ),
];

static AUTOMATON: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(WORDS.iter().flat_map(|(_, words)| words.iter())).ok());

/// Of each pattern of the automaton, what it is about.
static ABOUT: LazyLock<Vec<About>> =
    LazyLock::new(|| WORDS.iter().flat_map(|(about, words)| words.iter().map(|_| *about)).collect());

/// The words of a text.
pub(super) struct Nearby(Vec<(usize, usize, About)>);

impl Nearby {
    pub(super) fn read(lower: &str) -> Self {
        let bytes = lower.as_bytes();
        let letter = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphabetic);
        let found = AUTOMATON.iter().flat_map(|automaton| automaton.find_overlapping_iter(lower));
        let whole = found.filter(|found| !letter(found.start().checked_sub(1)) && !letter(Some(found.end())));
        let mut words: Vec<_> =
            whole.map(|found| (found.start(), found.end(), ABOUT[found.pattern().as_usize()])).collect();
        words.sort_by_key(|(from, ..)| *from);
        Self(words)
    }

    /// Whether a word about it stands near the bytes `from..to`.
    pub(super) fn says(&self, about: About, from: usize, to: usize) -> bool {
        self.among(from.saturating_sub(REACH), to + REACH / 2, |(start, end, what)| {
            what == about && (end <= from || start >= to)
        })
    }

    /// The same, before it alone.
    pub(super) fn says_before(&self, about: About, from: usize) -> bool {
        self.among(from.saturating_sub(REACH), from, |(_, end, what)| what == about && end <= from)
    }

    /// Whether such a word ends there.
    pub(super) fn ends_at(&self, about: About, to: usize) -> bool {
        self.among(to.saturating_sub(REACH), to, |(_, end, what)| what == about && end == to)
    }

    fn among(&self, from: usize, to: usize, is_it: impl Fn((usize, usize, About)) -> bool) -> bool {
        let first = self.0.partition_point(|(start, ..)| *start < from);
        self.0[first..].iter().take_while(|(_, end, _)| *end <= to).any(|word| is_it(*word))
    }
}
