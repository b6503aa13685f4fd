//! Access tokens that are signed and not looked up: what this installation's own token endpoint gives out.
//!
//! HS256 with a random key that only this installation's nodes have: nobody else ever needs to verify them,
//! verifying costs microseconds, and there is no public key to publish.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::federation::Federation;
use crate::identity::{Principal, TokenHash};

/// Of the snapshot: who may log in, and how their tokens are verified.
#[derive(Clone, Debug, Default)]
pub struct Oauth {
    /// `None` until the first login made it.
    pub key: Option<SigningKey>,
    /// The active service principals by application id.
    pub clients: HashMap<Arc<str>, Client>,
    /// A company's own identity provider.
    pub federation: Option<Federation>,
}

/// A service principal that may log in.
#[derive(Clone, Debug)]
pub struct Client {
    pub principal: Arc<Principal>,
    /// Tokens of other epochs are revoked.
    pub epoch: i64,
    pub secrets: Vec<ClientSecret>,
}

#[derive(Clone, Debug)]
pub struct ClientSecret {
    pub id: String,
    pub hash: TokenHash,
    /// Milliseconds since the epoch.
    pub expires_at: i64,
}

impl Client {
    /// The secret with this hash, if it is good at `now`. All are compared, each in constant time.
    pub fn secret(&self, hash: &TokenHash, now: i64) -> Option<&ClientSecret> {
        self.secrets.iter().fold(None, |found, secret| {
            let same: bool = secret.hash.ct_eq(hash).into();
            if same && now < secret.expires_at { Some(secret) } else { found }
        })
    }
}

/// What an access token says. Times are in seconds since the epoch, as JWT has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    /// The application id.
    pub sub: String,
    pub iat: i64,
    pub exp: i64,
    pub jti: String,
    /// The revocation epoch of the principal.
    pub epoch: i64,
    /// The id of the client secret that it was got with; the token ends with it.
    pub secret: String,
}

/// Signs and verifies. It shows nothing of the key.
#[derive(Clone)]
pub struct SigningKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    issuer: Arc<str>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// `issuer` is in every token and expected in every token.
    pub fn new(secret: &[u8], issuer: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // Time is an argument here; `Validation` would read the clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            issuer: issuer.into(),
        }
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Errors when the library cannot sign.
    pub fn sign(&self, claims: &Claims) -> Result<String, String> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
            .map_err(|e| e.to_string())
    }

    fn verify(&self, token: &str) -> Option<Claims> {
        jsonwebtoken::decode(token, &self.decoding, &self.validation).ok().map(|data| data.claims)
    }
}

impl Oauth {
    /// Whether `token` has the form of a signed token. One that is looked up has no dot.
    pub(crate) fn is_signed(token: &str) -> bool {
        token.bytes().filter(|b| *b == b'.').count() == 2
    }

    /// Whose token it is, if it is good at `now` (milliseconds since the epoch).
    pub(crate) fn authenticate(&self, token: &str, now: i64) -> Option<Arc<Principal>> {
        // Which of the two it is, its algorithm says; a key never serves another algorithm than its own.
        self.own(token, now).or_else(|| self.federation.as_ref()?.authenticate(token, now))
    }

    fn own(&self, token: &str, now: i64) -> Option<Arc<Principal>> {
        let claims = self.key.as_ref()?.verify(token)?;
        let client = self.clients.get(claims.sub.as_str())?;
        let good = now < claims.exp.saturating_mul(1000) && claims.epoch == client.epoch;
        let good = good && client.secrets.iter().any(|s| s.id == claims.secret);
        good.then(|| Arc::clone(&client.principal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PrincipalKind;

    const ISSUER: &str = "urn:tollgate:1";

    fn secret(id: &str, byte: u8, expires_at: i64) -> ClientSecret {
        ClientSecret { id: id.into(), hash: [byte; 32], expires_at }
    }

    fn oauth() -> Oauth {
        let principal = Principal {
            id: "7".into(),
            name: "app".into(),
            display_name: "robot".into(),
            kind: PrincipalKind::ServicePrincipal,
            groups: Vec::new(),
            can_create: false,
        };
        let client = Client { principal: Arc::new(principal), epoch: 3, secrets: vec![secret("s", 1, 0)] };
        Oauth {
            key: Some(SigningKey::new(&[7; 32], ISSUER)),
            clients: [("app".into(), client)].into(),
            federation: None,
        }
    }

    fn claims() -> Claims {
        let (iss, sub, jti, secret) = (ISSUER.into(), "app".into(), "j".into(), "s".into());
        Claims { iss, sub, iat: 0, exp: 100, jti, epoch: 3, secret }
    }

    fn verdict(claims: &Claims, now: i64) -> bool {
        let oauth = oauth();
        let token = oauth.key.as_ref().unwrap().sign(claims).unwrap();
        assert!(Oauth::is_signed(&token));
        oauth.authenticate(&token, now).is_some()
    }

    #[test]
    fn a_token_is_good_in_its_time_and_its_epoch() {
        assert!(verdict(&claims(), 99_999));
        assert!(!verdict(&claims(), 100_000));
        assert!(!verdict(&Claims { epoch: 2, ..claims() }, 0));
        assert!(!verdict(&Claims { epoch: 4, ..claims() }, 0));
        assert!(!verdict(&Claims { sub: "other".into(), ..claims() }, 0));
        assert!(!verdict(&Claims { secret: "deleted".into(), ..claims() }, 0));
        assert!(!verdict(&Claims { iss: "urn:tollgate:2".into(), ..claims() }, 0));
        assert!(!verdict(&Claims { exp: i64::MIN, ..claims() }, 0));
    }

    #[test]
    fn only_this_key_and_this_algorithm_count() {
        let oauth = oauth();
        let other = SigningKey::new(&[8; 32], ISSUER).sign(&claims()).unwrap();
        assert!(oauth.authenticate(&other, 0).is_none());
        let stronger = jsonwebtoken::encode(
            &Header::new(Algorithm::HS512),
            &claims(),
            &EncodingKey::from_secret(&[7; 32]),
        );
        assert!(oauth.authenticate(&stronger.unwrap(), 0).is_none());
        // {"alg":"none"} with the claims of a good token and no signature.
        let good = oauth.key.as_ref().unwrap().sign(&claims()).unwrap();
        let body = good.split('.').nth(1).unwrap();
        for forged in
            [format!("eyJhbGciOiJub25lIn0.{body}."), format!("{good}x"), "..".into(), "a.b.c".into()]
        {
            assert!(oauth.authenticate(&forged, 0).is_none(), "{forged}");
        }
        assert!(Oauth::default().authenticate(&good, 0).is_none());
    }

    #[test]
    fn a_secret_is_good_until_it_expires() {
        let mut client = oauth().clients["app"].clone();
        client.secrets = vec![secret("a", 1, 10), secret("b", 2, 99)];
        let found = |byte, now| client.secret(&[byte; 32], now).map(|s| s.id.as_str());
        assert_eq!((found(1, 9), found(1, 10)), (Some("a"), None));
        assert_eq!((found(2, 10), found(3, 0)), (Some("b"), None));
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", oauth());
        assert!(!shown.contains("encoding") && !shown.contains("7, 7"), "{shown}");
    }
}
