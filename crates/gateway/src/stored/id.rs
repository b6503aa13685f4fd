//! Ids of what an entity keeps, as clients get them: `resp_` and base64url of
//!
//! | bytes | |
//! |---|---|
//! | 1 | how the rest is packed |
//! | 6 | the mark of the entity |
//! | 12 | the tag: made of all else, the id of the endpoint and the server's own key |
//! | n | the entity's own id without its prefix, packed |
//!
//! Clients take 64 characters at most, `resp_` and the 50 hexadecimal digits of the longest ids of OpenAI
//! and Azure are exactly that. What was made of the same id by the same entity is the same.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::IdKey;
use policy::id_key::{TAG_LEN, Tag};

/// Most characters of an id: what Databricks' own clients cut longer ones to.
const MAX_LEN: usize = 64;
const MARK_LEN: usize = 6;
const HEAD: usize = 1 + MARK_LEN + TAG_LEN;

/// Stands for the prefix of an id that has none.
const BARE: &str = "resp";
/// Set in the first byte where the entity's own id has no prefix.
const IS_BARE: u8 = 0x10;
/// The version of the form, in the first byte.
const VERSION: u8 = 0x40;

/// How the part of an id behind its prefix is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    /// As many digits as the bytes hold.
    Hex = 0,
    /// One digit less: the first is none.
    OddHex = 1,
    /// 32 hexadecimal digits in groups.
    Uuid = 2,
    /// As it is.
    Text = 3,
}

impl Packing {
    const ALL: [Self; 4] = [Self::Hex, Self::OddHex, Self::Uuid, Self::Text];

    fn pack(text: &str) -> Option<(Self, Vec<u8>)> {
        if let Some(bytes) = unhex(text) {
            return Some((Self::Hex, bytes));
        }
        if let Some(bytes) = unhex(&format!("0{text}")) {
            return Some((Self::OddHex, bytes));
        }
        if let Some(uuid) =
            uuid::Uuid::parse_str(text).ok().filter(|uuid| uuid.hyphenated().to_string() == text)
        {
            return Some((Self::Uuid, uuid.as_bytes().to_vec()));
        }
        // It may become part of a path.
        let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
        let says_something = text.bytes().any(|b| b.is_ascii_alphanumeric());
        (is_plain && says_something).then(|| (Self::Text, text.as_bytes().to_vec()))
    }

    fn unpack(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Hex => Some(hex(bytes)),
            Self::OddHex => Some(hex(bytes).strip_prefix('0')?.to_owned()),
            Self::Uuid => Some(uuid::Uuid::from_slice(bytes).ok()?.hyphenated().to_string()),
            Self::Text => String::from_utf8(bytes.to_vec()).ok(),
        }
    }
}

/// An id that has the form of one that was given out here.
#[derive(Clone, Debug)]
pub(crate) struct Sealed<'a> {
    prefix: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Sealed<'a> {
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let (prefix, rest) = text.split_once('_').filter(|_| text.len() <= MAX_LEN)?;
        let bytes = URL_SAFE_NO_PAD.decode(rest).ok().filter(|bytes| bytes.len() > HEAD)?;
        (bytes[0] & !0x13 == VERSION).then_some(Self { prefix, bytes })
    }

    /// Of the entity, as [`policy::Entity`] has it.
    pub(super) fn mark(&self) -> String {
        hex(&self.bytes[1..=MARK_LEN])
    }

    /// The entity's own id, if this one was given out here for the endpoint.
    pub(super) fn open(&self, key: &IdKey, endpoint: &str) -> Option<String> {
        let (head, packed) = self.bytes.split_at(HEAD);
        let tag: Tag = head[1 + MARK_LEN..].try_into().ok()?;
        let (kind, mark) = ([head[0]], &head[1..=MARK_LEN]);
        if !key.made(&tag, &parts(endpoint, self.prefix, &kind, mark, packed)) {
            return None;
        }
        let [kind] = kind;
        let rest = Packing::ALL[usize::from(kind & 0x03)].unpack(packed)?;
        Some(if kind & IS_BARE == 0 { format!("{}_{rest}", self.prefix) } else { rest })
    }
}

/// The id that a client gets; `None` for one that is too long to get one, or has characters that no id has.
pub(super) fn seal(key: &IdKey, endpoint: &str, mark: &str, id: &str) -> Option<String> {
    let has_prefix =
        |prefix: &str| prefix.bytes().all(|b| b.is_ascii_lowercase()) && (1..9).contains(&prefix.len());
    let (prefix, rest) = id.split_once('_').filter(|(prefix, _)| has_prefix(prefix)).unwrap_or(("", id));
    let mark = unhex(mark).filter(|mark| mark.len() == MARK_LEN)?;
    let (packing, packed) = Packing::pack(rest)?;
    let bare = if prefix.is_empty() { IS_BARE } else { 0 };
    let (kind, prefix) = ([VERSION | bare | packing as u8], if bare == 0 { prefix } else { BARE });
    let tag = key.tag(&parts(endpoint, prefix, &kind, &mark, &packed));
    let bytes = [&kind[..], &mark, &tag, &packed].concat();
    let sealed = format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes));
    (sealed.len() <= MAX_LEN).then_some(sealed)
}

fn parts<'a>(
    endpoint: &'a str,
    prefix: &'a str,
    kind: &'a [u8; 1],
    mark: &'a [u8],
    packed: &'a [u8],
) -> [&'a [u8]; 6] {
    [b"stored", endpoint.as_bytes(), prefix.as_bytes(), kind, mark, packed]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of lower-case digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?)).collect();
    bytes.filter(|bytes| rest.is_empty() && !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARK: &str = "00112233aabb";

    fn key() -> IdKey {
        IdKey::new(&[7; 32])
    }

    fn opened(text: &str, endpoint: &str) -> Option<String> {
        Sealed::read(text)?.open(&key(), endpoint)
    }

    #[test]
    fn the_ids_that_there_are_fit_and_come_back() {
        for id in [
            "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
            "resp_0cb1f9c8c3f2fa1b0068f5a5b0c5a081909a6f9b1d3a5c7e2b",
            "msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b",
            "rs_6820f382ee1c8191bc096bee70894d040ac5ba57aafcbac7",
            "resp_1a2b3",
            "ad5663da-63e6-86c6-e0be-ff15effa8357",
            "resp_ad5663da-63e6-86c6-e0be-ff15effa8357",
            "resp_simulated",
            "chatcmpl-123",
            "resp_-_.~A",
        ] {
            let sealed = seal(&key(), "e", MARK, id).unwrap_or_else(|| panic!("{id}"));
            assert!(sealed.len() <= MAX_LEN && !sealed.contains(id), "{sealed}");
            assert_eq!(opened(&sealed, "e").as_deref(), Some(id));
            assert_eq!(Sealed::read(&sealed).unwrap().mark(), MARK);
            assert_eq!(seal(&key(), "e", MARK, id), Some(sealed));
        }
    }

    #[test]
    fn what_does_not_fit_or_is_no_id_gets_none() {
        for id in [
            "",
            "resp_",
            "resp_a/b",
            "resp_..",
            "resp_\"",
            "caresp_0123456789abcdefXYZ0123456789abcdefXYZ0123",
        ] {
            assert_eq!(seal(&key(), "e", MARK, id), None, "{id}");
        }
        assert_eq!(seal(&key(), "e", MARK, &format!("resp_{}", "a".repeat(52))), None);
        assert_eq!(seal(&key(), "e", "0011", "resp_1"), None);
    }

    #[test]
    fn nothing_of_an_id_can_be_changed() {
        let sealed = seal(&key(), "e", MARK, "resp_67ccd2bed1ec8190").unwrap();
        assert_eq!(opened(&sealed, "f"), None);
        assert_eq!(Sealed::read(&sealed).unwrap().open(&IdKey::new(&[8; 32]), "e"), None);
        assert_eq!(opened(&sealed.replace("resp_", "msg_"), "e"), None);
        for at in "resp_".len()..sealed.len() - 1 {
            let mut other = sealed.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(opened(str::from_utf8(&other).unwrap(), "e"), None, "{at}");
        }
    }

    #[test]
    fn the_ids_of_upstreams_are_none_of_ours() {
        for id in ["resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b", "resp_simulated", "", "_", "x_é"]
        {
            assert_eq!(opened(id, "e"), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_comes_back(id in "([a-z]{1,8}_)?[0-9a-zA-Z._~-]{1,40}") {
            if let Some(sealed) = seal(&key(), "e", MARK, &id) {
                prop_assert_eq!(opened(&sealed, "e"), Some(id));
            }
        }

        #[test]
        fn any_text_is_harmless(text in ".{0,80}") {
            prop_assert_eq!(opened(&text, "e"), None);
        }
    }
}
