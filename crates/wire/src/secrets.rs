//! `/api/2.0/secrets`. Requests that carry a value are `Deserialize` only, so that they cannot be echoed.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize)]
pub struct CreateScope {
    #[serde(default)]
    pub scope: String,
    pub initial_manage_principal: Option<String>,
    pub scope_backend_type: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ScopeRef {
    #[serde(default)]
    pub scope: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SecretKey {
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub key: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct ScopeList {
    pub scopes: Vec<Scope>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Scope {
    pub name: String,
    pub backend_type: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct SecretList {
    pub secrets: Vec<SecretMetadata>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SecretMetadata {
    pub key: String,
    /// Milliseconds since the epoch.
    pub last_updated_timestamp: i64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct PutAcl {
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub principal: String,
    #[serde(default)]
    pub permission: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AclRef {
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub principal: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct AclList {
    pub items: Vec<AclItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AclItem {
    pub principal: String,
    pub permission: &'static str,
}
