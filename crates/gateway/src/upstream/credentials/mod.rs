//! What a request is authorised with when it is made: tokens that are got and kept, signatures.

mod aws;
mod cache;
mod exchange;
mod sign;
mod token;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use policy::endpoint::Credentials;
use policy::endpoint::credentials::AwsKeys;
use secrecy::ExposeSecret;

use crate::clock;

pub use aws::AwsEnvironment;

/// What is kept of all that was got, and how more is got.
pub(crate) struct Keeper {
    client: egress::Client,
    tokens: cache::Cache<HeaderValue>,
    chain: aws::Chain,
}

impl Keeper {
    pub(crate) fn new(client: &egress::Client, environment: AwsEnvironment) -> Self {
        Self {
            client: client.clone(),
            tokens: cache::Cache::default(),
            chain: aws::Chain::new(environment, client),
        }
    }
}

/// Why a request cannot be authorised.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    /// The token endpoint refused our credentials, or the signature cannot be made: what is configured is wrong.
    Refused(String),
    /// The token endpoint was not reached, or answered what cannot be read.
    Unreachable(String),
    /// It did not answer in time.
    TimedOut(String),
}

impl Failed {
    /// Whether the keys that asked were refused, and not what was asked for: by the codes of AWS' token
    /// service.
    fn is_about_keys(&self) -> bool {
        let codes = ["ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch"];
        matches!(self, Self::Refused(reason) if codes.iter().any(|code| reason.contains(code)))
    }

    fn reason(&self) -> &str {
        match self {
            Self::Refused(reason) | Self::Unreachable(reason) | Self::TimedOut(reason) => reason,
        }
    }

    fn context(self, what: &str) -> Self {
        match self {
            Self::Refused(reason) => Self::Refused(format!("{what}: {reason}")),
            Self::Unreachable(reason) => Self::Unreachable(format!("{what}: {reason}")),
            Self::TimedOut(reason) => Self::TimedOut(format!("{what}: {reason}")),
        }
    }
}

/// Completes `request`, whose body is `body`.
pub(crate) async fn authorize(
    keeper: &Keeper,
    credentials: &Credentials,
    request: &mut Request<Full<Bytes>>,
    body: &[u8],
) -> Result<(), Failed> {
    match credentials {
        Credentials::InPlace => Ok(()),
        Credentials::Token(grant) => {
            // Apart, since every call would else have room in it for what few do.
            let value = Box::pin(token::bearer(&keeper.tokens, &keeper.client, grant)).await?;
            request.headers_mut().insert(AUTHORIZATION, value);
            Ok(())
        }
        Credentials::Signature(signing) => {
            let keys = match &signing.keys {
                AwsKeys::Given { access_key_id, secret_access_key } => {
                    sign::Keys::new(access_key_id.expose_secret(), secret_access_key.expose_secret(), None)
                }
                AwsKeys::Chain { .. } => Box::pin(keeper.chain.keys(signing)).await?,
            };
            let scope = sign::Scope { region: &signing.region, service: signing.service };
            sign::sign(scope, keys, clock::now(), request, body).map_err(Failed::Refused)
        }
    }
}

/// The upstream refused what was got, `authorization`: the next call gets it anew. Tells whether that may help.
pub(crate) fn discard(
    keeper: &Keeper,
    credentials: &Credentials,
    authorization: &HeaderValue,
    (status, headers): (StatusCode, &HeaderMap),
) -> bool {
    match credentials {
        Credentials::Token(grant) if status == StatusCode::UNAUTHORIZED => {
            keeper.tokens.discard(grant.id, |token| token == authorization);
            true
        }
        Credentials::Signature(signing) if matches!(signing.keys, AwsKeys::Chain { .. }) => {
            let kind = headers.get("x-amzn-errortype").and_then(|kind| kind.to_str().ok());
            let expired =
                status == StatusCode::FORBIDDEN && kind.is_some_and(|kind| kind.starts_with("ExpiredToken"));
            if expired {
                keeper.chain.discard(signing, authorization);
            }
            expired
        }
        _ => false,
    }
}
