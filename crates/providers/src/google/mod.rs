//! The Gemini API by key, and the codecs of its formats. Wire facts: the `google-genai` Python SDK and
//! `ai.google.dev/api/generate-content`.

mod calls;
mod content;
mod embeddings;
mod media;
mod models;
mod native;
mod request;
mod response;
mod schema;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod usage;
mod wire;

use ::wire::Object;
use ::wire::chat::{ChatRequest, ChatResponse};

use crate::auth::Auth;
use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, UpstreamError};
use crate::fields::{Block, ConfigError, Field, base_url, path_segment};
use crate::native::{Native, NativeCall};
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Setting, Target, Task};
use crate::secret::SecretRef;

pub(crate) use embeddings::{EmbedContent, Predict};
pub(crate) use native::method as native_method;
pub(crate) use response::error;
pub use usage::generate_content_usage;

const DEFAULT_BASE: &str = "https://generativelanguage.googleapis.com";

const FIELDS: &[Field] = &[Field::secret("google_api_key"), Field::extension("google_api_base")];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "google",
    config_field: "google_config",
    tasks: &[Task::Chat, Task::Embeddings],
    fields: FIELDS,
    settings: &[Setting::base_url(&["GOOGLE_GEMINI_BASE_URL"])],
    build,
};

#[derive(Debug)]
struct Google {
    key: SecretRef,
    base: String,
}

fn build(config: &Object, defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    let base = block.text("google_api_base")?.or(defaults.base_url()).unwrap_or(DEFAULT_BASE);
    Ok(Box::new(Google {
        key: block.required_secret("google_api_key")?,
        base: base_url("google_api_base", base, &["/models", "/v1beta"])?,
    }))
}

impl Provider for Google {
    fn target(&self, model: &str, task: Task, stream: bool) -> Target {
        self.at(model, if task == Task::Embeddings { "batchEmbedContents" } else { chat_method(stream) })
    }

    fn telemetry_name(&self) -> Option<&'static str> {
        Some("gcp.gemini")
    }

    fn codec(&self, _model: &str, task: Task) -> Option<Codec<'_>> {
        match task {
            Task::Chat => Some(Codec::Chat(&Gemini { call_ids: true })),
            Task::Embeddings => Some(Codec::Embeddings(&embeddings::BatchEmbedContents)),
            Task::Completions => None,
        }
    }

    fn native(&self, model: &str, call: NativeCall, stream: bool) -> Option<Native<'_>> {
        let target = self.at(model, native_method(call, stream)?);
        Some(Native { target, codec: &Gemini { call_ids: true }, headers: &[], query: &[] })
    }
}

impl Google {
    fn at(&self, model: &str, method: &str) -> Target {
        Target {
            url: format!("{}/v1beta/models/{}:{method}", self.base, path_segment(bare(model))),
            headers: Vec::new(),
            auth: Auth::Header("x-goog-api-key".to_owned(), self.key.clone()),
            framing: Framing::Sse,
        }
    }
}

/// The model without the collection that its full name begins with.
fn bare(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

/// The method of chat. Without `alt=sse` a stream would be one JSON array.
pub(crate) fn chat_method(stream: bool) -> &'static str {
    if stream { "streamGenerateContent?alt=sse" } else { "generateContent" }
}

/// The codec of `generateContent`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gemini {
    /// Whether calls and their results carry ids: where they do not, the order says which belongs to which.
    pub(crate) call_ids: bool,
}

impl ChatCodec for Gemini {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        request::encode(model, request, self.call_ids)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        response::decode(body)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Box::<stream::GeminiStream>::default()
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        response::error(status, body)
    }
}
