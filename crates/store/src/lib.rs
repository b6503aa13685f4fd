//! What is persisted of the control plane. SQLite behind traits; the data plane never comes here.

mod document;
mod error;
pub mod model;
pub mod seal;
mod sqlite;
mod usage;

use async_trait::async_trait;
use secrecy::SecretSlice;

pub use document::{EndpointDocument, PendingUpdate, RevisionDocument, UpdateStatus};
pub use error::{Result, StoreError};
pub use seal::{KeyEncryption, KeySource, MasterKey};
pub use sqlite::SqliteStore;
pub use usage::{Grouping, Interval, Sees, UsageGroup, UsageQuery, UsageStore};

use model::{
    AclEntry, Deletion, EndpointRecord, GrantRecord, GroupRecord, GroupRef, NewOauthSecret, NewObject,
    NewScope, NewToken, OauthSecret, ObjectRecord, PrincipalRecord, Scope, ScopePermission, SecretEntry,
    TokenRecord,
};

/// All of it.
pub trait Store:
    RevisionStore
    + EndpointStore
    + SecretStore
    + TokenStore
    + PrincipalStore
    + OauthStore
    + WorkspaceStore
    + UsageStore
    + PastStore
{
}

impl<T> Store for T where
    T: RevisionStore
        + EndpointStore
        + SecretStore
        + TokenStore
        + PrincipalStore
        + OauthStore
        + WorkspaceStore
        + UsageStore
        + PastStore
{
}

#[async_trait]
pub trait EndpointStore: Send + Sync {
    /// Counts the writes of all processes that share the store.
    async fn generation(&self) -> Result<i64>;
    async fn endpoints(&self) -> Result<Vec<EndpointRecord>>;
    async fn endpoint(&self, name: &str) -> Result<Option<EndpointRecord>>;
    /// Errors with [`StoreError::Exists`] when the name is taken. Of two grants to one grantee the last
    /// counts, here and in an update.
    async fn create_endpoint(&self, endpoint: &EndpointRecord) -> Result<()>;
    /// Replaces the record of `endpoint.id`; errors with [`StoreError::Missing`] when it is gone.
    async fn update_endpoint(&self, endpoint: &EndpointRecord) -> Result<()>;
    /// False when there was none.
    async fn delete_endpoint(&self, name: &str) -> Result<bool>;
}

#[async_trait]
pub trait RevisionStore: Send + Sync {
    /// Replaces the record of `endpoint.id` and adds the revision that it now is; an endpoint that is what
    /// its latest revision says gets no new one. Errors with [`StoreError::Missing`] when it is gone.
    async fn revise_endpoint(&self, endpoint: &model::EndpointRecord, author: &str) -> Result<()>;
    /// All of them, oldest first.
    async fn revisions(&self, endpoint_id: &str) -> Result<Vec<model::RevisionRecord>>;
}

/// Each version of an endpoint that was in force and is not any more, until all who want it have it. It is written down
/// in the transaction that replaces or deletes it.
#[async_trait]
pub trait PastStore: Send + Sync {
    /// The oldest of them, at most a thousand, oldest first.
    async fn past_endpoints(&self) -> Result<Vec<model::PastEndpoint>>;
    /// Those with numbers up to this one.
    async fn forget_past_endpoints(&self, up_to: i64) -> Result<()>;
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
    /// Errors with [`StoreError::Missing`] when there is no such principal.
    async fn create_token(&self, token: NewToken<'_>) -> Result<TokenRecord>;
    async fn tokens(&self) -> Result<Vec<TokenRecord>>;
    /// False when the principal has no such token.
    async fn comment_token(&self, principal_id: &str, id: &str, comment: &str) -> Result<bool>;
    /// Deletes a token of one principal. False when it has no such token.
    async fn delete_token(&self, principal_id: &str, id: &str) -> Result<bool>;
}

#[async_trait]
pub trait PrincipalStore: Send + Sync {
    async fn principals(&self) -> Result<Vec<PrincipalRecord>>;
    /// Creates the user with its groups when there is no user of that name; returns the user's id.
    async fn ensure_user(&self, name: &str, groups: &[&str]) -> Result<String>;
    /// Its id and its epoch are made here; returns the id. Errors with [`StoreError::Exists`] when there is
    /// one of the same kind and name.
    async fn create_principal(&self, principal: &PrincipalRecord) -> Result<String>;
    /// Replaces the record of `principal.id`, but for its kind, its name and its epoch. A deactivation
    /// begins a new epoch. This and the next, as those of groups, error with [`StoreError::LastAdmin`] when
    /// nobody active would be left in `admins`.
    async fn update_principal(&self, principal: &PrincipalRecord) -> Result<()>;
    /// With its tokens, its memberships and every permission that names it. False when there was none.
    async fn delete_principal(&self, id: &str) -> Result<bool>;
    /// Begins a new epoch. False when there is no such principal.
    async fn bump_epoch(&self, id: &str) -> Result<bool>;
    async fn groups(&self) -> Result<Vec<GroupRef>>;
    async fn group_records(&self) -> Result<Vec<GroupRecord>>;
    /// Its id is made here and returned.
    async fn create_group(&self, group: &GroupRecord) -> Result<String>;
    /// Replaces the record of `group.id`; permissions move along with a new name.
    async fn update_group(&self, group: &GroupRecord) -> Result<()>;
    /// With every permission that names it. False when there was none.
    async fn delete_group(&self, id: &str) -> Result<bool>;
    /// A number that is this installation's own: its workspace id.
    async fn workspace_id(&self) -> Result<i64>;
}

#[async_trait]
pub trait OauthStore: Send + Sync {
    /// Errors with [`StoreError::Full`] beyond the number of secrets that a service principal may have.
    async fn create_oauth_secret(&self, secret: NewOauthSecret<'_>) -> Result<OauthSecret>;
    async fn oauth_secrets(&self) -> Result<Vec<OauthSecret>>;
    /// False when the principal has no such secret.
    async fn delete_oauth_secret(&self, principal_id: &str, id: &str) -> Result<bool>;
    /// What access tokens are signed with, by all processes that share the store.
    async fn signing_key(&self) -> Result<Option<SecretSlice<u8>>>;
    /// Makes it when there is none.
    async fn ensure_signing_key(&self) -> Result<()>;
    /// Makes a new one in its place: every access token that it signed ends.
    async fn replace_signing_key(&self) -> Result<()>;
    /// What ids are authenticated with that clients are handed, by all processes that share the store. Made
    /// when there is none, and never replaced.
    async fn id_key(&self) -> Result<SecretSlice<u8>>;
}

/// Paths are absolute, without the prefix `/Workspace`, empty parts or a slash at the end.
#[async_trait]
pub trait WorkspaceStore: Send + Sync {
    async fn workspace_object(&self, path: &str) -> Result<Option<ObjectRecord>>;
    /// What lies right in the folder at `path`, by path.
    async fn workspace_children(&self, path: &str) -> Result<Vec<ObjectRecord>>;
    /// Makes the folder and those around it, where they are not there. Errors with [`StoreError::Exists`]
    /// when something on the way is no folder, and, as the next, with [`StoreError::Full`].
    async fn make_directories(&self, path: &str) -> Result<()>;
    /// Errors with [`StoreError::Missing`] when the folder around it is not there, and with
    /// [`StoreError::Exists`] when it is not to be overwritten or is a folder.
    async fn write_object(&self, object: NewObject<'_>) -> Result<()>;
    /// What the file or notebook with this id holds, opened.
    async fn workspace_content(&self, id: &str) -> Result<Option<SecretSlice<u8>>>;
    async fn delete_object(&self, path: &str, recursive: bool) -> Result<Deletion>;
    async fn workspace_object_of(&self, id: &str) -> Result<Option<ObjectRecord>>;
    /// Who was given what on the folder at `path`, which need not be there, and on the folders around it:
    /// with the folders' ids, outermost first.
    async fn folder_grants(&self, path: &str) -> Result<Vec<(String, GrantRecord)>>;
    /// Replaces the grants on one folder. Errors with [`StoreError::Missing`] when it is gone.
    async fn put_folder_grants(&self, id: &str, grants: &[GrantRecord]) -> Result<()>;
}
