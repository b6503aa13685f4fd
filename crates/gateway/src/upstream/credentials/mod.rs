//! What a request is authorised with when it is made: tokens that are got and kept, signatures.

mod sign;
mod token;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use http_body_util::Full;
use policy::endpoint::Credentials;
use policy::endpoint::credentials::AwsKeys;

use crate::clock;

pub(crate) use token::Tokens;

/// Why a request cannot be authorised.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The token endpoint refused our credentials, or the signature cannot be made: what is configured is wrong.
    Refused(String),
    /// The token endpoint was not reached, or answered what cannot be read.
    Unreachable(String),
    /// It did not answer in time.
    TimedOut(String),
}

/// Completes `request`, whose body is `body`.
pub(crate) async fn authorize(
    tokens: &Tokens,
    client: &egress::Client,
    credentials: &Credentials,
    request: &mut Request<Full<Bytes>>,
    body: &[u8],
) -> Result<(), Failed> {
    match credentials {
        Credentials::InPlace => Ok(()),
        Credentials::Token(grant) => {
            let value = tokens.bearer(client, grant).await?;
            request.headers_mut().insert(AUTHORIZATION, value);
            Ok(())
        }
        Credentials::Signature(signing) => {
            let keys = match &signing.keys {
                AwsKeys::Given { access_key_id, secret_access_key } => {
                    sign::Keys::new(access_key_id, secret_access_key, None)
                }
                AwsKeys::Chain { .. } => {
                    return Err(Failed::Refused("no credentials of the machine are configured".to_owned()));
                }
            };
            sign::sign(signing, keys, clock::now(), request, body).map_err(Failed::Refused)
        }
    }
}

/// The upstream refused a token: the next call gets a new one. Tells whether that may help.
pub(crate) fn discard(tokens: &Tokens, credentials: &Credentials, refused: &HeaderValue) -> bool {
    match credentials {
        Credentials::Token(grant) => tokens.discard(grant, refused),
        Credentials::InPlace | Credentials::Signature(_) => false,
    }
}
