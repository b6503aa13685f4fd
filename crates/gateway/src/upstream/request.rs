//! The requests for one entity: its format, its address, its credentials.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use policy::Entity;
use policy::endpoint::Destination;
use providers::names::Names;
use providers::{ChatCodec, Codec, EmbeddingsCodec, NativeCall, NativeCodec, Splice, Task, UpstreamError};
use wire::chat::ChatRequest;
use wire::embeddings::EmbeddingsRequest;
use wire::error::ApiError;

use super::defaults;
use super::optional::Refusing;
use super::unkeyed::unkeyed;
use crate::call::{Call, Kept};
use crate::dialect::Passage;
use crate::error::ServeError;
use crate::reasoning::{self, Unmarked};
use crate::stored;

/// Most inputs of one request for embeddings, and most calls that it may cost: models that take one input a
/// call are asked once for each.
const MAX_INPUTS: usize = 16_384;
const MAX_PARTS: usize = 2_048;

/// No optional fields.
const NONE: &[&str] = &[];

/// Ready to be authorised and sent.
pub(super) struct Prepared<'a> {
    pub(super) destination: &'a Destination,
    method: Method,
    /// Where it differs from the destination's.
    uri: Option<Uri>,
    headers: Cow<'a, HeaderMap>,
    /// One, but where embeddings are asked for in parts.
    pub(super) bodies: Vec<Bytes>,
    stream: bool,
    pub(super) format: Format<'a>,
    /// Fields that are in the body although the upstream may not know them.
    pub(super) optional: &'static [&'static str],
}

/// What becomes of fields that the upstream may not know.
#[derive(Clone, Copy, Debug)]
pub(super) enum Optional<'r> {
    Sent,
    UnlessRefused(&'r Refusing),
    LeftOut,
}

impl Optional<'_> {
    fn are_sent(self, entity: &Entity) -> bool {
        match self {
            Self::Sent => true,
            Self::UnlessRefused(refusing) => !refusing.knows(&entity.mark),
            Self::LeftOut => false,
        }
    }
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
    /// The client's own format: it passes as it comes.
    Native {
        codec: &'a dyn NativeCodec,
        passage: &'static Passage,
    },
}

impl Format<'_> {
    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        match self {
            Self::Unified(codec) => codec.error(status, body),
            Self::Chat { codec, .. } => codec.error(status, body),
            Self::Embeddings { codec, .. } => codec.error(status, body),
            Self::Native { codec, .. } => codec.failure(status, body),
        }
    }
}

/// For the entity of the endpoint that stands at `at`.
pub(super) fn prepare<'a>(
    call: &'a Call<'_>,
    at: usize,
    optional: Optional<'_>,
) -> Result<Prepared<'a>, ServeError> {
    let entity = &call.endpoint.entities[at];
    if let Some(prepared) = passed(call, at)? {
        return Ok(prepared);
    }
    let destination = entity.destination(call.stream);
    let headers = Cow::Borrowed(headers(destination, entity)?);
    let (bodies, format, optional) = encode(call, entity, optional)?;
    let (method, uri) = (Method::POST, None);
    Ok(Prepared { destination, method, uri, headers, bodies, stream: call.stream, format, optional })
}

fn headers<'a>(destination: &'a Destination, entity: &Entity) -> Result<&'a HeaderMap, ServeError> {
    destination.headers.as_ref().map_err(|missing| ServeError::NoSecret {
        entity: entity.name.clone(),
        secret: missing.0.to_string(),
    })
}

/// The client's own bytes, where the entity speaks the client's format: `None` where it does not.
fn passed<'a>(call: &'a Call<'_>, at: usize) -> Result<Option<Prepared<'a>>, ServeError> {
    let entity = &call.endpoint.entities[at];
    let Some(passage) = call.dialect.passage() else { return Ok(None) };
    let Some(destination) = entity.native(passage.call, call.stream) else { return Ok(None) };
    let Some(native) = entity.provider.native(&entity.model, passage.call, call.stream) else {
        return Ok(None);
    };
    let mut headers = headers(destination, entity)?.clone();
    let format = Format::Native { codec: native.codec, passage };
    if let Some(kept) = &call.kept {
        let (uri, bodies) = (kept_at(&destination.uri, kept), vec![Bytes::new()]);
        let (method, headers) = (kept.method.clone(), Cow::Owned(headers));
        let (stream, optional) = (call.stream, NONE);
        return Ok(Some(Prepared { destination, method, uri, headers, bodies, stream, format, optional }));
    }
    let uri = with_query(&destination.uri, call.query, native.query);
    let mut body = reasoning::without_foreign(&call.body, &entity.mark)?;
    if passage.call == NativeCall::Responses {
        stored::opened(call.id_key.as_ref(), &call.endpoint, at, &mut body)?;
    }
    let mut carried = carried(call.headers, native.headers);
    native.codec.pass_with(&entity.model, &mut carried, &mut body).map_err(ServeError::Refused)?;
    // They stand in place of ours.
    carried.iter().for_each(|(name, _)| drop(headers.remove(*name)));
    for (name, value) in carried {
        let value = HeaderValue::from_str(&value)
            .map_err(|_| ApiError::bad_request(format!("the header {name} is no header value")))?;
        headers.append(HeaderName::from_static(name), value);
    }
    let body = body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
    let (bodies, headers, method) = (vec![body.into()], Cow::Owned(headers), Method::POST);
    let (stream, optional) = (call.stream, NONE);
    Ok(Some(Prepared { destination, method, uri, headers, bodies, stream, format, optional }))
}

/// The caller's headers of these names, each line for itself.
fn carried(headers: &HeaderMap, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let lines = |name: &'static str| {
        let values = headers.get_all(name).iter();
        values.filter_map(move |value| Some((name, value.to_str().ok()?.to_owned())))
    };
    names.iter().copied().flat_map(lines).collect()
}

/// Where something lies that the entity keeps.
fn kept_at(uri: &Uri, kept: &Kept) -> Option<Uri> {
    let queries = [uri.query().unwrap_or_default(), &kept.query];
    let query = queries.into_iter().filter(|query| !query.is_empty()).collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    let mut parts = uri.clone().into_parts();
    let path = uri.path().trim_end_matches('/');
    parts.path_and_query = format!("{path}{}{mark}{query}", kept.path).parse().ok();
    Uri::from_parts(parts).ok()
}

/// `uri` with those parameters of the caller's query that go on; `None` where there are none.
fn with_query(uri: &Uri, query: Option<&str>, names: &[&str]) -> Option<Uri> {
    let given = form_urlencoded::parse(query?.as_bytes()).filter(|(name, _)| names.contains(&name.as_ref()));
    let mut added = form_urlencoded::Serializer::new(String::new());
    added.extend_pairs(given);
    let added = added.finish();
    if added.is_empty() {
        return None;
    }
    let own = uri.query().map_or_else(String::new, |own| format!("{own}&"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("{}?{own}{added}", uri.path()).parse().ok();
    Uri::from_parts(parts).ok()
}

/// The bodies, how their answers are to be read, and the optional fields that are in them.
type Encoded<'a> = (Vec<Bytes>, Format<'a>, &'static [&'static str]);

fn encode<'a>(
    call: &Call<'_>,
    entity: &'a Entity,
    optional: Optional<'_>,
) -> Result<Encoded<'a>, ServeError> {
    let task = call.endpoint.task;
    let codec = entity.provider.codec(&entity.model, task).ok_or_else(|| {
        let (provider, task) = (entity.provider_name, task.as_str());
        ApiError::bad_request(format!("provider {provider} does not serve {task} with this model"))
    })?;
    match codec {
        Codec::Splice(splice) if call.dialect.passage().is_none() => spliced(call, entity, splice),
        Codec::Splice(splice) => {
            let mut request =
                splice.adopt(&entity.model, unified(call, entity)?).map_err(ServeError::Refused)?;
            let fields = splice.optional();
            let is_added = fields.iter().any(|field| request.extra.contains_key(*field));
            if is_added && !optional.are_sent(entity) {
                fields.iter().for_each(|field| drop(request.extra.shift_remove(*field)));
                return translated(&request, entity, splice, NONE);
            }
            translated(&request, entity, splice, if is_added { fields } else { NONE })
        }
        Codec::Chat(codec) => translated(&unified(call, entity)?, entity, codec, NONE),
        Codec::Embeddings(codec) => embeddings(call, entity, codec),
    }
}

fn translated<'a>(
    request: &ChatRequest,
    entity: &'a Entity,
    codec: &'a dyn ChatCodec,
    optional: &'static [&'static str],
) -> Result<Encoded<'a>, ServeError> {
    let encoded = codec.encode(&entity.model, request).map_err(ServeError::Refused)?;
    Ok((vec![json(&encoded.body)?], Format::Chat { codec, names: encoded.names }, optional))
}

/// The client's request in the unified format, as the entity may see it.
fn unified(call: &Call<'_>, entity: &Entity) -> Result<ChatRequest, ServeError> {
    let request = call.dialect.request(&call.body)?;
    let mut request = defaults::filled(request, &entity.default_params, &call.body)
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let unmarked = if call.dialect.passage().is_some() { Unmarked::Drop } else { Unmarked::Keep };
    reasoning::keep_own(&mut request, &entity.mark, unmarked);
    if call.stream {
        // Where it is the path that says so.
        request.stream = Some(true);
    }
    Ok(request)
}

fn spliced<'a>(
    call: &Call<'_>,
    entity: &'a Entity,
    splice: &'a dyn Splice,
) -> Result<Encoded<'a>, ServeError> {
    let task = call.endpoint.task;
    if task == Task::Embeddings
        && let Some((most, codec)) = splice.batches()
        && call.inputs().is_some_and(|count| count > most)
    {
        return embeddings(call, entity, codec);
    }
    let mut body = reasoning::without_foreign(&call.body, &entity.mark)?;
    defaults::fill(&mut body, &entity.default_params);
    splice.splice(&entity.model, task, call.stream, &mut body).map_err(ServeError::Refused)?;
    let body = body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
    Ok((vec![body.into()], Format::Unified(splice), NONE))
}

fn embeddings<'a>(
    call: &Call<'_>,
    entity: &'a Entity,
    codec: &'a dyn EmbeddingsCodec,
) -> Result<Encoded<'a>, ServeError> {
    let mut body = call.body.clone();
    defaults::fill(&mut body, &entity.default_params);
    let body = body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
    let request: EmbeddingsRequest = serde_json::from_slice(&body)
        .map_err(|e| ApiError::bad_request(format!("the embeddings request cannot be read: {e}")))?;
    if request.input.is_empty() {
        return Err(ApiError::bad_request("input: must not be an empty list").into());
    }
    let count = request.input.len();
    if count > MAX_INPUTS {
        let message = format!("input: has {count} entries, at most {MAX_INPUTS} are taken");
        return Err(ApiError::bad_request(message).into());
    }
    let bodies = codec.encode(&entity.model, &request).map_err(ServeError::Refused)?;
    if bodies.len() > MAX_PARTS {
        let (parts, most) = (bodies.len(), MAX_PARTS);
        let message =
            format!("input: takes {parts} calls of this model, at most {most} are made for one request");
        return Err(ApiError::bad_request(message).into());
    }
    let bodies = bodies.iter().map(json).collect::<Result<_, _>>()?;
    Ok((bodies, Format::Embeddings { codec, request }, NONE))
}

fn json(body: &serde_json::Value) -> Result<Bytes, ApiError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|e| ApiError::internal(e.to_string()))
}

impl Prepared<'_> {
    /// Reads an error of the upstream; `status` is 0 for one that came with a success.
    pub(super) fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        unkeyed(self.format.error(status, body), &self.headers)
    }

    /// Only what we decided goes out: of the caller's headers those that belong to a format that passes through.
    pub(super) fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, ApiError> {
        let uri = self.uri.as_ref().unwrap_or(&self.destination.uri);
        let has_body = !body.is_empty();
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(uri.clone())
            .body(Full::new(body))
            .map_err(|e| ApiError::internal(e.to_string()))?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_parameters_go_on() {
        let with = |uri: &str, query: &str| {
            with_query(&uri.parse().unwrap(), Some(query), &["beta"]).map(|uri| uri.to_string())
        };
        assert_eq!(with("http://h/a", "beta=true&key=secret").as_deref(), Some("http://h/a?beta=true"));
        assert_eq!(with("http://h/a?v=1", "beta=a%26b").as_deref(), Some("http://h/a?v=1&beta=a%26b"));
        assert_eq!(with("http://h/a", "key=secret"), None);
    }
}
