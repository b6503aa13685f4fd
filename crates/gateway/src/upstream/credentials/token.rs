//! Bearer tokens from a token endpoint: got once for all calls that need them, kept, and got anew before
//! they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use policy::endpoint::credentials::{Grant, TokenGrant};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Failed;
use crate::body::read_up_to;
use crate::clock;

/// A token is got anew so long before it ends, or at half its life where that is shorter.
const EARLY_MS: i64 = 5 * 60 * 1000;
/// How long the endpoint may take; a call waits for it.
const WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 << 10;
/// How long an assertion is good for: the most Google allows.
const ASSERTION_SECONDS: i64 = 3600;
/// Grants that are remembered: far more than a server has entities with a token of their own.
const MAX_GRANTS: usize = 10_000;

/// The tokens of all grants.
#[derive(Default)]
pub(crate) struct Tokens {
    slots: Mutex<HashMap<[u8; 32], Arc<Slot>>>,
}

/// One grant's token. Whoever finds it missing gets it while the others wait.
#[derive(Default)]
struct Slot {
    token: Mutex<Option<Token>>,
    getting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Token {
    value: HeaderValue,
    /// Milliseconds since the epoch.
    good_until: i64,
}

impl Tokens {
    /// The value of the `Authorization` header.
    pub(crate) async fn bearer(
        &self,
        client: &egress::Client,
        grant: &TokenGrant,
    ) -> Result<HeaderValue, Failed> {
        let slot = self.slot(grant);
        if let Some(value) = slot.current() {
            return Ok(value);
        }
        let _getting = slot.getting.lock().await;
        if let Some(value) = slot.current() {
            return Ok(value);
        }
        let token = tokio::time::timeout(WITHIN, get(client, grant)).await.map_err(|_| {
            Failed::TimedOut(format!(
                "the token endpoint {} did not answer within {} s",
                grant.url,
                WITHIN.as_secs()
            ))
        })??;
        *slot.token.lock() = Some(token.clone());
        Ok(token.value)
    }

    /// Forgets the token that was refused, unless another took its place. Tells whether one is to be got.
    pub(crate) fn discard(&self, grant: &TokenGrant, refused: &HeaderValue) -> bool {
        let slot = self.slot(grant);
        let mut token = slot.token.lock();
        if token.as_ref().is_some_and(|t| t.value == *refused) {
            *token = None;
        }
        true
    }

    fn slot(&self, grant: &TokenGrant) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if slots.len() >= MAX_GRANTS {
            slots.clear();
        }
        Arc::clone(slots.entry(grant.id).or_default())
    }
}

impl Slot {
    fn current(&self) -> Option<HeaderValue> {
        let token = self.token.lock();
        token.as_ref().filter(|t| clock::now_ms() < t.good_until).map(|t| t.value.clone())
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: Zeroizing<String>,
    #[serde(default)]
    expires_in: Option<Lifetime>,
}

/// Seconds; some endpoints write them as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lifetime {
    Number(i64),
    Text(String),
}

async fn get(client: &egress::Client, grant: &TokenGrant) -> Result<Token, Failed> {
    let asked_at = clock::now_ms();
    let body = Zeroizing::new(form(&grant.grant, &grant.url, asked_at / 1000)?);
    let request = Request::post(&grant.url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|e| Failed::Refused(format!("the token endpoint {:?} is no URL: {e}", grant.url)))?;
    let response = client.send(request, CONNECT_WITHIN).await.map_err(|failure| {
        let reason = format!("the token endpoint {}: {failure}", grant.url);
        match failure {
            egress::Failure::TimedOut(_) => Failed::TimedOut(reason),
            _ => Failed::Unreachable(reason),
        }
    })?;
    let status = response.status();
    let (body, _) = read_up_to(response.into_body(), MAX_ANSWER, WITHIN).await;
    if !status.is_success() {
        let reason = format!("the token endpoint {} answered {status}: {}", grant.url, sentence(&body));
        let ours = status.is_client_error() && status.as_u16() != 429;
        return Err(if ours { Failed::Refused(reason) } else { Failed::Unreachable(reason) });
    }
    // serde's sentence may quote the token.
    let granted: Granted = serde_json::from_slice(&body).map_err(|_| {
        Failed::Unreachable(format!("the token endpoint {} answered without an access_token", grant.url))
    })?;
    token(granted, asked_at)
        .ok_or_else(|| Failed::Unreachable(format!("the token of {} is no header value", grant.url)))
}

fn token(granted: Granted, asked_at: i64) -> Option<Token> {
    let seconds = match granted.expires_in {
        Some(Lifetime::Number(seconds)) => seconds,
        Some(Lifetime::Text(text)) => text.trim().parse().ok()?,
        None => 3600,
    };
    let life = seconds.clamp(0, 86_400) * 1000;
    let text = Zeroizing::new(format!("Bearer {}", granted.access_token.as_str()));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(Token { value, good_until: asked_at + life - EARLY_MS.min(life / 2) })
}

/// OAuth's own words for what is wrong, which repeat no secret.
fn sentence(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: Option<String>,
        error_description: Option<String>,
    }
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let words = problem.into_iter().flat_map(|p| [p.error, p.error_description]).flatten();
    let mut text = words.collect::<Vec<_>>().join(": ");
    text.truncate(text.floor_char_boundary(500));
    if text.is_empty() { "it does not say why".to_owned() } else { text }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

fn form(grant: &Grant, url: &str, now: i64) -> Result<String, Failed> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match grant {
        Grant::ClientCredentials { client_id, client_secret, scope } => {
            form.append_pair("grant_type", "client_credentials");
            form.append_pair("client_id", client_id);
            form.append_pair("client_secret", client_secret.expose_secret());
            form.append_pair("scope", scope);
        }
        Grant::Assertion { issuer, key_id, private_key, scope } => {
            let unusable = |e: jsonwebtoken::errors::Error| {
                Failed::Refused(format!("the private key of {issuer} cannot be used: {e}"))
            };
            let key = EncodingKey::from_rsa_pem(private_key.expose_secret().as_bytes()).map_err(unusable)?;
            let header = Header { kid: key_id.clone(), ..Header::new(Algorithm::RS256) };
            let claims = Claims { iss: issuer, scope, aud: url, iat: now, exp: now + ASSERTION_SECONDS };
            let assertion = encode(&header, &claims, &key).map_err(unusable)?;
            form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
            form.append_pair("assertion", &assertion);
        }
    }
    Ok(form.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(expires_in: &str) -> Token {
        let text = format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#);
        token(serde_json::from_str(&text).unwrap(), 0).unwrap()
    }

    #[test]
    fn a_token_is_got_anew_before_it_ends() {
        assert_eq!(granted("3600").good_until, 3_300_000);
        assert_eq!(granted("\"3600\"").good_until, 3_300_000);
        assert_eq!(granted("60").good_until, 30_000);
        assert_eq!(granted("-1").good_until, 0);
        assert!(format!("{:?}", granted("1").value).contains("Sensitive"));
    }

    #[test]
    fn the_form_is_oauths() {
        let grant = Grant::ClientCredentials {
            client_id: "id".to_owned(),
            client_secret: "a&b".to_owned().into(),
            scope: "https://x/.default".to_owned(),
        };
        let expected =
            "grant_type=client_credentials&client_id=id&client_secret=a%26b&scope=https%3A%2F%2Fx%2F.default";
        assert_eq!(form(&grant, "u", 0).unwrap(), expected);
    }

    #[test]
    fn an_endpoints_words_are_kept_short_and_everything_else_is_dropped() {
        assert_eq!(
            sentence(br#"{"error":"invalid_client","error_description":"AADSTS7000215"}"#),
            "invalid_client: AADSTS7000215"
        );
        assert_eq!(sentence(b"<html>"), "it does not say why");
    }
}
