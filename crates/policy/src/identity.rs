//! Who is calling: the credential in the headers, looked up by its hash.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::oauth::Oauth;
use crate::snapshot::Snapshot;

/// The group whose members may do everything.
pub const ADMINS: &str = "admins";

/// The group that everybody is in.
pub const USERS: &str = "users";

/// The entitlement to create endpoints: of a user, a service principal or a group. Members of `admins`
/// need none. `workspace-access` and the others that Databricks knows are kept and mean nothing here.
pub const CREATE_ENTITLEMENT: &str = "serving-endpoint-create";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    User,
    ServicePrincipal,
}

/// Somebody who is known. There is no default one.
#[derive(Clone, Debug)]
pub struct Principal {
    pub id: Arc<str>,
    /// User name, or application id of a service principal.
    pub name: Arc<str>,
    pub display_name: Arc<str>,
    pub kind: PrincipalKind,
    /// All groups, inherited ones included.
    pub groups: Vec<Arc<str>>,
    /// Whether it may create endpoints.
    pub can_create: bool,
}

impl Principal {
    pub fn is_member(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g.as_ref() == group)
    }

    pub fn is_admin(&self) -> bool {
        self.is_member(ADMINS)
    }
}

/// A token that is not revoked.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: Arc<str>,
    pub hash: TokenHash,
    pub principal: Arc<Principal>,
    /// Milliseconds since the epoch; `None` for a token that does not expire.
    pub expires_at: Option<i64>,
}

/// SHA-256 of a whole token. Tokens are random and long, so that no slower hash is needed.
pub type TokenHash = [u8; 32];

pub fn hash_token(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

const AWS_SIGNATURE: &str = "AWS4-HMAC-SHA256";

/// What a caller showed.
pub struct Credential(Zeroizing<String>);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}

impl Credential {
    /// Finds the caller's token. `Authorization` wins; `api_key_headers`, which a native surface adds, are
    /// looked at only without it, because SDKs put dummies there.
    pub fn find(headers: &HeaderMap, api_key_headers: &[&str]) -> Option<Self> {
        if let Some(value) = headers.get(AUTHORIZATION) {
            return Self::authorization(value.to_str().ok()?);
        }
        let keys = api_key_headers.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
        keys.map(str::trim).find(|key| !key.is_empty()).map(|key| Self(Zeroizing::new(key.to_owned())))
    }

    /// The client id and secret of `Basic` authentication, at the token endpoint. Both come percent-encoded
    /// (RFC 6749, 2.3.1) or, from most clients, as they are: neither ever holds a `%`.
    pub fn client(headers: &HeaderMap) -> Option<(String, Self)> {
        let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?);
        let (id, secret) = decoded.split_once(':')?;
        Some((id.to_owned(), Self::new(secret)))
    }

    /// One that came in a body.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    pub fn hash(&self) -> TokenHash {
        hash_token(&self.0)
    }

    /// `Bearer <token>`, or `Basic base64("token:<token>")` as `curl -u token:…` sends it, or
    /// `AWS4-HMAC-SHA256 Credential=<token>/…` of clients of AWS whose access key id is the token: the token
    /// is what counts, and what they sign with a key that nobody gave them does not.
    fn authorization(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            let token = rest.trim();
            return (!token.is_empty()).then(|| Self(Zeroizing::new(token.to_owned())));
        }
        if scheme == AWS_SIGNATURE {
            let scope = rest.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
            let token = scope.split('/').next().filter(|token| !token.is_empty())?;
            return Some(Self::new(token));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?);
        let (user, token) = decoded.split_once(':')?;
        (user == "token" && !token.is_empty()).then(|| Self(Zeroizing::new(token.to_owned())))
    }
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    NoCredential,
    BadToken,
}

impl Unknown {
    /// What the caller is told.
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoCredential => "no credential: send a token as `Authorization: Bearer <token>`",
            Self::BadToken => "invalid access token: it is unknown, revoked or expired",
        }
    }
}

/// The principal behind `credential` at `now` (milliseconds since the epoch). A token that is unknown,
/// revoked or expired gives the same answer.
pub fn authenticate(
    snapshot: &Snapshot,
    credential: Option<&Credential>,
    now: i64,
) -> Result<Arc<Principal>, Unknown> {
    let credential = credential.ok_or(Unknown::NoCredential)?;
    if Oauth::is_signed(&credential.0) {
        return snapshot.oauth.authenticate(&credential.0, now).ok_or(Unknown::BadToken);
    }
    let hash = hash_token(&credential.0);
    let token = snapshot.tokens.get(&hash).ok_or(Unknown::BadToken)?;
    let same: bool = token.hash.ct_eq(&hash).into();
    let valid = token.expires_at.is_none_or(|at| now < at);
    if same && valid { Ok(Arc::clone(&token.principal)) } else { Err(Unknown::BadToken) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse::<http::HeaderName>().unwrap(), v.parse().unwrap())).collect()
    }

    fn found(pairs: &[(&'static str, &str)]) -> Option<String> {
        Credential::find(&headers(pairs), &["x-api-key"]).map(|c| c.0.to_string())
    }

    #[test]
    fn authorization_wins_over_dummies() {
        let dummy = ("x-api-key", "databricks");
        assert_eq!(found(&[("authorization", "Bearer dapi1"), dummy]).as_deref(), Some("dapi1"));
        assert_eq!(found(&[("authorization", "bearer  dapi1 ")]).as_deref(), Some("dapi1"));
        assert_eq!(found(&[("authorization", "Basic dG9rZW46ZGFwaTE=")]).as_deref(), Some("dapi1"));
        assert_eq!(found(&[("x-api-key", "dapi2")]).as_deref(), Some("dapi2"));
        assert_eq!(found(&[("x-api-key", "")]), None);
        assert_eq!(found(&[("authorization", "Digest x"), ("x-api-key", "dapi2")]), None);
        assert_eq!(found(&[("authorization", "Bearer ")]), None);
        assert_eq!(found(&[]), None);
    }

    fn snapshot(expires_at: Option<i64>) -> Snapshot {
        let principal = Principal {
            id: "1".into(),
            name: "ann".into(),
            display_name: "ann".into(),
            kind: PrincipalKind::User,
            groups: Vec::new(),
            can_create: false,
        };
        let hash = hash_token("dapi1");
        let token = Token { id: "t".into(), hash, principal: Arc::new(principal), expires_at };
        Snapshot { tokens: Arc::new([(hash, token)].into()), ..Snapshot::default() }
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let credential = Credential(Zeroizing::new("dapi1".into()));
        assert!(authenticate(&snapshot(None), Some(&credential), i64::MAX).is_ok());
        assert!(authenticate(&snapshot(Some(100)), Some(&credential), 99).is_ok());
        assert_eq!(authenticate(&snapshot(Some(100)), Some(&credential), 100).err(), Some(Unknown::BadToken));
    }

    #[test]
    fn the_hash_of_a_token_is_no_token() {
        let hex: String = hash_token("dapi1").iter().map(|b| format!("{b:02x}")).collect();
        let credential = Credential(Zeroizing::new(hex));
        assert_eq!(authenticate(&snapshot(None), Some(&credential), 0).err(), Some(Unknown::BadToken));
        assert_eq!(authenticate(&snapshot(None), None, 0).err(), Some(Unknown::NoCredential));
    }
}
