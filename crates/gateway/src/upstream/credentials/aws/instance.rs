//! EC2's instance metadata service, version 2.

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde::Deserialize;

use super::{Given, Holder};
use crate::upstream::credentials::cache::Kept;
use crate::upstream::credentials::{Failed, exchange};

const CREDENTIALS: &str = "latest/meta-data/iam/security-credentials/";
const INFO: &str = "latest/meta-data/iam/info";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    instance_profile_arn: String,
}

pub(super) async fn get(sources: &egress::Client, endpoint: &str) -> Result<Kept<Holder>, Failed> {
    let service = Service { sources, endpoint: endpoint.trim_end_matches('/') };
    let lifetime = HeaderValue::from_static("21600");
    let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", lifetime);
    let token = service.ask(Method::PUT, "latest/api/token", lifetime).await?;
    let mut token = HeaderValue::from_maybe_shared(token)
        .map_err(|_| Failed::Unreachable(format!("{} gave no usable token", service.name())))?;
    token.set_sensitive(true);
    let read =
        async |path: &str| service.ask(Method::GET, path, ("x-aws-ec2-metadata-token", token.clone())).await;
    let names = read(CREDENTIALS).await?;
    let names = String::from_utf8_lossy(&names);
    let role = names.lines().next().unwrap_or_default().trim();
    if role.is_empty() {
        return Err(Failed::Refused(format!("{}: this machine has no role", service.name())));
    }
    let keys = read(&format!("{CREDENTIALS}{role}")).await?;
    // Only to know whether the profile that is asked for is this one.
    let info = read(INFO).await.ok().and_then(|body| serde_json::from_slice::<Info>(&body).ok());
    Given::read(&service.name(), &keys, info.map(|info| info.instance_profile_arn))
}

struct Service<'a> {
    sources: &'a egress::Client,
    endpoint: &'a str,
}

impl Service<'_> {
    fn name(&self) -> String {
        format!("the instance metadata service {}", self.endpoint)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        (name, value): (&'static str, HeaderValue),
    ) -> Result<Bytes, Failed> {
        let request = Request::builder().method(method).uri(format!("{}/{path}", self.endpoint));
        let request = request
            .header(name, value)
            .body(Full::new(Bytes::new()))
            .map_err(|e| Failed::Refused(format!("{}: {e}", self.name())))?;
        let (status, body) = exchange::send(self.sources, &self.name(), request).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(exchange::refusal(&format!("{} at {path}", self.name()), status, ""))
    }
}
