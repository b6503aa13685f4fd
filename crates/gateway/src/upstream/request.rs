//! The request for one entity: its format, its address, its credentials.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::Full;
use policy::Entity;
use providers::names::Names;
use providers::{ChatCodec, Task};
use wire::chat::ChatRequest;
use wire::error::ApiError;

use crate::call::Call;
use crate::error::ServeError;

/// Ready to be sent.
pub(super) struct Prepared<'a> {
    uri: &'a Uri,
    headers: &'a HeaderMap,
    body: Bytes,
    stream: bool,
    pub(super) codec: &'a dyn ChatCodec,
    /// What to undo in the answer; `None` when the entity speaks the unified format itself.
    pub(super) names: Option<Names>,
}

pub(super) fn prepare<'a>(call: &Call<'_>, entity: &'a Entity) -> Result<Prepared<'a>, ServeError> {
    let destination = entity.destination(call.stream);
    let headers = destination.headers.as_ref().map_err(|missing| {
        let (secret, name) = (&missing.0, &entity.name);
        ApiError::invalid(format!(
            "the secret {secret} of served entity {name} does not exist: put it, or update the endpoint"
        ))
    })?;
    let task = call.endpoint.task;
    let (body, codec, names) = if let Some(splice) = entity.provider.splice() {
        let mut body = call.body.clone();
        splice.splice(&entity.model, task, call.stream, &mut body).map_err(ServeError::Refused)?;
        let body = body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
        (body, splice as &dyn ChatCodec, None)
    } else {
        let codec = entity.provider.chat().filter(|_| task == Task::Chat).ok_or_else(|| {
            let (provider, task) = (entity.provider_name, task.as_str());
            ApiError::bad_request(format!("provider {provider} does not serve {task}"))
        })?;
        let encoded = codec.encode(&entity.model, &parse(call)?).map_err(ServeError::Refused)?;
        let body = serde_json::to_vec(&encoded.body).map_err(|e| ApiError::internal(e.to_string()))?;
        (body, codec, Some(encoded.names))
    };
    Ok(Prepared { uri: &destination.uri, headers, body: body.into(), stream: call.stream, codec, names })
}

fn parse(call: &Call<'_>) -> Result<ChatRequest, ApiError> {
    let bytes = call.body.to_vec().map_err(|e| ApiError::internal(e.to_string()))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::bad_request(format!("the chat request cannot be read: {e}")))
}

impl Prepared<'_> {
    /// Only what we decided goes out: none of the caller's headers does.
    pub(super) fn request(&self) -> Result<Request<Full<Bytes>>, ApiError> {
        let mut request = Request::post(self.uri.clone())
            .body(Full::new(self.body.clone()))
            .map_err(|e| ApiError::internal(e.to_string()))?;
        let headers = request.headers_mut();
        headers.clone_from(self.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = if self.stream { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
        Ok(request)
    }
}
