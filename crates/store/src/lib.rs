//! What is persisted of the control plane. SQLite behind traits; the data plane never comes here.

mod document;
mod error;
pub mod model;
pub mod seal;
mod sqlite;

use async_trait::async_trait;
use secrecy::SecretSlice;

pub use document::EndpointDocument;
pub use error::{Result, StoreError};
pub use seal::MasterKey;
pub use sqlite::SqliteStore;

use model::{
    AclEntry, EndpointRecord, GroupRef, NewScope, NewToken, PrincipalRecord, Scope, ScopePermission,
    SecretEntry, TokenRecord,
};

/// All of it.
pub trait Store: EndpointStore + SecretStore + TokenStore + PrincipalStore {}

impl<T: EndpointStore + SecretStore + TokenStore + PrincipalStore> Store for T {}

#[async_trait]
pub trait EndpointStore: Send + Sync {
    /// Counts the writes of all processes that share the store.
    async fn generation(&self) -> Result<i64>;
    async fn endpoints(&self) -> Result<Vec<EndpointRecord>>;
    async fn endpoint(&self, name: &str) -> Result<Option<EndpointRecord>>;
    /// Errors with [`StoreError::Exists`] when the name is taken.
    async fn create_endpoint(&self, endpoint: &EndpointRecord) -> Result<()>;
    /// Replaces the record of `endpoint.id`; errors with [`StoreError::Missing`] when it is gone.
    async fn update_endpoint(&self, endpoint: &EndpointRecord) -> Result<()>;
    /// False when there was none.
    async fn delete_endpoint(&self, name: &str) -> Result<bool>;
}

#[async_trait]
pub trait SecretStore: Send + Sync {
    async fn create_scope(&self, scope: NewScope<'_>) -> Result<()>;
    async fn delete_scope(&self, scope: &str) -> Result<bool>;
    async fn scopes(&self) -> Result<Vec<Scope>>;
    async fn scope(&self, scope: &str) -> Result<Option<Scope>>;
    /// Writes or overwrites. Errors with [`StoreError::Missing`] when there is no such scope and with
    /// [`StoreError::Full`] beyond the number of secrets that a scope takes.
    async fn put_secret(&self, scope: &str, key: &str, value: &[u8]) -> Result<()>;
    async fn secrets(&self, scope: &str) -> Result<Vec<SecretEntry>>;
    /// The value, opened.
    async fn open_secret(&self, scope: &str, key: &str) -> Result<Option<SecretSlice<u8>>>;
    async fn delete_secret(&self, scope: &str, key: &str) -> Result<bool>;
    async fn put_acl(&self, scope: &str, principal: &str, permission: ScopePermission) -> Result<()>;
    async fn acls(&self, scope: &str) -> Result<Vec<AclEntry>>;
    async fn delete_acl(&self, scope: &str, principal: &str) -> Result<bool>;
}

#[async_trait]
pub trait TokenStore: Send + Sync {
    async fn create_token(&self, token: NewToken<'_>) -> Result<TokenRecord>;
    async fn tokens(&self) -> Result<Vec<TokenRecord>>;
    /// Deletes a token of one principal. False when it has no such token.
    async fn delete_token(&self, principal_id: &str, id: &str) -> Result<bool>;
}

#[async_trait]
pub trait PrincipalStore: Send + Sync {
    async fn principals(&self) -> Result<Vec<PrincipalRecord>>;
    /// Creates the user with its groups when there is no user of that name; returns the user's id.
    async fn ensure_user(&self, name: &str, groups: &[&str]) -> Result<String>;
    async fn groups(&self) -> Result<Vec<GroupRef>>;
    /// A number that is this installation's own: its workspace id.
    async fn workspace_id(&self) -> Result<i64>;
}
