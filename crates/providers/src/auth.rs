//! How calls are authorised: data that names secrets and holds none. The gateway acts on it.

use crate::secret::SecretRef;

/// How a call is authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    /// `Authorization: Bearer <secret>`.
    Bearer(SecretRef),
    /// The secret as the value of a header; the name in lower case.
    Header(String, SecretRef),
    /// AWS Signature Version 4 over the bytes that are sent.
    SigV4(SigV4),
    /// A token of Microsoft Entra ID, got with client credentials.
    EntraId(EntraId),
    /// A token of Google, got with the key of a service account.
    GoogleServiceAccount(GoogleServiceAccount),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigV4 {
    pub region: String,
    /// The name that is signed for, which is not always that of the host.
    pub service: &'static str,
    pub credentials: AwsCredentials,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsCredentials {
    Keys {
        access_key_id: SecretRef,
        secret_access_key: SecretRef,
    },
    /// What the machine has: variables, a web identity, its container's or its instance's role.
    Chain {
        /// The role to assume with them; none when they are used as they are.
        role_arn: Option<String>,
        /// The instance profile that is asked for: when the machine runs under it, no role is assumed.
        instance_profile_arn: Option<String>,
        /// Stands in for the public address of the token service of the region.
        sts_endpoint: Option<String>,
    },
}

/// `POST <authority>/<tenant>/oauth2/v2.0/token`; see Microsoft's "OAuth 2.0 client credentials flow".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraId {
    pub authority: String,
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: SecretRef,
    pub scope: &'static str,
}

/// A signed assertion exchanged at the key's `token_uri`; see Google's "OAuth 2.0 for server to server
/// applications" and RFC 7523.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleServiceAccount {
    /// The JSON of the service account.
    pub key: SecretRef,
    pub scope: &'static str,
    /// Goes before the `token_uri` of the key.
    pub token_uri: Option<String>,
}

impl Auth {
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer(secret) | Self::Header(_, secret) => vec![secret],
            Self::SigV4(SigV4 { credentials, .. }) => match credentials {
                AwsCredentials::Keys { access_key_id, secret_access_key } => {
                    vec![access_key_id, secret_access_key]
                }
                AwsCredentials::Chain { .. } => Vec::new(),
            },
            Self::EntraId(entra) => vec![&entra.client_secret],
            Self::GoogleServiceAccount(account) => vec![&account.key],
        }
    }
}
