//! One attempt: encode for the entity, send, and tell what came back.

mod answer;
mod credentials;
mod defaults;
mod embeddings;
mod optional;
mod request;
mod unkeyed;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use egress::Failure;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use journal::CountedUsage;
use journal::trace::SpanId;
use policy::{Endpoint, Entity};
use providers::{Codec, EmbeddingsCodec, Framing, NativeCall, Task, UpstreamError};
use tokio::time::Instant;
use wire::embeddings::EmbeddingsRequest;
use wire::error::ApiError;

use crate::body::{ReadFault, read_up_to, read_upstream};
use crate::call::Call;
use crate::decoded::Decoded;
use crate::dialect::{ClientFraming, Dialect, Passage, asks_for_usage};
use crate::error::{At, ServeError, retry_after};
use crate::estimate::Lengths;
use crate::stored::{self, Carried};
use crate::stream::{Origin, Passed, Relay, Translated, Unwrap, Upstream};
use crate::{Gateway, clock, drain, inference, limits};
use request::{Format, Optional, Prepared};

pub use credentials::AwsEnvironment;
pub(crate) use credentials::Keeper;
pub(crate) use optional::Refusing;

/// Longest unstreamed answer that is taken from an upstream, in bytes; embeddings have a bound of their own.
const MAX_ANSWER: usize = 64 << 20;
/// Longest error body that is read, and the longest wait for a piece of it: it is for people, and the
/// status that decides is known before it.
const MAX_ERROR: usize = 256 << 10;
const MAX_ERROR_WAIT: Duration = Duration::from_secs(2);

/// Parts of one request for embeddings that are under way at once.
const PARTS_AT_ONCE: usize = 8;

/// Headers in which an upstream tells its id of a call.
const REQUEST_IDS: [&str; 1] = ["x-amzn-requestid"];

/// Stands in for an error body that cannot be read for its compression.
const COMPRESSED_ERROR: &[u8] = b"(the body of the error is compressed)";

/// An answer that may go to the client.
pub(crate) struct Success {
    /// What the upstream said of the last that it was asked; `None` where it was not asked.
    pub(crate) status: Option<u16>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Which entity of the endpoint.
    pub(crate) entity: usize,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) body: SuccessBody,
}

pub(crate) enum SuccessBody {
    Whole {
        body: Bytes,
        /// `None` where nothing was used, as in counting.
        usage: Option<Box<CountedUsage>>,
        /// Characters that the model wrote; `None` where it is none that writes.
        written: Option<u64>,
    },
    /// Its first event has been seen; `ready` is what it gave for the client.
    Stream { upstream: Box<Upstream>, ready: BytesMut },
}

/// `span` is the attempt's own in the trace of the call.
pub(crate) async fn attempt(
    gateway: &Gateway,
    call: &Call<'_>,
    at: usize,
    span: Option<SpanId>,
) -> Result<Success, ServeError> {
    let entity = &call.endpoint.entities[at];
    let only_counts = call.dialect.counts();
    let speaks =
        || call.dialect.passage().is_some_and(|passage| entity.native(passage.call, false).is_some());
    let (status, body) = if only_counts && !speaks() {
        (None, counted(call)?)
    } else {
        match ask(gateway, call, at, span).await {
            // It speaks the format and has no such route.
            Err(error) if only_counts && matches!(error.upstream_status(), Some(404 | 405 | 501)) => {
                (error.upstream_status(), counted(call)?)
            }
            asked => (Some(200), asked?),
        }
    };
    let endpoint = Arc::clone(&call.endpoint);
    Ok(Success { status, endpoint, entity: at, dialect: call.dialect, body })
}

/// Errors when the entity cannot be asked for `call`, without asking it.
pub(crate) fn check(call: &Call<'_>, at: usize) -> Result<(), ServeError> {
    request::prepare(call, at, Optional::Sent).map(drop)
}

async fn ask(
    gateway: &Gateway,
    call: &Call<'_>,
    at: usize,
    span: Option<SpanId>,
) -> Result<SuccessBody, ServeError> {
    let entity = &call.endpoint.entities[at];
    let refusing = &gateway.inner.refusing;
    let (started, mut refused) = (Instant::now(), None);
    loop {
        let optional = if refused.is_some() { Optional::LeftOut } else { Optional::UnlessRefused(refusing) };
        let prepared = request::prepare(call, at, optional)?;
        let fields = prepared.optional;
        let asking =
            Asking { gateway, call, entity, entity_at: at, prepared, at: At::of(entity), span, started };
        let asked = match (call.stream, asking.prepared.bodies.as_slice()) {
            (true, [body, ..]) => asking.stream(body).await,
            _ => asking.whole().await,
        };
        match asked {
            Err(error) if optional::refuses(&error, fields) && !call.is_left() => refused = Some(fields),
            asked => {
                // Not before it is seen that a field was at fault.
                if let (Some(fields), Ok(_)) = (refused, &asked) {
                    refusing.add(entity, fields);
                }
                return asked;
            }
        }
    }
}

/// The length of the prompt, estimated, for those who do not count.
fn counted(call: &Call<'_>) -> Result<SuccessBody, ServeError> {
    // What cannot be read has no length.
    call.dialect.request(&call.body)?;
    let tokens = Lengths::of_request(&call.body).usage().prompt_tokens;
    let answer = call.dialect.counted(tokens);
    let body = serde_json::to_vec(&answer).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(SuccessBody::Whole { body: body.into(), usage: None, written: None })
}

/// One attempt under way.
struct Asking<'a> {
    gateway: &'a Gateway,
    call: &'a Call<'a>,
    entity: &'a Entity,
    /// Which one of the endpoint.
    entity_at: usize,
    prepared: Prepared<'a>,
    at: At,
    span: Option<SpanId>,
    /// When the attempt began: it may be the second request of it.
    started: Instant,
}

impl Asking<'_> {
    /// Up to the first event that gives something for the client.
    async fn stream(&self, body: &Bytes) -> Result<SuccessBody, ServeError> {
        let first = async {
            let response = self.send(body).await?;
            let id = upstream_id(&response);
            let relay = self.relay(id);
            let framing = self.prepared.destination.framing;
            let idle = self.entity.timeouts.idle;
            let upstream = Upstream::new(response.into_body(), framing, relay, idle, self.at.clone());
            Box::new(upstream).first_event().await
        };
        let (upstream, ready) = self.in_time(self.started, first).await?;
        Ok(SuccessBody::Stream { upstream, ready })
    }

    async fn whole(&self) -> Result<SuccessBody, ServeError> {
        if let Format::Embeddings { codec, request } = &self.prepared.format {
            return self.embeddings(*codec, request).await;
        }
        let body = self.prepared.bodies.first().cloned().unwrap_or_default();
        let response = self.in_time(self.started, self.send(&body)).await?;
        answer::whole(self, response).await
    }

    /// The parts of a request for embeddings, several at once, in order.
    async fn embeddings(
        &self,
        codec: &dyn EmbeddingsCodec,
        request: &EmbeddingsRequest,
    ) -> Result<SuccessBody, ServeError> {
        let room = &embeddings::Room::default();
        let part = |body: Bytes| async move {
            let response = self.in_time(Instant::now(), self.send(&body)).await?;
            answer::embedded(self, codec, response, room).await
        };
        let parts = stream::iter(self.prepared.bodies.iter().cloned().map(part));
        let parts: Vec<_> = parts.buffered(PARTS_AT_ONCE).try_collect().await?;
        answer::merged(self, request, parts)
    }

    /// No `async fn`: that would keep the room of `first` twice.
    fn in_time<T>(
        &self,
        started: Instant,
        first: impl Future<Output = Result<T, ServeError>>,
    ) -> impl Future<Output = Result<T, ServeError>> {
        let limit = self.entity.timeouts.first_byte;
        tokio::time::timeout_at(started + limit, first).map(move |first| {
            first.unwrap_or_else(|_| Err(timed_out(self.at.clone(), "no first byte", limit)))
        })
    }

    /// Sends one body. A token that the upstream refuses may have been revoked before its end: it is got
    /// anew, once.
    async fn send(&self, body: &Bytes) -> Result<Response<Decoded>, ServeError> {
        let (request, authorization) = self.authorized(body).await?;
        let response = self.send_once(request).await?;
        let credentials = &self.prepared.destination.credentials;
        let keeper = &self.gateway.inner.keeper;
        let told = (response.status(), response.headers());
        let response = match authorization {
            Some(sent) if credentials::discard(keeper, credentials, &sent, told) && !self.call.is_left() => {
                let (request, _) = self.authorized(body).await?;
                self.send_once(request).await?
            }
            _ => response,
        };
        self.refuse_errors(response).await
    }

    async fn authorized(
        &self,
        body: &Bytes,
    ) -> Result<(Request<Full<Bytes>>, Option<HeaderValue>), ServeError> {
        let mut request = self.prepared.request(body.clone())?;
        let inner = &self.gateway.inner;
        let credentials = &self.prepared.destination.credentials;
        credentials::authorize(&inner.keeper, credentials, &mut request, body)
            .await
            .map_err(|failed| self.unauthorized(failed))?;
        // After the signature, which is of what the upstream must not take from anybody else.
        if let (true, Some(trace), Some(span)) = (inner.config.propagate, &self.call.trace, self.span) {
            inference::propagate(trace, span, request.headers_mut());
        }
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        Ok((request, authorization))
    }

    /// What is configured is at fault, or the token endpoint; never the caller's own token, so no 401.
    fn unauthorized(&self, failed: credentials::Failed) -> ServeError {
        let at = self.at.clone();
        match failed {
            credentials::Failed::Refused(reason) => ServeError::NoCredential { at, reason },
            credentials::Failed::Unreachable(reason) => ServeError::Broken { at, reason },
            credentials::Failed::TimedOut(reason) => ServeError::TimedOut { at, reason },
        }
    }

    async fn send_once(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ServeError> {
        self.call.presence.iter().for_each(|presence| presence.asks(self.entity));
        let sent = self.gateway.inner.client.send(request, self.entity.timeouts.connect).await;
        sent.map_err(|failure| match failure {
            Failure::TimedOut(reason) => ServeError::TimedOut { at: self.at.clone(), reason },
            // What TLS says does not say that it is TLS.
            Failure::Tls(reason) => self.broken(format!("tls: {reason}")),
            Failure::Connect(reason) | Failure::Denied(reason) | Failure::Broken(reason) => {
                self.broken(reason)
            }
        })
    }

    /// Everything but a success is an error of the upstream; a redirect too, since following one would send
    /// the credentials elsewhere.
    async fn refuse_errors(&self, response: Response<Incoming>) -> Result<Response<Decoded>, ServeError> {
        let status = response.status().as_u16();
        match status {
            200..=299 => Decoded::of(response).map_err(|encoding| {
                self.broken(format!(
                    "the answer is compressed with {encoding}, which was not asked for and is not known"
                ))
            }),
            400.. => {
                let wait = retry_after(response.headers().get(RETRY_AFTER));
                let body = self.error_body(response).await;
                let error = Box::new(self.prepared.error(status, &body));
                Err(ServeError::Upstream { at: self.at.clone(), error, retry_after: wait })
            }
            _ => Err(self.broken(format!(
                "the upstream answered {status}; redirects are not followed, correct the base url"
            ))),
        }
    }

    /// The status has been said, and decides about fallback: a body that is too long, breaks off or hangs
    /// takes nothing from it.
    async fn error_body(&self, response: Response<Incoming>) -> Bytes {
        let Ok(response) = Decoded::of(response) else { return Bytes::from_static(COMPRESSED_ERROR) };
        let compressed = response.body().is_compressed();
        let idle = self.entity.timeouts.idle.min(MAX_ERROR_WAIT);
        let (body, fault) = read_up_to(response.into_body(), || MAX_ERROR, idle).await;
        let unreadable = compressed && body.is_empty() && fault.is_some();
        if unreadable { Bytes::from_static(COMPRESSED_ERROR) } else { body }
    }

    /// Longest answer that is read in one piece, in bytes.
    fn longest(&self) -> usize {
        if self.call.endpoint.task == Task::Embeddings { embeddings::MAX_EMBEDDINGS } else { MAX_ANSWER }
    }

    async fn read(&self, body: Decoded, longest: usize) -> Result<Bytes, ServeError> {
        let idle = self.entity.timeouts.idle;
        let limit = || if self.call.is_left() { longest.min(drain::MOST) } else { longest };
        read_upstream(body, limit, idle).await.map_err(|fault| match fault {
            ReadFault::Idle => timed_out(self.at.clone(), "the answer stopped: no more of it", idle),
            ReadFault::Broken(reason) => self.broken(format!("the answer broke off: {reason}")),
            ReadFault::TooLarge => self.too_long(self.longest()),
        })
    }

    fn relay(&self, id: Option<String>) -> Relay {
        let at = self.entity_at;
        let lengths = self.call.lengths();
        match &self.prepared.format {
            Format::Chat { codec, names } => Relay::translated(Translated::new(
                codec.stream(),
                names.clone(),
                self.origin(id),
                self.call.dialect.stream(&self.call.body),
                lengths,
            )),
            Format::Native { passage, .. } => Relay::Passed(self.passed(passage, lengths)),
            Format::Unified(_) | Format::Embeddings { .. } => {
                let dialect = self.call.dialect;
                let tells_usage = dialect.tells_usage() || asks_for_usage(&self.call.body);
                let (endpoint, task) = (Arc::clone(&self.call.endpoint), self.call.endpoint.task);
                Relay::hub(
                    lengths,
                    Box::new(move |data| {
                        let entity = &endpoint.entities[at];
                        match entity.provider.codec(&entity.model, task) {
                            Some(Codec::Splice(codec)) => codec.error(0, data),
                            _ => UpstreamError::read(502, data, |_| None),
                        }
                    }),
                    tells_usage,
                )
            }
        }
    }

    fn passed(&self, passage: &Passage, lengths: Lengths) -> Passed {
        let (endpoint, at, call) = (Arc::clone(&self.call.endpoint), self.entity_at, passage.call);
        let read_error = move |data: &[u8]| {
            let entity = &endpoint.entities[at];
            match entity.provider.native(&entity.model, call, true) {
                Some(native) => native.codec.failure(0, data),
                None => UpstreamError::read(502, data, |_| None),
            }
        };
        let goes_on = stored::is_made_alone(self.call.dialect, &self.call.body);
        Passed::new((passage.watch)(), lengths, Box::new(read_error))
            .described(self.gateway.inner.config.describe)
            .framed(self.call.dialect.framing())
            .unwrapping(self.unwrap(call))
            .carrying(self.carried())
            .going_on(goes_on.then(|| limits::unseen_answer(self.gateway, self.call)))
    }

    /// How events come out of frames, where the upstream sends frames and the client takes none.
    fn unwrap(&self, call: NativeCall) -> Option<Unwrap> {
        let in_frames = self.prepared.destination.framing == Framing::AwsEventStream;
        if !in_frames || self.call.dialect.framing() == ClientFraming::AwsEventStream {
            return None;
        }
        let (endpoint, at) = (Arc::clone(&self.call.endpoint), self.entity_at);
        Some(Box::new(move |event| {
            let entity = &endpoint.entities[at];
            match entity.provider.native(&entity.model, call, true) {
                Some(native) => native.codec.unwrap(event),
                None => Ok(event),
            }
        }))
    }

    /// Where the entity keeps what it answers: how its ids become those that the client gets.
    fn carried(&self) -> Option<Carried> {
        let call = self.call;
        if call.kept.is_none() && !stored::keeps(call.dialect, &call.body) {
            return None;
        }
        Some(Carried::new(call.id_key.clone()?, Arc::clone(&call.endpoint), self.entity_at))
    }

    /// `id` is the upstream's own of the call, where its headers tell one.
    fn origin(&self, id: Option<String>) -> Origin {
        Origin {
            id: id.unwrap_or_else(|| format!("chatcmpl-{}", uuid::Uuid::now_v7().simple())),
            created: clock::now_ms() / 1000,
            model: self.entity.model.clone(),
            mark: Arc::clone(&self.entity.mark),
        }
    }

    fn too_long(&self, longest: usize) -> ServeError {
        self.broken(format!("the answer is longer than {longest} bytes"))
    }

    fn broken(&self, reason: String) -> ServeError {
        ServeError::Broken { at: self.at.clone(), reason }
    }
}

fn timed_out(at: At, what: &str, limit: Duration) -> ServeError {
    ServeError::TimedOut { at, reason: format!("{what} within {} ms", limit.as_millis()) }
}

/// Where formats whose bodies have no id put it.
fn upstream_id(response: &Response<Decoded>) -> Option<String> {
    let value = REQUEST_IDS.iter().find_map(|name| response.headers().get(*name))?;
    value.to_str().ok().filter(|id| !id.is_empty()).map(str::to_owned)
}
