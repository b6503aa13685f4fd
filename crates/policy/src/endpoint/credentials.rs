//! What a call is authorised with, its secrets resolved.

use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};
use providers::SecretRef;
use providers::auth::{Auth, AwsCredentials, EntraId, GoogleServiceAccount, SigV4};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::MissingSecret;

/// What has to be done when a call is made. Printing it shows no secret.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nothing: the headers are complete.
    InPlace,
    /// A bearer token that is got from a token endpoint, and kept until it ends.
    Token(Arc<TokenGrant>),
    /// A signature over each request.
    Signature(Arc<Signing>),
}

/// How a token is got.
pub struct TokenGrant {
    /// The token endpoint.
    pub url: String,
    pub grant: Grant,
    /// Equal for grants that give the same token; made from the secret too, so that a changed secret is a
    /// new grant.
    pub id: [u8; 32],
}

#[derive(Debug)]
pub enum Grant {
    /// OAuth client credentials.
    ClientCredentials { client_id: String, client_secret: SecretString, scope: String },
    /// An assertion signed with RS256 (RFC 7523).
    Assertion { issuer: String, key_id: Option<String>, private_key: SecretString, scope: String },
}

impl fmt::Debug for TokenGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenGrant").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct Signing {
    pub region: String,
    pub service: &'static str,
    pub keys: AwsKeys,
}

#[derive(Debug)]
pub enum AwsKeys {
    Given {
        access_key_id: SecretString,
        secret_access_key: SecretString,
    },
    /// As in [`AwsCredentials::Chain`].
    Chain {
        role_arn: Option<String>,
        instance_profile_arn: Option<String>,
        sts_endpoint: Option<String>,
    },
}

/// A configuration that cannot work, or a secret that is not there.
pub(super) enum Unauthorized {
    Missing(MissingSecret),
    Invalid(String),
}

pub(super) type FindSecret<'a> = &'a dyn Fn(&SecretRef) -> Option<SecretString>;

/// Puts into `headers` what can be there already, and says what is left to do.
pub(super) fn authorize(
    auth: &Auth,
    headers: &mut HeaderMap,
    secret: FindSecret<'_>,
) -> Result<Credentials, Unauthorized> {
    let find = |reference: &SecretRef| {
        secret(reference).ok_or_else(|| Unauthorized::Missing(MissingSecret(reference.clone())))
    };
    match auth {
        Auth::None => {}
        Auth::Bearer(reference) => {
            headers.insert(AUTHORIZATION, header_value("Bearer ", reference, &find(reference)?)?);
        }
        Auth::Header(name, reference) => {
            let name: HeaderName =
                name.parse().map_err(|_| Unauthorized::Invalid(format!("{name:?} is no header name")))?;
            headers.insert(name, header_value("", reference, &find(reference)?)?);
        }
        Auth::SigV4(SigV4 { region, service, credentials }) => {
            let keys = aws_keys(credentials, find)?;
            return Ok(Credentials::Signature(Arc::new(Signing { region: region.clone(), service, keys })));
        }
        Auth::EntraId(entra) => {
            return Ok(Credentials::Token(Arc::new(client_credentials(entra, find(&entra.client_secret)?))));
        }
        Auth::GoogleServiceAccount(account) => {
            let grant = assertion(account, &find(&account.key)?).map_err(Unauthorized::Invalid)?;
            return Ok(Credentials::Token(Arc::new(grant)));
        }
    }
    Ok(Credentials::InPlace)
}

fn header_value(
    prefix: &str,
    reference: &SecretRef,
    value: &SecretString,
) -> Result<HeaderValue, Unauthorized> {
    // Keys pasted with a line end are common, and would be no header value.
    let text = Zeroizing::new(format!("{prefix}{}", value.expose_secret().trim()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        Unauthorized::Invalid(format!("the secret {reference} holds characters that no header can carry"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn trimmed(value: &SecretString) -> SecretString {
    value.expose_secret().trim().into()
}

fn aws_keys(
    credentials: &AwsCredentials,
    find: impl Fn(&SecretRef) -> Result<SecretString, Unauthorized>,
) -> Result<AwsKeys, Unauthorized> {
    Ok(match credentials {
        AwsCredentials::Keys { access_key_id, secret_access_key } => AwsKeys::Given {
            access_key_id: trimmed(&find(access_key_id)?),
            secret_access_key: trimmed(&find(secret_access_key)?),
        },
        AwsCredentials::Chain { role_arn, instance_profile_arn, sts_endpoint } => AwsKeys::Chain {
            role_arn: role_arn.clone(),
            instance_profile_arn: instance_profile_arn.clone(),
            sts_endpoint: sts_endpoint.clone(),
        },
    })
}

fn client_credentials(entra: &EntraId, secret: SecretString) -> TokenGrant {
    let EntraId { authority, tenant_id, client_id, scope, .. } = entra;
    let url = format!("{authority}/{tenant_id}/oauth2/v2.0/token");
    let client_secret = trimmed(&secret);
    let id = identity(&[&url, client_id, client_secret.expose_secret(), scope]);
    let grant =
        Grant::ClientCredentials { client_id: client_id.clone(), client_secret, scope: (*scope).to_owned() };
    TokenGrant { url, grant, id }
}

/// The fields of a service account's JSON that say how its tokens are got.
#[derive(Deserialize)]
struct AccountKey {
    client_email: Option<String>,
    private_key: Option<Zeroizing<String>>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

const GOOGLE_TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

fn assertion(account: &GoogleServiceAccount, secret: &SecretString) -> Result<TokenGrant, String> {
    let GoogleServiceAccount { key: reference, scope, token_uri } = account;
    // serde's sentence may quote the text, which is a key.
    let key: AccountKey = serde_json::from_str(secret.expose_secret()).map_err(|_| {
        format!("the secret {reference} is not the JSON of a service account; a private key alone does not say whose it is")
    })?;
    let missing = |name: &str| format!("the JSON of the service account in {reference} has no {name}");
    let issuer = key.client_email.ok_or_else(|| missing("client_email"))?;
    // Keys that went through a shell or a form have their line ends spelled out.
    let pem = key.private_key.ok_or_else(|| missing("private_key"))?.replace("\\n", "\n");
    let url = token_uri.clone().or(key.token_uri).unwrap_or_else(|| GOOGLE_TOKEN_URI.to_owned());
    let id = identity(&[&url, &issuer, &pem, scope]);
    let grant = Grant::Assertion {
        issuer,
        key_id: key.private_key_id,
        private_key: pem.into(),
        scope: (*scope).to_owned(),
    };
    Ok(TokenGrant { url, grant, id })
}

/// Equal for equal parts alone, however they would run together.
pub fn identity(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn grant(secret: &str) -> Result<TokenGrant, String> {
        let key = SecretRef::parse("{{secrets/s/k}}").unwrap();
        assertion(&GoogleServiceAccount { key, scope: "s", token_uri: None }, &secret.to_owned().into())
    }

    #[test]
    fn a_service_account_says_whose_it_is_and_where_to_ask() {
        let json =
            json!({"client_email": "a@b", "private_key": "-----BEGIN\\nkey\\n", "token_uri": "http://h/t"});
        let found = grant(&json.to_string()).unwrap();
        assert_eq!(found.url, "http://h/t");
        let Grant::Assertion { issuer, private_key, .. } = &found.grant else { panic!("{found:?}") };
        assert_eq!((issuer.as_str(), private_key.expose_secret()), ("a@b", "-----BEGIN\nkey\n"));
    }

    #[test]
    fn what_is_no_service_account_is_not_repeated() {
        for text in ["-----BEGIN CANARY-----", "{\"client_email\": \"a@b\"}", "[]"] {
            let error = grant(text).unwrap_err();
            assert!(error.contains("{{secrets/s/k}}") && !error.contains("CANARY"), "{error}");
        }
    }

    #[test]
    fn a_changed_secret_is_a_new_grant() {
        let entra = EntraId {
            authority: "https://a".into(),
            tenant_id: "t".into(),
            client_id: "c".into(),
            client_secret: SecretRef::Internal("1".into()),
            scope: "s",
        };
        let id = |secret: &str| client_credentials(&entra, secret.to_owned().into()).id;
        assert_eq!(id("one\n"), id("one"));
        assert_ne!(id("one"), id("two"));
        assert_eq!(client_credentials(&entra, "x".to_owned().into()).url, "https://a/t/oauth2/v2.0/token");
    }
}
