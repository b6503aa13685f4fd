//! Tokens of a company's own identity provider: JWTs that a configured issuer signed.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::identity::{ADMINS, Principal, PrincipalKind};

/// How far the issuer's clock may be ahead, in seconds.
const LEEWAY: f64 = 60.0;
const MAX_NAME: usize = 256;

/// Which tokens count, and what is read of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub issuer: String,
    pub audience: String,
    pub user_claim: String,
    pub groups_claim: String,
    /// Whether a user who is not known yet is let in, and made.
    pub provision: bool,
}

/// What a verification finds missing. Whoever looks after the snapshot hears of it; the call itself does
/// not wait.
pub trait Wants: Send + Sync {
    /// A token names a key that is not here.
    fn key(&self);
    /// A user was let in who is not stored yet.
    fn user(&self, name: &str);
}

/// The issuer's public keys by id. RS256 and ES256 alone: what an attacker could make with a public key,
/// HS256, is no key here, and neither is "none".
#[derive(Clone, Default)]
pub struct Keys(HashMap<String, (Algorithm, DecodingKey)>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keys").field(&self.0.keys()).finish()
    }
}

impl Keys {
    /// Reads a JWK set; keys of other kinds are passed over. Errors when it is no set.
    pub fn read(set: &Value) -> Result<Self, String> {
        let keys = set.get("keys").and_then(Value::as_array).ok_or("it has no list `keys`")?;
        Ok(Self(keys.iter().filter_map(|key| read_key(key.clone())).collect()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A token without a key id is the only key's.
    fn get(&self, id: Option<&str>) -> Option<&(Algorithm, DecodingKey)> {
        match id {
            Some(id) => self.0.get(id),
            None if self.0.len() == 1 => self.0.values().next(),
            None => None,
        }
    }
}

fn read_key(key: Value) -> Option<(String, (Algorithm, DecodingKey))> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let common = &jwk.common;
    let says_other = common.key_algorithm.is_some_and(|other| other != named);
    let encrypts = common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature);
    if says_other || encrypts {
        return None;
    }
    let id = common.key_id.clone().unwrap_or_default();
    Some((id, (algorithm, DecodingKey::from_jwk(&jwk).ok()?)))
}

/// A group and all that it is in.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    pub groups: Vec<Arc<str>>,
    pub can_create: bool,
}

/// Of the snapshot: the issuer, and whom its tokens may stand for.
#[derive(Clone)]
pub struct Federation {
    pub rules: Arc<Rules>,
    pub keys: Arc<Keys>,
    /// By name in lower case. `None` is a name that nobody gets in by: a deactivated user's, or a group's.
    pub users: HashMap<String, Option<Arc<Principal>>>,
    /// What membership in a group, by its name, gives.
    pub groups: HashMap<String, Reach>,
    /// What everybody has.
    pub everybody: Reach,
    pub wants: Arc<dyn Wants>,
}

impl std::fmt::Debug for Federation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Federation")
            .field("rules", &self.rules)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Federation {
    /// Whose token it is, if it is good at `now` (milliseconds since the epoch).
    pub(crate) fn authenticate(&self, token: &str, now: i64) -> Option<Arc<Principal>> {
        let claims = self.verify(token, now)?;
        let name = self.user_name(&claims)?;
        let base = match self.users.get(&name.to_lowercase()) {
            Some(known) => Arc::clone(known.as_ref()?),
            None if self.rules.provision => {
                self.wants.user(name);
                self.newcomer(name)
            }
            None => return None,
        };
        Some(self.with_groups(base, &claims))
    }

    fn verify(&self, token: &str, now: i64) -> Option<Map<String, Value>> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return None;
        }
        let Some((algorithm, key)) = self.keys.get(header.kid.as_deref()) else {
            self.wants.key();
            return None;
        };
        let mut validation = Validation::new(*algorithm);
        validation.set_issuer(&[&self.rules.issuer]);
        validation.set_audience(&[&self.rules.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Time is an argument here; `Validation` would read the clock.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation).ok()?.claims;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch have 41 bits")]
        let now = now as f64 / 1000.0;
        let expires = claims.get("exp")?.as_f64()?;
        let begins = claims.get("nbf").and_then(Value::as_f64).unwrap_or(f64::MIN);
        (now < expires && begins <= now + LEEWAY).then_some(claims)
    }

    fn user_name<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c str> {
        let name = claims.get(&self.rules.user_claim)?.as_str()?.trim();
        // Anybody can claim an address that nobody checked.
        let unchecked =
            self.rules.user_claim == "email" && claims.get("email_verified") == Some(&Value::Bool(false));
        let legal = !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
        (legal && !unchecked).then_some(name)
    }

    fn newcomer(&self, name: &str) -> Arc<Principal> {
        Arc::new(Principal {
            id: "".into(),
            name: name.into(),
            display_name: name.into(),
            kind: PrincipalKind::User,
            groups: self.everybody.groups.clone(),
            can_create: self.everybody.can_create,
        })
    }

    /// Adds the groups that the token names and that are known here. `admins` is not given by a token: who
    /// wants that puts a group of the issuer's into `admins`.
    fn with_groups(&self, base: Arc<Principal>, claims: &Map<String, Value>) -> Arc<Principal> {
        let named: Vec<&str> = match claims.get(&self.rules.groups_claim) {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(name)) => vec![name],
            _ => return base,
        };
        let reached: Vec<&Reach> = named
            .into_iter()
            .filter(|name| *name != ADMINS)
            .filter_map(|name| self.groups.get(name))
            .collect();
        if reached.is_empty() {
            return base;
        }
        let mut principal = Principal::clone(&base);
        for reach in reached {
            principal.groups.extend(reach.groups.iter().cloned());
            principal.can_create |= reach.can_create;
        }
        principal.groups.sort();
        principal.groups.dedup();
        Arc::new(principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A P-256 key made for these tests.
    static PRIVATE: LazyLock<String> = LazyLock::new(|| rcgen::KeyPair::generate().unwrap().serialize_pem());

    #[derive(Default)]
    struct Counted(AtomicUsize, AtomicUsize);

    impl Wants for Counted {
        fn key(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn user(&self, _name: &str) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn signer() -> EncodingKey {
        EncodingKey::from_ec_pem(PRIVATE.as_bytes()).unwrap()
    }

    fn keys() -> Keys {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&signer(), Algorithm::ES256).unwrap()).unwrap();
        jwk["kid"] = json!("k1");
        // Keys that do not count do no harm.
        let others =
            [json!({"kty": "oct", "k": "AAAA", "kid": "k2"}), json!({"kty": "new", "kid": "k3"}), json!(7)];
        let set = json!({"keys": [others[0], jwk, others[1], others[2]]});
        let keys = Keys::read(&set).unwrap();
        assert_eq!(keys.len(), 1);
        keys
    }

    fn federation(provision: bool) -> (Federation, Arc<Counted>) {
        let rules = Rules {
            issuer: "https://idp".into(),
            audience: "tollgate".into(),
            user_claim: "email".into(),
            groups_claim: "groups".into(),
            provision,
        };
        let ann = Principal {
            id: "1".into(),
            name: "Ann@x.org".into(),
            display_name: "Ann".into(),
            kind: PrincipalKind::User,
            groups: vec!["users".into()],
            can_create: false,
        };
        let reach = |names: &[&str], can_create| Reach {
            groups: names.iter().map(|n| (*n).into()).collect(),
            can_create,
        };
        let wants = Arc::new(Counted::default());
        let federation = Federation {
            rules: Arc::new(rules),
            keys: Arc::new(keys()),
            users: [("ann@x.org".to_owned(), Some(Arc::new(ann))), ("off@x.org".to_owned(), None)].into(),
            groups: [
                ("dev".to_owned(), reach(&["dev", "outer"], true)),
                ("admins".to_owned(), reach(&["admins"], true)),
            ]
            .into(),
            everybody: reach(&["users"], false),
            wants: Arc::clone(&wants) as Arc<dyn Wants>,
        };
        (federation, wants)
    }

    fn claims() -> Value {
        json!({"iss": "https://idp", "aud": "tollgate", "exp": 100, "email": "ann@X.org", "groups": ["dev", "admins", "other"]})
    }

    fn sign(claims: &Value, kid: &str) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &signer()).unwrap()
    }

    #[test]
    fn a_known_user_gets_in_with_the_groups_that_are_known() {
        let (federation, _) = federation(false);
        let ann = federation.authenticate(&sign(&claims(), "k1"), 99_999).unwrap();
        assert_eq!(ann.id.as_ref(), "1");
        let groups: Vec<&str> = ann.groups.iter().map(AsRef::as_ref).collect();
        assert_eq!(groups, ["dev", "outer", "users"]);
        assert!(ann.can_create && !ann.is_admin());
    }

    #[test]
    fn what_is_not_right_is_refused() {
        let (federation, wants) = federation(false);
        for (key, value) in [
            ("iss", json!("https://other")),
            ("aud", json!("other")),
            ("aud", Value::Null),
            ("exp", json!(99)),
            ("exp", json!("100")),
            ("exp", Value::Null),
            ("nbf", json!(200)),
            ("email", json!("bob@x.org")),
            ("email", json!("off@x.org")),
            ("email", json!(["ann@x.org"])),
            ("email", json!("")),
            ("email_verified", json!(false)),
        ] {
            let mut claims = claims();
            claims[key] = value.clone();
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(key);
            }
            assert!(federation.authenticate(&sign(&claims, "k1"), 99_000).is_none(), "{key} {value}");
        }
        assert!(federation.authenticate(&sign(&claims(), "k1"), 99_000).is_some());
        assert_eq!(wants.0.load(Ordering::Relaxed), 0);
        assert!(federation.authenticate(&sign(&claims(), "k9"), 99_000).is_none());
        assert_eq!(wants.0.load(Ordering::Relaxed), 1, "an unknown key is asked for");
    }

    #[test]
    fn a_public_key_is_no_secret_to_sign_with() {
        let (federation, _) = federation(false);
        let public =
            serde_json::to_vec(&Jwk::from_encoding_key(&signer(), Algorithm::ES256).unwrap()).unwrap();
        for key in [public.as_slice(), PRIVATE.as_bytes(), b""] {
            let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
            let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(key)).unwrap();
            assert!(federation.authenticate(&token, 0).is_none());
        }
        let good = sign(&claims(), "k1");
        let parts: Vec<&str> = good.split('.').collect();
        assert!(federation.authenticate(&format!("eyJhbGciOiJub25lIn0.{}.", parts[1]), 0).is_none());
        assert!(federation.authenticate(&format!("{}.{}.{}", parts[0], parts[1], "AAAA"), 0).is_none());
    }

    #[test]
    fn newcomers_are_let_in_only_when_configured() {
        let mut claims = claims();
        claims["email"] = json!("new@x.org");
        let (closed, wants) = federation(false);
        assert!(closed.authenticate(&sign(&claims, "k1"), 0).is_none());
        assert_eq!(wants.1.load(Ordering::Relaxed), 0);
        let (open, wants) = federation(true);
        let new = open.authenticate(&sign(&claims, "k1"), 0).unwrap();
        assert_eq!((new.id.as_ref(), new.name.as_ref()), ("", "new@x.org"));
        assert_eq!(wants.1.load(Ordering::Relaxed), 1);
        claims["email"] = json!("OFF@x.org");
        assert!(open.authenticate(&sign(&claims, "k1"), 0).is_none());
    }
}
