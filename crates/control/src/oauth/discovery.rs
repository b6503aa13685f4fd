//! Where clients find what. Older SDKs come here straight, newer ones by `databricks-config`.

use http::StatusCode;
use serde_json::json;

use crate::reply::{Failure, Reply};
use crate::request::Call;

/// The same for OAuth (RFC 8414) and OpenID Connect.
pub(super) async fn metadata(call: Call) -> Result<Reply, Failure> {
    let issuer = format!("{}/oidc", call.base_url);
    Reply::json(&json!({
        "issuer": issuer,
        // SDKs read it, although nobody logs in by a browser here.
        "authorization_endpoint": format!("{issuer}/v1/authorize"),
        "token_endpoint": format!("{issuer}/v1/token"),
        "jwks_uri": format!("{issuer}/jwks.json"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["code"],
        "scopes_supported": ["all-apis"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

/// No key: access tokens are verified by this server alone.
pub(super) async fn keys(_call: Call) -> Result<Reply, Failure> {
    Reply::json(&json!({"keys": []}))
}

/// A sentence for whoever runs `databricks auth login`, instead of a page that is not found.
pub(super) async fn authorize(_call: Call) -> Result<Reply, Failure> {
    let body = json!({
        "error": "unsupported_response_type",
        "error_description": "logging in by a browser is not supported: use a personal access token, or \
            the client id and secret of a service principal",
    });
    Ok(Reply::json(&body)?.status(StatusCode::BAD_REQUEST))
}
