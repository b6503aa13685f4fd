//! Bearer tokens from a token endpoint.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use policy::endpoint::credentials::{Grant, TokenGrant};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::cache::{Cache, Kept};
use super::{Failed, exchange};
use crate::clock;

/// How long an assertion is good for: the most Google allows.
const ASSERTION_SECONDS: i64 = 3600;
/// The value of the `Authorization` header.
pub(super) async fn bearer(
    tokens: &Cache<HeaderValue>,
    client: &egress::Client,
    grant: &TokenGrant,
) -> Result<HeaderValue, Failed> {
    let source = format!("the token endpoint {}", grant.url);
    tokens.get(grant.id, &source, get(client, grant, &source)).await
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

async fn get(client: &egress::Client, grant: &TokenGrant, source: &str) -> Result<Kept<HeaderValue>, Failed> {
    let asked_at = clock::now_ms();
    let body = Zeroizing::new(form(&grant.grant, &grant.url, asked_at / 1000)?);
    let request = Request::post(&grant.url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|e| Failed::Refused(format!("the token endpoint {:?} is no URL: {e}", grant.url)))?;
    let (status, body) = exchange::send(client, source, request).await?;
    if !status.is_success() {
        return Err(exchange::refusal(source, status, &words(&body)));
    }
    // serde's sentence may quote the token.
    let granted: Granted = serde_json::from_slice(&body)
        .map_err(|_| Failed::Unreachable(format!("{source} answered without an access_token")))?;
    token(granted, asked_at)
        .ok_or_else(|| Failed::Unreachable(format!("the token of {} is no header value", grant.url)))
}

fn token(granted: Granted, asked_at: i64) -> Option<Kept<HeaderValue>> {
    let seconds = match granted.expires_in {
        Some(Lifetime::Number(seconds)) => seconds,
        Some(Lifetime::Text(text)) => text.trim().parse().ok()?,
        None => 3600,
    };
    let life = seconds.clamp(0, 86_400) * 1000;
    let text = Zeroizing::new(format!("Bearer {}", granted.access_token.as_str()));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(Kept::new(value, asked_at, asked_at + life))
}

/// OAuth's own words for what is wrong, which repeat no secret.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: Option<String>,
        error_description: Option<String>,
    }
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let words = problem.into_iter().flat_map(|p| [p.error, p.error_description]).flatten();
    words.collect::<Vec<_>>().join(": ")
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

    fn granted(expires_in: &str) -> Kept<HeaderValue> {
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
    fn an_endpoints_words_are_kept_and_everything_else_is_dropped() {
        assert_eq!(
            words(br#"{"error":"invalid_client","error_description":"AADSTS7000215"}"#),
            "invalid_client: AADSTS7000215"
        );
        assert_eq!(words(b"<html>"), "");
    }
}
