//! One attempt: encode for the entity, send, and tell what came back.

mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use egress::Failure;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use hyper::body::Incoming;
use journal::{CountedUsage, Provenance};
use policy::{Endpoint, Entity};
use providers::UpstreamError;
use wire::error::ApiError;
use wire::raw::RawObject;
use wire::usage::Usage;

use crate::body::{ReadFault, read_up_to, read_upstream};
use crate::call::Call;
use crate::error::{At, ServeError, retry_after};
use crate::estimate::{Lengths, characters, characters_of};
use crate::stream::{Relay, Upstream};
use crate::{Gateway, clock};
use request::Prepared;

/// Longest unstreamed answer that is taken from an upstream.
const MAX_ANSWER: usize = 64 << 20;
/// Longest error body that is read, and the longest wait for a piece of it: it is for people, and the
/// status that decides is known before it.
const MAX_ERROR: usize = 256 << 10;
const MAX_ERROR_WAIT: Duration = Duration::from_secs(2);

/// Stands in for an error body that is compressed, which was not asked for and is not read.
const COMPRESSED_ERROR: &[u8] = b"(the body of the error is compressed)";

/// An answer that may go to the client.
pub(crate) struct Success {
    pub(crate) status: u16,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Which entity of the endpoint.
    pub(crate) entity: usize,
    pub(crate) body: SuccessBody,
}

pub(crate) enum SuccessBody {
    Whole {
        body: Bytes,
        usage: Box<CountedUsage>,
    },
    /// Its first event has been seen; `ready` is what it gave for the client.
    Stream {
        upstream: Box<Upstream>,
        ready: BytesMut,
    },
}

pub(crate) async fn attempt(gateway: &Gateway, call: &Call<'_>, at: usize) -> Result<Success, ServeError> {
    let entity = &call.endpoint.entities[at];
    let prepared = request::prepare(call, entity)?;
    let place = At { provider: entity.provider_name, entity: Arc::clone(&entity.name) };
    let limit = entity.timeouts.first_byte;
    let deadline = tokio::time::Instant::now() + limit;
    let first = async {
        let response = send(gateway, entity, &prepared, &place).await?;
        let response = refuse_errors(response, &prepared, &place, entity).await?;
        if !call.stream {
            return Ok(First::Whole(response));
        }
        let upstream = Upstream::new(
            response.into_body(),
            relay(call, at, &prepared),
            entity.timeouts.idle,
            place.clone(),
        );
        upstream.first_event().await.map(|(upstream, ready)| First::Stream(Box::new(upstream), ready))
    };
    let first = match tokio::time::timeout_at(deadline, first).await {
        Ok(first) => first?,
        Err(_) => return Err(timed_out(place, "no first byte", limit)),
    };
    let body = match first {
        First::Stream(upstream, ready) => SuccessBody::Stream { upstream, ready },
        First::Whole(response) => whole(response, call, &prepared, &place, entity).await?,
    };
    Ok(Success { status: 200, endpoint: Arc::clone(&call.endpoint), entity: at, body })
}

enum First {
    Whole(Response<Incoming>),
    Stream(Box<Upstream>, BytesMut),
}

fn timed_out(at: At, what: &str, limit: Duration) -> ServeError {
    ServeError::TimedOut { at, reason: format!("{what} within {} ms", limit.as_millis()) }
}

async fn send(
    gateway: &Gateway,
    entity: &Entity,
    prepared: &Prepared<'_>,
    at: &At,
) -> Result<Response<Incoming>, ServeError> {
    let request = prepared.request()?;
    gateway.inner.client.send(request, entity.timeouts.connect).await.map_err(|failure| match failure {
        Failure::TimedOut(reason) => ServeError::TimedOut { at: at.clone(), reason },
        Failure::Connect(reason)
        | Failure::Denied(reason)
        | Failure::Tls(reason)
        | Failure::Broken(reason) => ServeError::Broken { at: at.clone(), reason },
    })
}

/// Everything but a success is an error of the upstream; a redirect too, since following one would send
/// the credentials elsewhere.
async fn refuse_errors(
    response: Response<Incoming>,
    prepared: &Prepared<'_>,
    at: &At,
    entity: &Entity,
) -> Result<Response<Incoming>, ServeError> {
    let status = response.status().as_u16();
    match status {
        200..=299 if is_encoded(&response) => {
            let reason = "the answer is compressed, which was not asked for".to_owned();
            Err(ServeError::Broken { at: at.clone(), reason })
        }
        200..=299 => Ok(response),
        400.. => {
            let wait = retry_after(response.headers().get(RETRY_AFTER));
            let encoded = is_encoded(&response);
            // The status has been said, and decides about fallback: a body that is too long, breaks off
            // or hangs takes nothing from it.
            let idle = entity.timeouts.idle.min(MAX_ERROR_WAIT);
            let (body, _) = read_up_to(response.into_body(), MAX_ERROR, idle).await;
            let body = if encoded { Bytes::from_static(COMPRESSED_ERROR) } else { body };
            let error = Box::new(prepared.codec.error(status, &body));
            Err(ServeError::Upstream { at: at.clone(), error, retry_after: wait })
        }
        _ => {
            let reason =
                format!("the upstream answered {status}; redirects are not followed, correct the base url");
            Err(ServeError::Broken { at: at.clone(), reason })
        }
    }
}

fn is_encoded(response: &Response<Incoming>) -> bool {
    response.headers().get(CONTENT_ENCODING).is_some_and(|v| v != "identity" && !v.is_empty())
}

async fn read(body: Incoming, limit: usize, entity: &Entity, at: &At) -> Result<Bytes, ServeError> {
    let idle = entity.timeouts.idle;
    read_upstream(body, limit, idle).await.map_err(|fault| {
        let reason = match fault {
            ReadFault::Idle => return timed_out(at.clone(), "the answer stopped: no more of it", idle),
            ReadFault::Broken(reason) => format!("the answer broke off: {reason}"),
            ReadFault::TooLarge => format!("the answer is longer than {limit} bytes"),
        };
        ServeError::Broken { at: at.clone(), reason }
    })
}

fn relay(call: &Call<'_>, at: usize, prepared: &Prepared<'_>) -> Relay {
    let lengths = Lengths::of_request(&call.body);
    if let Some(names) = prepared.names.clone() {
        return Relay::translated(prepared.codec.stream(), names, clock::now_ms() / 1000, lengths);
    }
    let endpoint = Arc::clone(&call.endpoint);
    Relay::hub(
        lengths,
        Box::new(move |data| match endpoint.entities[at].provider.splice() {
            Some(codec) => codec.error(0, data),
            None => UpstreamError::read(502, data, |_| None),
        }),
    )
}

async fn whole(
    response: Response<Incoming>,
    call: &Call<'_>,
    prepared: &Prepared<'_>,
    at: &At,
    entity: &Entity,
) -> Result<SuccessBody, ServeError> {
    let is_json = content_type_is_json(&response);
    let bytes = read(response.into_body(), MAX_ANSWER, entity, at).await?;
    let malformed = |reason: String| ServeError::Broken {
        at: at.clone(),
        reason: format!("the upstream's answer cannot be read: {reason}"),
    };
    let Some(names) = &prepared.names else {
        let object = RawObject::parse(&bytes).map_err(|e| {
            let hint = if is_json { "" } else { " (it is not declared as JSON either)" };
            malformed(format!("{e}{hint}"))
        })?;
        if is_error(&object) {
            let error = Box::new(prepared.codec.error(0, &bytes));
            return Err(ServeError::Upstream { at: at.clone(), error, retry_after: None });
        }
        let usage = object.get::<Usage>("usage").ok().flatten();
        // A usage that cannot be read is a missing one.
        let usage =
            usage.map_or_else(|| estimated(call, object.raw("choices").map_or(0, characters)), reported);
        return Ok(SuccessBody::Whole { usage, body: bytes });
    };
    let mut response = prepared.codec.decode(&bytes).map_err(|e| malformed(e.to_string()))?;
    names.restore_response(&mut response);
    if response.created == 0 {
        response.created = clock::now_ms() / 1000;
    }
    let body = serde_json::to_vec(&response).map_err(|e| ApiError::internal(e.to_string()))?;
    let usage =
        response.usage.take().map_or_else(|| estimated(call, characters_of(&response.choices)), reported);
    Ok(SuccessBody::Whole { usage, body: body.into() })
}

/// Some engines answer 200 with an error in place of what was asked for.
fn is_error(answer: &RawObject<'_>) -> bool {
    let has = |key: &str| answer.raw(key).is_some_and(|raw| raw.get() != "null");
    let says = has("error") || answer.get::<&str>("object").is_ok_and(|kind| kind == Some("error"));
    says && !has("choices") && !has("data")
}

fn estimated(call: &Call<'_>, answer: u64) -> Box<CountedUsage> {
    Box::new(Lengths { answer, ..Lengths::of_request(&call.body) }.counted())
}

fn content_type_is_json(response: &Response<Incoming>) -> bool {
    let value = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    value.is_some_and(|v| v.contains("json"))
}

fn reported(usage: Usage) -> Box<CountedUsage> {
    Box::new(CountedUsage { usage, provenance: Provenance::Provider })
}
