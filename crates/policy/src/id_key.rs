//! The key that authenticates ids which clients are handed and bring back: nobody else can make one.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a tag. 96 bits: an id is short, and a guess costs its maker a request.
pub const TAG_LEN: usize = 12;

pub type Tag = [u8; TAG_LEN];

/// Of HMAC with SHA-256: a shorter key is filled with zeros.
const BLOCK: usize = 64;

/// It shows nothing of itself.
#[derive(Clone)]
pub struct IdKey(Zeroizing<[u8; BLOCK]>);

impl std::fmt::Debug for IdKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdKey(..)")
    }
}

impl IdKey {
    /// A key of 32 random bytes; of a longer secret the first 64 bytes count.
    pub fn new(secret: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; BLOCK]);
        let length = secret.len().min(BLOCK);
        key[..length].copy_from_slice(&secret[..length]);
        Self(key)
    }

    /// What shows that `parts`, each with its length, come from here.
    pub fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut mac = Hmac::<Sha256>::new(&(*self.0).into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG_LEN]);
        tag
    }

    /// Whether `tag` is of these parts, in constant time.
    pub fn made(&self, tag: &Tag, parts: &[&[u8]]) -> bool {
        self.tag(parts).ct_eq(tag).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_its_key_and_of_its_parts_alone() {
        let key = IdKey::new(&[7; 32]);
        let tag = key.tag(&[b"ab", b"c"]);
        assert!(key.made(&tag, &[b"ab", b"c"]));
        for other in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[b"ab"]] {
            assert!(!key.made(&tag, other));
        }
        assert!(!IdKey::new(&[8; 32]).made(&tag, &[b"ab", b"c"]));
        assert_eq!(format!("{key:?}"), "IdKey(..)");
    }

    /// RFC 4231, test case 2.
    #[test]
    fn it_is_hmac_with_sha_256() {
        let mut mac = Hmac::<Sha256>::new(&(*IdKey::new(b"Jefe").0).into());
        mac.update(b"what do ya want for nothing?");
        assert_eq!(mac.finalize().into_bytes()[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }
}
