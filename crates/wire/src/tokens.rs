//! `/api/2.0/token`.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Deserialize)]
pub struct CreateToken {
    pub comment: Option<String>,
    pub lifetime_seconds: Option<i64>,
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

#[derive(Clone, Debug, Serialize)]
pub struct TokenList {
    pub token_infos: Vec<TokenInfo>,
}
