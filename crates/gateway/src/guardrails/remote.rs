//! One request to a service that judges, through the client that all calls of upstreams take.

use std::time::Duration;

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Builder;
use http_body_util::Full;
use serde_json::Value;

use crate::Gateway;
use crate::body::{ReadFault, read_upstream};
use crate::decoded::Decoded;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const READ_WITHIN: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 4 << 20;

/// The answer. Errors with what went wrong; `who` is named in it.
pub(super) async fn post(
    gateway: &Gateway,
    who: &str,
    request: Builder,
    body: &Value,
) -> Result<Value, String> {
    let request: Request<_> = request
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .body(Full::new(body.to_string().into()))
        .map_err(|e| format!("{who}: {e}"))?;
    let sent = gateway.inner.client.send(request, CONNECT_WITHIN).await;
    let response = sent.map_err(|failure| format!("{who}: {failure}"))?;
    if !response.status().is_success() {
        return Err(format!("{who} answered {}", response.status()));
    }
    let response = Decoded::of(response).map_err(|encoding| format!("{who} answered in {encoding}"))?;
    let bytes =
        read_upstream(response.into_body(), || MAX_ANSWER, READ_WITHIN).await.map_err(
            |fault| match fault {
                ReadFault::Broken(reason) => format!("{who}: the answer broke off: {reason}"),
                ReadFault::Idle => format!("{who}: the answer stopped"),
                ReadFault::TooLarge => format!("{who}: the answer is too long"),
            },
        )?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{who}: the answer is no JSON: {e}"))
}
