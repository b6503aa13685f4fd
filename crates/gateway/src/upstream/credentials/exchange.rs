//! One request to whoever gives credentials.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;

use super::Failed;
use crate::body::read_up_to;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const READ_WITHIN: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 64 << 10;

/// Status and body; `source` is named in what went wrong.
pub(super) async fn send(
    client: &egress::Client,
    source: &str,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Failed> {
    let response = client.send(request, CONNECT_WITHIN).await.map_err(|failure| {
        let reason = format!("{source}: {failure}");
        match failure {
            egress::Failure::TimedOut(_) => Failed::TimedOut(reason),
            _ => Failed::Unreachable(reason),
        }
    })?;
    let status = response.status();
    let (body, _) = read_up_to(response.into_body(), || MAX_ANSWER, READ_WITHIN).await;
    Ok((status, body))
}

/// What a status that is no success means; `words` are the source's own, and hold no secret.
pub(super) fn refusal(source: &str, status: StatusCode, words: &str) -> Failed {
    let mut words = words.to_owned();
    words.truncate(words.floor_char_boundary(500));
    let words = if words.is_empty() { "it does not say why" } else { &words };
    let reason = format!("{source} answered {status}: {words}");
    let ours = status.is_client_error() && status.as_u16() != 429;
    if ours { Failed::Refused(reason) } else { Failed::Unreachable(reason) }
}
