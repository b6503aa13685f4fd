//! Access tokens, OAuth and what clients ask before they log in.

use serde_json::{Value, json};

use super::operation::{Answer, Area, Operation, integer, list, object, optional, schema, text, timestamp};

pub(super) const AREA: Area = Area {
    tag: "tokens",
    description: "Personal access tokens, one's own and, for administrators, everybody's.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

pub(super) const CLIENTS: Area = Area {
    tag: "oauth-secrets",
    description: "Client secrets of service principals.",
    error: "Error",
    operations: CLIENT_OPERATIONS,
    schemas: client_schemas,
};

pub(super) const OAUTH: Area = Area {
    tag: "oauth",
    description: "Logins of service principals.",
    error: "OauthError",
    operations: OAUTH_OPERATIONS,
    schemas: oauth_schemas,
};

pub(super) const DISCOVERY: Area = Area {
    tag: "discovery",
    description: "What clients ask before they log in, and this document.",
    error: "Error",
    operations: DISCOVERY_OPERATIONS,
    schemas: discovery_schemas,
};

const OPERATIONS: &[Operation] = &[
    Operation::new("POST", "/api/2.0/token/create", "createToken", "Make a token for the caller")
        .takes("CreateToken")
        .gives("NewToken")
        .fails(&[404]),
    Operation::new("GET", "/api/2.0/token/list", "listTokens", "The caller's own tokens, without their text")
        .gives("TokenList"),
    Operation::new("POST", "/api/2.0/token/delete", "deleteToken", "Delete a token of the caller")
        .takes("TokenRef")
        .fails(&[404]),
    Operation::new("PATCH", "/api/2.0/token/{token_id}", "patchToken", "Change a token's comment")
        .takes("PatchToken")
        .fails(&[404]),
    Operation::new("GET", "/api/2.0/token-management/tokens", "listAllTokens", "Everybody's tokens")
        .query(&[
            optional("created_by_id", "only those made by"),
            optional("created_by_username", "only those made by"),
        ])
        .gives("ManagedTokenList"),
    Operation::new("GET", "/api/2.0/token-management/tokens/{token_id}", "getAnyToken", "One token")
        .gives("ManagedTokenAnswer")
        .fails(&[404]),
    Operation::new(
        "DELETE",
        "/api/2.0/token-management/tokens/{token_id}",
        "deleteAnyToken",
        "Delete a token",
    )
    .fails(&[404]),
    Operation::new(
        "POST",
        "/api/2.0/token-management/on-behalf-of/tokens",
        "createTokenOnBehalf",
        "Make a token for a service principal",
    )
    .takes("CreateTokenOnBehalf")
    .gives("NewToken")
    .fails(&[404]),
];

const SECRETS: &str = "/api/2.0/accounts/servicePrincipals/{id}/credentials/secrets";

const CLIENT_OPERATIONS: &[Operation] = &[
    Operation::new(
        "POST",
        SECRETS,
        "createClientSecret",
        "Make a client secret; its text is in this answer only",
    )
    .takes("CreateClientSecret")
    .gives("ClientSecret")
    .fails(&[404]),
    Operation::new("GET", SECRETS, "listClientSecrets", "The client secrets, without their text")
        .gives("ClientSecretList")
        .fails(&[404]),
    Operation::new(
        "DELETE",
        "/api/2.0/accounts/servicePrincipals/{id}/credentials/secrets/{secret_id}",
        "deleteClientSecret",
        "Delete a client secret; the access tokens that were got with it end",
    )
    .fails(&[404]),
    Operation::new(
        "POST",
        "/api/tollgate/v1/service-principals/{id}/revoke-tokens",
        "revokeTokens",
        "End all access tokens of a service principal",
    )
    .fails(&[404]),
    Operation::new(
        "POST",
        "/api/tollgate/v1/oauth/replace-signing-key",
        "replaceSigningKey",
        "Replace the key that signs access tokens; all of them end",
    ),
];

const OAUTH_OPERATIONS: &[Operation] = &[
    Operation::new(
        "GET",
        "/oidc/.well-known/oauth-authorization-server",
        "oauthMetadata",
        "Where to log in (RFC 8414)",
    )
    .gives("OauthMetadata"),
    Operation::new(
        "GET",
        "/oidc/.well-known/openid-configuration",
        "openidMetadata",
        "Where to log in (OpenID Connect)",
    )
    .gives("OauthMetadata"),
    Operation::new(
        "GET",
        "/oidc/jwks.json",
        "oauthKeys",
        "Public keys: none, this server verifies its tokens itself",
    )
    .gives("Keys"),
    Operation::new("GET", "/oidc/v1/authorize", "authorize", "Refused: nobody logs in by a browser")
        .answers(200, Answer::Refused)
        .fails(&[400]),
    Operation::new("POST", "/oidc/v1/token", "logIn", "An access token for a client id and secret")
        .takes_form("LogIn")
        .gives("AccessToken")
        .fails(&[400, 401]),
];

const DISCOVERY_OPERATIONS: &[Operation] = &[
    Operation::new("GET", "/.well-known/databricks-config", "databricksConfig", "Where what is")
        .gives("DatabricksConfig"),
    Operation::new("GET", "/openapi.json", "openapi", "This document").gives("Document"),
];

fn lifetime() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 3_162_240_000_i64, "description": "absent for a token that does not expire"})
}

fn scopes() -> Value {
    json!({"type": "array", "items": {"const": "all-apis"}})
}

fn comment() -> Value {
    json!({"type": "string", "maxLength": 1000})
}

fn schemas() -> Vec<(&'static str, Value)> {
    let new = [("comment", comment()), ("lifetime_seconds", lifetime()), ("scopes", scopes())];
    let mut on_behalf = object(&["application_id"], new.clone());
    on_behalf["properties"]["application_id"] = text("of a service principal");
    let change = object(&[], [("comment", comment()), ("scopes", scopes())]);
    vec![
        ("CreateToken", object(&[], new)),
        ("CreateTokenOnBehalf", on_behalf),
        (
            "NewToken",
            object(
                &["token_value", "token_info"],
                [
                    ("token_value", text("the token; it is in this answer only")),
                    ("token_info", schema("TokenInfo")),
                ],
            ),
        ),
        ("TokenInfo", token_info()),
        ("TokenList", object(&["token_infos"], [("token_infos", list(schema("TokenInfo")))])),
        ("TokenRef", object(&["token_id"], [("token_id", text(""))])),
        (
            "PatchToken",
            object(
                &["token"],
                [
                    ("token", change),
                    ("update_mask", text("comment, scopes or both; what is there where absent")),
                ],
            ),
        ),
        ("ManagedToken", managed_token()),
        ("ManagedTokenAnswer", object(&["token_info"], [("token_info", schema("ManagedToken"))])),
        ("ManagedTokenList", object(&["token_infos"], [("token_infos", list(schema("ManagedToken")))])),
    ]
}

fn token_info() -> Value {
    object(
        &["token_id", "creation_time", "expiry_time", "comment"],
        [
            ("token_id", text("")),
            ("creation_time", timestamp("when it was made")),
            ("expiry_time", timestamp("when it ends; -1 for never")),
            ("comment", text("")),
        ],
    )
}

fn managed_token() -> Value {
    let mut out = token_info();
    out["properties"]["created_by_id"] = integer("");
    out["properties"]["created_by_username"] = text("");
    out["properties"]["owner_id"] = integer("whose it is");
    out
}

fn client_schemas() -> Vec<(&'static str, Value)> {
    let time = || json!({"type": "string", "format": "date-time"});
    let secret = object(
        &["id", "secret_hash", "status", "create_time", "update_time", "expire_time"],
        [
            ("id", text("")),
            ("secret", text("the secret; it is in the answer that made it only")),
            ("secret_hash", text("")),
            ("status", json!({"const": "ACTIVE"})),
            ("create_time", time()),
            ("update_time", time()),
            ("expire_time", time()),
        ],
    );
    let lifetime = json!({"type": "string", "pattern": "^[1-9][0-9]{0,6}s$", "description": "in seconds, at most 63072000s, which is also the default"});
    vec![
        ("CreateClientSecret", object(&[], [("lifetime", lifetime), ("scopes", scopes())])),
        ("ClientSecret", secret),
        ("ClientSecretList", object(&["secrets"], [("secrets", list(schema("ClientSecret")))])),
    ]
}

fn oauth_schemas() -> Vec<(&'static str, Value)> {
    let log_in = object(
        &["grant_type"],
        [
            ("grant_type", json!({"const": "client_credentials"})),
            ("scope", text("all-apis")),
            ("client_id", text("unless it comes as HTTP Basic")),
            ("client_secret", text("unless it comes as HTTP Basic")),
        ],
    );
    let token = object(
        &["access_token", "token_type", "expires_in"],
        [
            ("access_token", text("")),
            ("token_type", json!({"const": "Bearer"})),
            ("expires_in", integer("in seconds")),
            ("scope", text("")),
        ],
    );
    let metadata = object(
        &["issuer", "authorization_endpoint", "token_endpoint"],
        [
            ("issuer", text("")),
            ("authorization_endpoint", text("")),
            ("token_endpoint", text("")),
            ("jwks_uri", text("")),
            ("grant_types_supported", list(text(""))),
        ],
    );
    vec![
        ("LogIn", log_in),
        ("AccessToken", token),
        ("OauthMetadata", metadata),
        ("Keys", object(&["keys"], [("keys", json!({"type": "array"}))])),
        (
            "OauthError",
            object(
                &["error", "error_description"],
                [("error", text("such as invalid_client")), ("error_description", text("what to do"))],
            ),
        ),
    ]
}

fn discovery_schemas() -> Vec<(&'static str, Value)> {
    let config = object(
        &["oidc_endpoint", "workspace_id", "account_id", "cloud"],
        [
            ("oidc_endpoint", text("")),
            ("workspace_id", json!({"type": "string", "pattern": "^[0-9]+$"})),
            ("account_id", json!({"type": "string", "format": "uuid"})),
            ("cloud", text("")),
        ],
    );
    let document = object(
        &["openapi", "info", "paths"],
        [("openapi", text("")), ("info", json!({"type": "object"})), ("paths", json!({"type": "object"}))],
    );
    vec![("DatabricksConfig", config), ("Document", document)]
}
