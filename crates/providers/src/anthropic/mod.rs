//! Anthropic Messages. Wire facts: the `anthropic` Python SDK and `docs.anthropic.com/en/api/messages`.

pub(crate) mod claude;
mod content;
pub(crate) mod hosted;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod wire;

pub use response::MessagesUsage;

use ::wire::Object;
use ::wire::chat::{ChatRequest, ChatResponse};

use crate::auth::Auth;
use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, UpstreamError};
use crate::fields::{Block, ConfigError, Field, base_url};
use crate::native::{Native, NativeCall, NativeCodec};
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Setting, Target, Task};
use crate::secret::SecretRef;

const DEFAULT_BASE: &str = "https://api.anthropic.com";
const VERSION: &str = "2023-06-01";

/// Headers of a client that say which version of the format it speaks.
const FORWARDED: &[&str] = &["anthropic-beta", "anthropic-version"];

const FIELDS: &[Field] = &[Field::secret("anthropic_api_key"), Field::extension("anthropic_api_base")];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "anthropic",
    config_field: "anthropic_config",
    tasks: &[Task::Chat],
    fields: FIELDS,
    settings: &[Setting::base_url(&["ANTHROPIC_BASE_URL"])],
    build,
};

#[derive(Debug)]
struct Anthropic {
    key: SecretRef,
    base: String,
}

fn build(config: &Object, defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    let base = block.text("anthropic_api_base")?.or(defaults.base_url()).unwrap_or(DEFAULT_BASE);
    Ok(Box::new(Anthropic {
        key: block.required_secret("anthropic_api_key")?,
        base: base_url("anthropic_api_base", base, &["/messages", "/v1"])?,
    }))
}

impl Provider for Anthropic {
    fn target(&self, _model: &str, _task: Task, _stream: bool) -> Target {
        Target {
            url: format!("{}/v1/messages", self.base),
            headers: vec![("anthropic-version", VERSION.to_owned())],
            auth: Auth::Header("x-api-key".to_owned(), self.key.clone()),
            framing: Framing::Sse,
        }
    }

    fn codec(&self, _model: &str, task: Task) -> Option<Codec<'_>> {
        (task == Task::Chat).then_some(Codec::Chat(&Messages))
    }

    fn native(&self, model: &str, call: NativeCall, stream: bool) -> Option<Native<'_>> {
        let mut target = self.target(model, Task::Chat, stream);
        match call {
            NativeCall::Messages => {}
            NativeCall::CountMessages => target.url.push_str("/count_tokens"),
            _ => return None,
        }
        Some(Native { target, codec: &Messages, headers: FORWARDED, query: &["beta"] })
    }
}

/// The codec of the Messages format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages;

impl ChatCodec for Messages {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        request::encode(model, request)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        response::decode(body)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Box::<stream::MessagesStream>::default()
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        response::error(status, body)
    }
}

impl NativeCodec for Messages {
    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError {
        response::error(status, body)
    }
}
