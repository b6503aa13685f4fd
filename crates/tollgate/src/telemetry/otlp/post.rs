//! Sending to the collector: one protobuf message a request, repeated while the collector says to.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;
use tokio::time::Instant;

use super::messages::Exported;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const MAX_ANSWER: usize = 64 << 10;

/// One address of the collector.
#[derive(Debug)]
pub(super) struct Collector {
    client: egress::Client,
    uri: Uri,
    headers: HeaderMap,
    gzip: bool,
    timeout: Duration,
}

impl Collector {
    /// The collector is the administrator's: its address needs no entry in `egress.allow`.
    pub(super) fn new(
        client: &egress::Client,
        uri: Uri,
        own: HeaderMap,
        gzip: bool,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let policy = egress::AddressPolicy::new(&[authority]).context("telemetry.otlp.endpoint")?;
        let mut headers = HeaderMap::new();
        let agent = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.extend(own);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self { client: client.with_policy(policy), uri, headers, gzip, timeout })
    }

    /// Gives how many spans or data points the collector did not take. Errors when all of it is lost.
    pub(super) async fn send(&self, message: &impl Message) -> anyhow::Result<u64> {
        let body = self.body(message)?;
        let (deadline, mut wait) = (Instant::now() + self.timeout, FIRST_WAIT);
        loop {
            let problem = match tokio::time::timeout_at(deadline, self.try_once(&body)).await {
                Err(_) => bail!("no answer within {} ms", self.timeout.as_millis()),
                Ok(Ok(rejected)) => return Ok(rejected),
                Ok(Err(Problem { again: None, reason })) => bail!(reason),
                Ok(Err(problem)) => problem,
            };
            let asked = problem.again.unwrap_or_default().max(wait);
            if Instant::now() + asked >= deadline {
                bail!(problem.reason);
            }
            tokio::time::sleep(asked).await;
            wait *= 2;
        }
    }

    fn body(&self, message: &impl Message) -> anyhow::Result<Bytes> {
        let plain = message.encode_to_vec();
        if !self.gzip {
            return Ok(plain.into());
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain)?;
        Ok(encoder.finish()?.into())
    }

    async fn try_once(&self, body: &Bytes) -> Result<u64, Problem> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let sent = self.client.send(request, CONNECT_WITHIN).await;
        let response = sent.map_err(|e| Problem { again: Some(Duration::ZERO), reason: e.to_string() })?;
        let (status, asked) = (response.status(), retry_after(response.headers()));
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Err(Problem { again: Some(asked.unwrap_or_default()), reason: format!("answered {status}") })
            }
            _ if status.is_success() => Ok(rejected(&body)),
            _ => Err(Problem { again: None, reason: format!("answered {status}") }),
        }
    }
}

/// Why nothing was taken, and after how long it may be tried again; `None` for never.
struct Problem {
    again: Option<Duration>,
    reason: String,
}

/// An answer that cannot be read rejects nothing: some collectors answer in JSON.
fn rejected(body: &[u8]) -> u64 {
    let told = Exported::decode(body).ok().and_then(|exported| exported.partial_success);
    told.map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or_default())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
