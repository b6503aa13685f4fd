//! Cohere's v2 chat and embed. Wire facts: the `cohere` Python SDK and `docs.cohere.com/reference`.

mod embeddings;
mod messages;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;

use ::wire::Object;
use ::wire::chat::{ChatRequest, ChatResponse};

use crate::auth::Auth;
use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, UpstreamError};
use crate::fields::{Block, ConfigError, Field, base_url};
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Setting, Target, Task};
use crate::secret::SecretRef;

const DEFAULT_BASE: &str = "https://api.cohere.com";

const FIELDS: &[Field] = &[Field::secret("cohere_api_key"), Field::text("cohere_api_base")];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "cohere",
    config_field: "cohere_config",
    tasks: &[Task::Chat, Task::Completions, Task::Embeddings],
    fields: FIELDS,
    settings: &[Setting::base_url(&["CO_API_URL"])],
    build,
};

#[derive(Debug)]
struct Cohere {
    key: SecretRef,
    base: String,
}

fn build(config: &Object, defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    let base = block.text("cohere_api_base")?.or(defaults.base_url()).unwrap_or(DEFAULT_BASE);
    Ok(Box::new(Cohere {
        key: block.required_secret("cohere_api_key")?,
        base: base_url("cohere_api_base", base, &["/chat", "/embed", "/v2", "/v1"])?,
    }))
}

impl Provider for Cohere {
    fn target(&self, _model: &str, task: Task, _stream: bool) -> Target {
        let operation = match task {
            // The Generate API is gone: completions are chats of one message.
            Task::Chat | Task::Completions => "chat",
            Task::Embeddings => "embed",
        };
        Target {
            url: format!("{}/v2/{operation}", self.base),
            headers: Vec::new(),
            auth: Auth::Bearer(self.key.clone()),
            framing: Framing::Sse,
        }
    }

    fn codec(&self, _model: &str, task: Task) -> Option<Codec<'_>> {
        Some(match task {
            Task::Chat | Task::Completions => Codec::Chat(&Chat),
            Task::Embeddings => Codec::Embeddings(&embeddings::Embed),
        })
    }
}

/// The codec of `/v2/chat`.
#[derive(Clone, Copy, Debug)]
struct Chat;

impl ChatCodec for Chat {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        request::encode(model, request)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        response::decode(body)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Box::<stream::EventStream>::default()
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        response::error(status, body)
    }
}
