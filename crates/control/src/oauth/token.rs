//! `POST /oidc/v1/token`. It answers from the snapshot: a flood of wrong logins costs no database.

use http::{HeaderValue, StatusCode};
use policy::Credential;
use policy::oauth::{Client, SigningKey};
use serde_json::json;

use super::signing;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::{Control, refresh};

const SCOPE: &str = "all-apis";
/// `offline_access` is what some clients add by habit; a refresh token is not given.
const KNOWN_SCOPES: [&str; 2] = [SCOPE, "offline_access"];

/// Not `Debug`: it holds a secret.
#[derive(Default)]
struct Form {
    grant_type: Option<String>,
    scope: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Credential>,
}

/// Why there is no token, in OAuth's words.
struct Refused {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl Refused {
    fn bad(error: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description: description.into() }
    }
}

pub(super) async fn token(call: Call) -> Result<Reply, Failure> {
    let now = journal::clock::expiry_ms();
    let (client, secret) = match check(&call, now) {
        Ok(found) => found,
        Err(refused) => return refused_reply(&refused),
    };
    let key = signing_key(&call.control).await?;
    let token = signing::issue(&key, &client, &secret, now)?;
    tracing::info!(application_id = %client.principal.name, "access token issued");
    Reply::json(&json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": signing::LIFETIME,
        "scope": SCOPE,
    }))
}

fn refused_reply(refused: &Refused) -> Result<Reply, Failure> {
    let body = json!({"error": refused.error, "error_description": refused.description});
    let reply = Reply::json(&body)?.status(refused.status);
    Ok(match refused.status {
        StatusCode::UNAUTHORIZED => {
            reply.header("www-authenticate", HeaderValue::from_static("Basic realm=\"tollgate\""))
        }
        _ => reply,
    })
}

/// Who logs in, and the id of the secret that they do it with.
fn check(call: &Call, now: i64) -> Result<(Client, String), Refused> {
    let form = read(&call.body)?;
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        None => return Err(Refused::bad("invalid_request", "grant_type is required")),
        Some(other) => {
            let shown: String = other.chars().take(100).collect();
            let description = format!("grant_type is {shown:?}, only client_credentials is supported");
            return Err(Refused::bad("unsupported_grant_type", description));
        }
    }
    let mut scopes = form.scope.as_deref().unwrap_or(SCOPE).split_whitespace();
    if let Some(unknown) = scopes.find(|scope| !KNOWN_SCOPES.contains(scope)) {
        // A token for everything is not what was asked for.
        let shown: String = unknown.chars().take(100).collect();
        let description = format!("scope {shown:?} is not supported, ask for {SCOPE}");
        return Err(Refused::bad("invalid_scope", description));
    }
    let body = form.client_id.zip(form.client_secret);
    let given = call.client.as_ref().map(|(id, secret)| (id, secret));
    let given = given.or(body.as_ref().map(|(id, secret)| (id, secret)));
    let snapshot = call.control.inner.live.load();
    let found = given.and_then(|(id, secret)| {
        let client = snapshot.oauth.clients.get(id.as_str())?;
        let secret = client.secret(&secret.hash(), now)?;
        Some((client.clone(), secret.id.clone()))
    });
    found.ok_or_else(|| {
        let why = match given {
            Some(_) => "the client id or the secret is wrong, revoked or expired",
            None => "send client_id and client_secret, as HTTP Basic or in the body",
        };
        let description = format!("client authentication failed: {why}");
        Refused { status: StatusCode::UNAUTHORIZED, error: "invalid_client", description }
    })
}

fn read(body: &[u8]) -> Result<Form, Refused> {
    let mut form = Form::default();
    for (name, value) in form_urlencoded::parse(body) {
        let twice = match &*name {
            "grant_type" => form.grant_type.replace(value.into_owned()).is_some(),
            "scope" => form.scope.replace(value.into_owned()).is_some(),
            "client_id" => form.client_id.replace(value.into_owned()).is_some(),
            "client_secret" => form.client_secret.replace(Credential::new(&value)).is_some(),
            _ => false,
        };
        if twice {
            return Err(Refused::bad("invalid_request", format!("{name} is given twice")));
        }
    }
    Ok(form)
}

/// The installation's key; the first login makes it.
async fn signing_key(control: &Control) -> Result<SigningKey, Failure> {
    if let Some(key) = control.inner.live.load().oauth.key.clone() {
        return Ok(key);
    }
    control.store().ensure_signing_key().await?;
    refresh(control).await?;
    let key = control.inner.live.load().oauth.key.clone();
    key.ok_or_else(|| {
        wire::error::ApiError::internal("the signing key was deleted just now, try again").into()
    })
}
