//! The requests for one entity: its format, its address, its credentials.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use policy::Entity;
use policy::endpoint::Destination;
use providers::names::Names;
use providers::{ChatCodec, Codec, EmbeddingsCodec, Splice, Task, UpstreamError};
use wire::embeddings::EmbeddingsRequest;
use wire::error::ApiError;

use super::defaults;
use crate::call::Call;
use crate::error::ServeError;
use crate::reasoning;

/// Ready to be authorised and sent.
pub(super) struct Prepared<'a> {
    pub(super) destination: &'a Destination,
    headers: &'a HeaderMap,
    /// One, but where embeddings are asked for in parts.
    pub(super) bodies: Vec<Bytes>,
    stream: bool,
    pub(super) format: Format<'a>,
}

/// How the answer is to be read.
pub(super) enum Format<'a> {
    /// The unified format: it passes as it comes.
    Unified(&'a dyn Splice),
    /// `names` is what to undo in the answer.
    Chat {
        codec: &'a dyn ChatCodec,
        names: Names,
    },
    Embeddings {
        codec: &'a dyn EmbeddingsCodec,
        request: EmbeddingsRequest,
    },
}

impl Format<'_> {
    /// Reads an error of the upstream; `status` is 0 for one that came with a success or in a stream.
    pub(super) fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        match self {
            Self::Unified(codec) => codec.error(status, body),
            Self::Chat { codec, .. } => codec.error(status, body),
            Self::Embeddings { codec, .. } => codec.error(status, body),
        }
    }
}

pub(super) fn prepare<'a>(call: &Call<'_>, entity: &'a Entity) -> Result<Prepared<'a>, ServeError> {
    let destination = entity.destination(call.stream);
    let headers = destination.headers.as_ref().map_err(|missing| {
        let (secret, name) = (&missing.0, &entity.name);
        ApiError::invalid(format!(
            "the secret {secret} of served entity {name} does not exist: put it, or update the endpoint"
        ))
    })?;
    let (bodies, format) = encode(call, entity)?;
    Ok(Prepared { destination, headers, bodies, stream: call.stream, format })
}

fn encode<'a>(call: &Call<'_>, entity: &'a Entity) -> Result<(Vec<Bytes>, Format<'a>), ServeError> {
    let task = call.endpoint.task;
    let codec = entity.provider.codec(&entity.model, task).ok_or_else(|| {
        let (provider, task) = (entity.provider_name, task.as_str());
        ApiError::bad_request(format!("provider {provider} does not serve {task} with this model"))
    })?;
    match codec {
        Codec::Splice(splice) => spliced(call, entity, splice),
        Codec::Chat(codec) => {
            let request = call.dialect.request(&call.body)?;
            let mut request = defaults::filled(request, &entity.default_params)
                .map_err(|e| ApiError::internal(e.to_string()))?;
            reasoning::keep_own(&mut request, &entity.mark);
            let encoded = codec.encode(&entity.model, &request).map_err(ServeError::Refused)?;
            Ok((vec![json(&encoded.body)?], Format::Chat { codec, names: encoded.names }))
        }
        Codec::Embeddings(codec) => embeddings(call, entity, codec),
    }
}

fn spliced<'a>(
    call: &Call<'_>,
    entity: &'a Entity,
    splice: &'a dyn Splice,
) -> Result<(Vec<Bytes>, Format<'a>), ServeError> {
    let task = call.endpoint.task;
    if task == Task::Embeddings
        && let Some((most, codec)) = splice.batches()
        && call.inputs().is_some_and(|count| count > most)
    {
        return embeddings(call, entity, codec);
    }
    let mut body = reasoning::without_foreign(&call.body)?;
    defaults::fill(&mut body, &entity.default_params);
    splice.splice(&entity.model, task, call.stream, &mut body).map_err(ServeError::Refused)?;
    let body = body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
    Ok((vec![body.into()], Format::Unified(splice)))
}

fn embeddings<'a>(
    call: &Call<'_>,
    entity: &'a Entity,
    codec: &'a dyn EmbeddingsCodec,
) -> Result<(Vec<Bytes>, Format<'a>), ServeError> {
    let mut body = call.body.clone();
    defaults::fill(&mut body, &entity.default_params);
    let body = body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
    let request: EmbeddingsRequest = serde_json::from_slice(&body)
        .map_err(|e| ApiError::bad_request(format!("the embeddings request cannot be read: {e}")))?;
    if request.input.is_empty() {
        return Err(ApiError::bad_request("input: must not be an empty list").into());
    }
    let bodies = codec.encode(&entity.model, &request).map_err(ServeError::Refused)?;
    let bodies = bodies.iter().map(json).collect::<Result<_, _>>()?;
    Ok((bodies, Format::Embeddings { codec, request }))
}

fn json(body: &serde_json::Value) -> Result<Bytes, ApiError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|e| ApiError::internal(e.to_string()))
}

impl Prepared<'_> {
    /// Only what we decided goes out: none of the caller's headers does.
    pub(super) fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, ApiError> {
        let mut request = Request::post(self.destination.uri.clone())
            .body(Full::new(body))
            .map_err(|e| ApiError::internal(e.to_string()))?;
        let headers = request.headers_mut();
        headers.clone_from(self.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = match (self.stream, self.destination.framing) {
            (false, _) => "application/json",
            (true, providers::Framing::Sse) => "text/event-stream",
            (true, providers::Framing::AwsEventStream) => "application/vnd.amazon.eventstream",
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
        Ok(request)
    }
}
