//! `/api/2.0/token`.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Deserialize)]
pub struct CreateToken {
    pub comment: Option<String>,
    pub lifetime_seconds: Option<i64>,
    #[serde(default)]
    pub scopes: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct UpdateToken {
    #[serde(default)]
    pub token: TokenChange,
    /// Names of fields, separated by commas.
    #[serde(default)]
    pub update_mask: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct TokenChange {
    pub comment: Option<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DeleteToken {
    #[serde(default)]
    pub token_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    pub token_id: String,
    /// Milliseconds since the epoch.
    pub creation_time: i64,
    /// Milliseconds since the epoch; -1 for a token that does not expire.
    pub expiry_time: i64,
    pub comment: String,
}

/// A token as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManagedToken {
    #[serde(flatten)]
    pub info: TokenInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TokenList {
    pub token_infos: Vec<TokenInfo>,
}
