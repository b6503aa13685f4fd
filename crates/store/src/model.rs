//! What the store takes and gives.

use crate::document::{EndpointDocument, RevisionDocument};

/// An endpoint as it is kept. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointRecord {
    pub id: String,
    pub name: String,
    pub creator: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub config_version: i64,
    pub document: EndpointDocument,
    pub grants: Vec<GrantRecord>,
}

/// One state of an endpoint's config and `ai_gateway` block.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionRecord {
    /// From 1, without gaps.
    pub number: i64,
    /// Databricks' count, which goes up with the config alone.
    pub config_version: i64,
    pub author: String,
    pub created_at: i64,
    pub document: RevisionDocument,
}

/// An endpoint as it was when its config was replaced or it was deleted, without its grants.
#[derive(Clone, Debug, PartialEq)]
pub struct PastEndpoint {
    /// Counts up and is never used twice.
    pub number: i64,
    pub endpoint: EndpointRecord,
    /// Milliseconds since the epoch; `None` where it got another config.
    pub deleted_at: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    pub kind: GranteeKind,
    pub grantee: String,
    /// `CAN_VIEW`, `CAN_QUERY` or `CAN_MANAGE`; of a folder `CAN_READ`, `CAN_RUN`, `CAN_EDIT` or `CAN_MANAGE`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GranteeKind {
    User,
    Group,
    ServicePrincipal,
}

impl GranteeKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::ServicePrincipal => "service_principal",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "group" => Self::Group,
            "service_principal" => Self::ServicePrincipal,
            _ => Self::User,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct NewScope<'a> {
    pub name: &'a str,
    /// Not shown in lists: the server's own.
    pub hidden: bool,
    /// The first entries of its access control list.
    pub managers: &'a [&'a str],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub id: String,
    pub name: String,
    pub hidden: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretEntry {
    pub key: String,
    pub updated_at: i64,
}

/// MANAGE includes WRITE includes READ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopePermission {
    Read,
    Write,
    Manage,
}

impl ScopePermission {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Manage => "MANAGE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Manage].into_iter().find(|p| p.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// A user name, a group name or an application id.
    pub principal: String,
    pub permission: ScopePermission,
}

#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    pub hash: &'a [u8; 32],
    /// Whose token it is.
    pub principal_id: &'a str,
    /// Who asked for it.
    pub created_by: &'a str,
    pub comment: &'a str,
    pub expires_at: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: String,
    pub hash: [u8; 32],
    pub principal_id: String,
    /// The id of who asked for it, who may be gone by now.
    pub created_by: String,
    pub comment: String,
    pub created_at: i64,
    pub expires_at: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrincipalRecord {
    /// A number of at most 53 bits.
    pub id: String,
    pub is_service_principal: bool,
    /// User name, or application id of a service principal. It stays for life.
    pub name: String,
    pub display_name: String,
    pub active: bool,
    /// Those that it was put into itself.
    pub groups: Vec<GroupRef>,
    pub profile: Profile,
    pub entitlements: Vec<String>,
    pub roles: Vec<String>,
    /// OAuth tokens of other epochs are refused.
    pub epoch: i64,
    pub created_at: i64,
}

/// What is kept for clients alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    pub external_id: String,
    pub given_name: String,
    pub family_name: String,
    /// In SCIM's form.
    pub emails: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRecord {
    /// A number of at most 53 bits.
    pub id: String,
    pub name: String,
    pub external_id: String,
    pub entitlements: Vec<String>,
    pub roles: Vec<String>,
    /// Ids of the users and service principals in it.
    pub principals: Vec<String>,
    /// Ids of the groups in it.
    pub groups: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct NewOauthSecret<'a> {
    pub principal_id: &'a str,
    pub hash: &'a [u8; 32],
    pub expires_at: i64,
}

/// A client secret of a service principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthSecret {
    pub id: String,
    pub principal_id: String,
    pub hash: [u8; 32],
    pub created_at: i64,
    pub expires_at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRef {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    Directory,
    File,
    Notebook,
}

impl ObjectKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "DIRECTORY",
            Self::File => "FILE",
            Self::Notebook => "NOTEBOOK",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "DIRECTORY" => Self::Directory,
            "NOTEBOOK" => Self::Notebook,
            _ => Self::File,
        }
    }
}

/// A file, notebook or folder of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// A number of at most 53 bits.
    pub id: String,
    pub path: String,
    pub kind: ObjectKind,
    /// Of a notebook: `PYTHON`, `SQL`, `SCALA` or `R`.
    pub language: String,
    /// In bytes.
    pub size: i64,
    pub created_at: i64,
    pub modified_at: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct NewObject<'a> {
    pub path: &'a str,
    pub kind: ObjectKind,
    pub language: &'a str,
    pub content: &'a [u8],
    pub overwrite: bool,
}

impl<'a> NewObject<'a> {
    pub(crate) const fn directory(path: &'a str) -> Self {
        Self { path, kind: ObjectKind::Directory, language: "", content: &[], overwrite: false }
    }

    pub(crate) fn size(&self) -> i64 {
        i64::try_from(self.content.len()).unwrap_or(i64::MAX)
    }
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    Done,
    Missing,
    /// A folder with something in it, and that was not to be deleted.
    NotEmpty,
}
