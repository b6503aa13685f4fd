//! What the machine says about its credentials.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

/// The variables that AWS' own SDKs read. Printing it shows none.
#[derive(Clone)]
pub struct AwsEnvironment {
    /// `AWS_ACCESS_KEY_ID`
    pub access_key_id: Option<SecretString>,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret_access_key: Option<SecretString>,
    /// `AWS_SESSION_TOKEN`
    pub session_token: Option<SecretString>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`
    pub web_identity_token_file: Option<PathBuf>,
    /// `AWS_ROLE_ARN`
    pub role_arn: Option<String>,
    /// `AWS_ROLE_SESSION_NAME`
    pub role_session_name: Option<String>,
    /// `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`
    pub container_relative_uri: Option<String>,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`
    pub container_full_uri: Option<String>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN`
    pub container_token: Option<SecretString>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`
    pub container_token_file: Option<PathBuf>,
    /// `AWS_EC2_METADATA_DISABLED`
    pub metadata_disabled: bool,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`
    pub metadata_endpoint: String,
    /// What a relative URI is relative to.
    pub container_endpoint: String,
}

impl Default for AwsEnvironment {
    fn default() -> Self {
        Self {
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            web_identity_token_file: None,
            role_arn: None,
            role_session_name: None,
            container_relative_uri: None,
            container_full_uri: None,
            container_token: None,
            container_token_file: None,
            metadata_disabled: false,
            metadata_endpoint: "http://169.254.169.254".to_owned(),
            container_endpoint: "http://169.254.170.2".to_owned(),
        }
    }
}

impl fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsEnvironment").finish_non_exhaustive()
    }
}
