//! Google's token endpoint: takes the assertion of a service account (RFC 7523) and gives an access token.
//!
//! What an account's name begins with is its script: `refused` is refused, `revoked-once` gets a first token that is
//! accepted nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clock;
use crate::exchange::Shared;
use crate::gemini::REVOKED;

/// Where it is.
pub(crate) const PATH: &str = "/google/token";

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Longest life of an assertion, in seconds.
const MAX_LIFE: i64 = 3_600;
/// Bytes of a signature with the smallest key that RS256 allows.
const MIN_SIGNATURE: usize = 256;

/// How many tokens were given and refused.
#[derive(Debug, Default)]
pub struct Exchanges {
    asked: AtomicU64,
}

impl Exchanges {
    /// How often a token was asked for.
    pub fn count(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[derive(Deserialize)]
struct Head {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

pub(crate) async fn exchange(
    State(shared): State<Arc<Shared>>,
    form: Bytes,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let number = shared.exchanges.asked.fetch_add(1, Ordering::SeqCst);
    let claims = read(&form).and_then(checked).map_err(|(error, description)| {
        let body = json!({"error": error, "error_description": description});
        (StatusCode::BAD_REQUEST, Json(body))
    })?;
    let revoked = number == 0 && claims.iss.starts_with("revoked-once");
    let name = if revoked { REVOKED } else { "ya29.simulated" };
    Ok(Json(json!({"access_token": format!("{name}-{number}"), "expires_in": 3599, "token_type": "Bearer"})))
}

/// An error and its description, as OAuth has them.
type Refused = (&'static str, String);

fn read(form: &[u8]) -> Result<Claims, Refused> {
    let field =
        |name: &str| form_urlencoded::parse(form).find(|(key, _)| key == name).map(|(_, value)| value);
    if field("grant_type").is_none_or(|grant| grant != GRANT) {
        return Err(("unsupported_grant_type", format!("grant_type must be {GRANT}")));
    }
    let invalid = |what: &str| ("invalid_grant", format!("Invalid JWT: {what}"));
    let assertion = field("assertion").ok_or_else(|| invalid("the assertion is missing"))?;
    let parts: Vec<&str> = assertion.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else { return Err(invalid("it has not three parts")) };
    let head: Head = part(head).ok_or_else(|| invalid("its header cannot be read"))?;
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if head.alg != "RS256" || signature.len() < MIN_SIGNATURE {
        return Err(("invalid_grant", "Invalid JWT Signature.".to_owned()));
    }
    part(claims).ok_or_else(|| invalid("its claims cannot be read"))
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

fn checked(claims: Claims) -> Result<Claims, Refused> {
    let now = i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX);
    let life = claims.exp - claims.iat;
    if claims.exp <= now || claims.iat > now + 60 || !(1..=MAX_LIFE).contains(&life) {
        let words = "Token must be a short-lived token (60 minutes) and in a reasonable timeframe.";
        return Err(("invalid_grant", format!("Invalid JWT: {words} Check your iat and exp values.")));
    }
    if !claims.aud.ends_with(PATH) {
        return Err(("invalid_grant", "Invalid JWT: Failed audience check.".to_owned()));
    }
    if claims.scope != SCOPE {
        return Err(("invalid_scope", "Invalid OAuth scope or ID token audience provided.".to_owned()));
    }
    if claims.iss.starts_with("refused") {
        return Err(("invalid_grant", "Invalid grant: account not found".to_owned()));
    }
    Ok(claims)
}
