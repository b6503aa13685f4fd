//! The keys in memory: the master key in force, and the data keys that were opened. A data key that was
//! opened once stays open, so that a key service that is down stops nobody who runs already.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{DataKey, KeyEncryption, KeySource, check_mark, mark};
use crate::error::{Result, StoreError};

/// More than there can be scopes: what is beyond belongs to deleted ones.
const MAX_OPENED: usize = 4096;

pub(crate) struct Keyring {
    source: Arc<dyn KeySource>,
    current: RwLock<Option<Current>>,
    opened: Mutex<HashMap<String, Opened>>,
}

/// The key that opens the mark in the database. The mark changes with the key, so it tells when this is old.
struct Current {
    mark: Vec<u8>,
    key: Arc<dyn KeyEncryption>,
}

struct Opened {
    /// What it was opened from: after a rotation the scope has another.
    wrapped: Vec<u8>,
    key: Arc<DataKey>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(..)")
    }
}

impl Keyring {
    pub(crate) fn new(source: Arc<dyn KeySource>) -> Self {
        Self { source, current: RwLock::default(), opened: Mutex::default() }
    }

    /// The mark of a new installation.
    pub(crate) async fn first_mark(&self) -> Result<Vec<u8>> {
        let key = self.source.keys().await?.into_iter().next().ok_or(StoreError::WrongKey)?;
        mark(key.as_ref()).await
    }

    /// The key that made `wanted`. Errors with [`StoreError::WrongKey`] when none of the source did.
    pub(crate) async fn of_mark(&self, wanted: &[u8]) -> Result<Arc<dyn KeyEncryption>> {
        if let Some(current) = self.current.read().as_ref().filter(|current| current.mark == wanted) {
            return Ok(Arc::clone(&current.key));
        }
        for key in self.source.keys().await? {
            match check_mark(key.as_ref(), wanted).await {
                Ok(()) => {
                    let current = Current { mark: wanted.to_owned(), key: Arc::clone(&key) };
                    *self.current.write() = Some(current);
                    return Ok(key);
                }
                Err(StoreError::WrongKey) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::WrongKey)
    }

    /// The data key of a scope.
    pub(crate) async fn data_key(&self, scope_id: &str, wrapped: &[u8]) -> Result<Arc<DataKey>> {
        if let Some(opened) = self.opened.lock().get(scope_id).filter(|opened| opened.wrapped == wrapped) {
            return Ok(Arc::clone(&opened.key));
        }
        let key = Arc::new(self.unwrap(scope_id, wrapped).await?);
        self.keep(scope_id, wrapped, &key);
        Ok(key)
    }

    /// A new data key, wrapped by the key that `mark` names.
    pub(crate) async fn new_data_key(&self, mark: &[u8], scope_id: &str) -> Result<(Arc<DataKey>, Vec<u8>)> {
        let key = Arc::new(DataKey::generate()?);
        let wrapped = key.wrap(self.of_mark(mark).await?.as_ref(), scope_id).await?;
        self.keep(scope_id, &wrapped, &key);
        Ok((key, wrapped))
    }

    fn keep(&self, scope_id: &str, wrapped: &[u8], key: &Arc<DataKey>) {
        let mut opened = self.opened.lock();
        if opened.len() >= MAX_OPENED {
            opened.clear();
        }
        let entry = Opened { wrapped: wrapped.to_owned(), key: Arc::clone(key) };
        opened.insert(scope_id.to_owned(), entry);
    }

    async fn unwrap(&self, scope_id: &str, wrapped: &[u8]) -> Result<DataKey> {
        let current = self.current.read().as_ref().map(|current| Arc::clone(&current.key));
        if let Some(key) = current {
            match DataKey::unwrap(key.as_ref(), scope_id, wrapped).await {
                Err(StoreError::WrongKey) => {}
                result => return result,
            }
        }
        // Another process has changed the master key. Which one is in force is for the mark to say: during
        // the change both are there.
        for key in self.source.keys().await? {
            match DataKey::unwrap(key.as_ref(), scope_id, wrapped).await {
                Err(StoreError::WrongKey) => {}
                result => return result,
            }
        }
        Err(StoreError::WrongKey)
    }
}
