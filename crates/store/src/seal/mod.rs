//! Envelope encryption: each scope has a random data key, wrapped by the master key; each value is sealed
//! by its scope's data key with AES-256-GCM, bound to scope, key and version, so that no sealed value can
//! be moved to another place.

mod keyring;

use std::sync::Arc;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretBox, SecretSlice};
use zeroize::Zeroizing;

use crate::error::{Result, StoreError};

pub(crate) use keyring::Keyring;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// First byte of everything sealed, so that the scheme can change.
const SCHEME: u8 = 1;

/// What wraps the data keys: a master key in memory, or a service that keeps it.
#[async_trait]
pub trait KeyEncryption: Send + Sync {
    /// Wraps `key` so that [`KeyEncryption::unwrap`] gives it back for the same `place` alone.
    async fn wrap(&self, key: &[u8], place: &[u8]) -> Result<Vec<u8>>;
    /// Errors with [`StoreError::WrongKey`] when it did not wrap this, or for another place, and with
    /// [`StoreError::KeyService`] when that cannot be told now.
    async fn unwrap(&self, wrapped: &[u8], place: &[u8]) -> Result<SecretSlice<u8>>;
}

/// Where the keys are from. It is asked again when what it gave last does not open the data any more: the
/// key was changed by another process.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// Every key there is now, the one for a new installation first.
    async fn keys(&self) -> Result<Vec<Arc<dyn KeyEncryption>>>;
}

/// One key that never changes.
pub(crate) struct Fixed(pub(crate) Arc<dyn KeyEncryption>);

#[async_trait]
impl KeySource for Fixed {
    async fn keys(&self) -> Result<Vec<Arc<dyn KeyEncryption>>> {
        Ok(vec![Arc::clone(&self.0)])
    }
}

/// A key in memory that wraps the data keys with AES-256-GCM. Never stored beside the data, never shown.
pub struct MasterKey(Key);

pub(crate) struct DataKey(Key);

struct Key(SecretBox<[u8; KEY_BYTES]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// Reads 64 hexadecimal digits, as [`MasterKey::generate`] gives them.
    pub fn from_hex(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.len() != KEY_BYTES * 2 || !text.is_ascii() {
            return Err(StoreError::BadKey(format!("it must be {} hexadecimal digits", KEY_BYTES * 2)));
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).map_err(|_| {
                StoreError::BadKey("it holds a character that is no hexadecimal digit".to_owned())
            })?;
        }
        if *key == [0; KEY_BYTES] {
            return Err(StoreError::BadKey("it is all zeros".to_owned()));
        }
        Ok(Self(Key(SecretBox::new(Box::new(*key)))))
    }

    /// A new random key, as text for its file.
    pub fn generate() -> Result<Zeroizing<String>> {
        let key = Zeroizing::new(random::<KEY_BYTES>()?);
        Ok(Zeroizing::new(key.iter().map(|b| format!("{b:02x}")).collect()))
    }
}

#[async_trait]
impl KeyEncryption for MasterKey {
    async fn wrap(&self, key: &[u8], place: &[u8]) -> Result<Vec<u8>> {
        self.0.seal(key, place)
    }

    async fn unwrap(&self, wrapped: &[u8], place: &[u8]) -> Result<SecretSlice<u8>> {
        let mut opened = self.0.open(wrapped, place)?;
        Ok(std::mem::take(&mut *opened).into())
    }
}

impl DataKey {
    fn generate() -> Result<Self> {
        Ok(Self(Key(SecretBox::new(Box::new(random::<KEY_BYTES>()?)))))
    }

    async fn unwrap(by: &dyn KeyEncryption, scope_id: &str, wrapped: &[u8]) -> Result<Self> {
        let opened = by.unwrap(wrapped, &data_key_place(scope_id)).await?;
        let key = opened.expose_secret().try_into().map_err(|_| StoreError::WrongKey)?;
        Ok(Self(Key(SecretBox::new(Box::new(key)))))
    }

    pub(crate) async fn wrap(&self, by: &dyn KeyEncryption, scope_id: &str) -> Result<Vec<u8>> {
        by.wrap(self.0.0.expose_secret(), &data_key_place(scope_id)).await
    }

    pub(crate) fn seal(&self, value: &[u8], place: &Place<'_>) -> Result<Vec<u8>> {
        self.0.seal(value, &place.bytes())
    }

    pub(crate) fn open(&self, sealed: &[u8], place: &Place<'_>) -> Result<SecretSlice<u8>> {
        let mut opened = self.0.open(sealed, &place.bytes())?;
        Ok(std::mem::take(&mut *opened).into())
    }
}

/// A mark that only this key can open: tells whether it is the right one.
pub(crate) async fn mark(key: &dyn KeyEncryption) -> Result<Vec<u8>> {
    key.wrap(b"tollgate", b"mark").await
}

pub(crate) async fn check_mark(key: &dyn KeyEncryption, mark: &[u8]) -> Result<()> {
    key.unwrap(mark, b"mark").await.map(drop)
}

/// Where a sealed value belongs.
pub(crate) struct Place<'a> {
    pub(crate) scope_id: &'a str,
    pub(crate) key: &'a str,
    pub(crate) version: i64,
}

impl Place<'_> {
    /// Lengths go first, so that no two places give the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.scope_id.len() + self.key.len() + 24);
        for part in [self.scope_id, self.key] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(&self.version.to_be_bytes());
        out
    }
}

fn data_key_place(scope_id: &str) -> Vec<u8> {
    Place { scope_id, key: "", version: -1 }.bytes()
}

impl Key {
    fn cipher(&self) -> Result<Aes256Gcm> {
        Aes256Gcm::new_from_slice(self.0.expose_secret()).map_err(|_| StoreError::WrongKey)
    }

    fn seal(&self, value: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
        let nonce = random::<NONCE_BYTES>()?;
        let payload = Payload { msg: value, aad };
        let sealed =
            self.cipher()?.encrypt(&Nonce::from(nonce), payload).map_err(|_| StoreError::WrongKey)?;
        let mut out = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        out.push(SCHEME);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (head, msg) = sealed.split_at_checked(1 + NONCE_BYTES).ok_or(StoreError::WrongKey)?;
        let nonce: [u8; NONCE_BYTES] = head[1..].try_into().map_err(|_| StoreError::WrongKey)?;
        if head[0] != SCHEME {
            return Err(StoreError::WrongKey);
        }
        let opened = self.cipher()?.decrypt(&Nonce::from(nonce), Payload { msg, aad });
        opened.map(Zeroizing::new).map_err(|_| StoreError::WrongKey)
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| StoreError::Random(e.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_hex(&MasterKey::generate().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_sealed_value_opens_in_its_place_only() {
        let master = key();
        let data = DataKey::generate().unwrap();
        let wrapped = data.wrap(&master, "s").await.unwrap();
        let place = Place { scope_id: "s", key: "k", version: 1 };
        let sealed = data.seal(b"value", &place).unwrap();
        let again = DataKey::unwrap(&master, "s", &wrapped).await.unwrap();
        assert_eq!(again.open(&sealed, &place).unwrap().expose_secret(), b"value");
        for (scope_id, key, version) in [("t", "k", 1), ("s", "l", 1), ("s", "k", 2), ("sk", "", 1)] {
            assert!(again.open(&sealed, &Place { scope_id, key, version }).is_err());
        }
        assert!(DataKey::unwrap(&master, "t", &wrapped).await.is_err());
        assert!(DataKey::unwrap(&key(), "s", &wrapped).await.is_err());
        // The mark is no data key, and a data key no mark.
        assert!(check_mark(&master, &wrapped).await.is_err());
        assert!(DataKey::unwrap(&master, "s", &mark(&master).await.unwrap()).await.is_err());
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let data = DataKey::generate().unwrap();
        let place = Place { scope_id: "s", key: "k", version: 1 };
        let sealed = data.seal(b"value", &place).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(data.open(&changed, &place).is_err(), "byte {at}");
        }
        assert!(data.open(&sealed[..5], &place).is_err());
    }

    #[test]
    fn unusable_keys_are_refused() {
        for text in ["", "00", &"0".repeat(64), &"z".repeat(64), &"é".repeat(32)] {
            assert!(MasterKey::from_hex(text).is_err());
        }
    }
}
