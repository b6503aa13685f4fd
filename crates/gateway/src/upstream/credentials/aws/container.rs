//! Containers of ECS and pods of EKS: an agent beside them gives the credentials.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};

use super::{AwsEnvironment, Given, Holder};
use crate::upstream::credentials::cache::Kept;
use crate::upstream::credentials::{Failed, exchange};

/// Where the agent is, when there is one.
pub(super) fn url(environment: &AwsEnvironment) -> Option<String> {
    let relative = environment.container_relative_uri.as_ref();
    relative
        .map(|path| format!("{}{path}", environment.container_endpoint))
        .or_else(|| environment.container_full_uri.clone())
}

pub(super) async fn get(
    sources: &egress::Client,
    environment: &AwsEnvironment,
    url: &str,
) -> Result<Kept<Holder>, Failed> {
    let source = format!("the container's source of credentials {url}");
    let refused = |reason: &str| Failed::Refused(format!("{source}: {reason}"));
    let mut request = Request::get(url)
        .header(ACCEPT, "application/json")
        .body(Full::new(Bytes::new()))
        .map_err(|e| refused(&format!("this is no URL: {e}")))?;
    if let Some(token) = token(environment).await? {
        let mut value = HeaderValue::from_str(token.expose_secret().trim())
            .map_err(|_| refused("its authorization token is no header value"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let (status, body) = exchange::send(sources, &source, request).await?;
    if !status.is_success() {
        return Err(exchange::refusal(&source, status, ""));
    }
    Given::read(&source, &body, None)
}

/// The file is read anew each time: its token is short-lived.
async fn token(environment: &AwsEnvironment) -> Result<Option<SecretString>, Failed> {
    let Some(file) = &environment.container_token_file else {
        return Ok(environment.container_token.clone());
    };
    let read = tokio::fs::read_to_string(file).await;
    let text = read.map_err(|e| Failed::Refused(format!("cannot read {}: {e}", file.display())))?;
    Ok(Some(text.into()))
}
