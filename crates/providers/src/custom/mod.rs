//! Any OpenAI-compatible engine. The body passes untouched but for the model.

use wire::Object;

use crate::Messages;
use crate::auth::Auth;
use crate::fields::{Block, ConfigError, Field, base_url};
use crate::native::{Native, NativeCall};
use crate::openai::{Edits, OpenAiChat};
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Target, Task};

const FIELDS: &[Field] = &[
    Field::text("custom_provider_url"),
    Field::text("api_key_auth.key"),
    Field::secret("api_key_auth.value"),
    Field::secret("bearer_token_auth.token"),
];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "custom",
    config_field: "custom_provider_config",
    tasks: &[Task::Chat, Task::Completions, Task::Embeddings],
    fields: FIELDS,
    settings: &[],
    build,
};

/// A URL that ends in one of these is the whole route; to any other the operation is appended.
const OPERATIONS: [&str; 6] =
    ["/chat/completions", "/completions", "/embeddings", "/responses", "/messages", "/invocations"];

#[derive(Debug)]
struct Custom {
    url: String,
    auth: Auth,
    codec: OpenAiChat,
}

fn build(config: &Object, _defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    let url = base_url("custom_provider_url", block.required("custom_provider_url")?, &[])?;
    let auth = match (block.contains("api_key_auth"), block.contains("bearer_token_auth")) {
        (true, false) => {
            let name = block.required("api_key_auth.key")?;
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(ConfigError::new("api_key_auth.key", format!("{name:?} is no header name")));
            }
            Auth::Header(name.to_ascii_lowercase(), block.required_secret("api_key_auth.value")?)
        }
        (false, true) => Auth::Bearer(block.required_secret("bearer_token_auth.token")?),
        _ => return Err(ConfigError::new("", "set exactly one of api_key_auth and bearer_token_auth")),
    };
    Ok(Box::new(Custom { url, auth, codec: OpenAiChat { edits: Edits::Engine } }))
}

impl Provider for Custom {
    fn target(&self, _model: &str, task: Task, _stream: bool) -> Target {
        let (path, query) = self.url.split_at(self.url.find('?').unwrap_or(self.url.len()));
        let path = path.trim_end_matches('/');
        let whole = OPERATIONS.iter().any(|o| path.ends_with(o));
        let url = if whole { self.url.clone() } else { format!("{path}/{}{query}", task.operation()) };
        Target { url, headers: Vec::new(), auth: self.auth.clone(), framing: Framing::Sse }
    }

    fn codec(&self, _model: &str, _task: Task) -> Option<Codec<'_>> {
        Some(Codec::Splice(&self.codec))
    }

    /// A URL that is the whole route of a format is spoken to in that format.
    fn native(&self, model: &str, call: NativeCall, stream: bool) -> Option<Native<'_>> {
        let (path, _) = self.url.split_at(self.url.find('?').unwrap_or(self.url.len()));
        let path = path.trim_end_matches('/');
        let target = self.target(model, Task::Chat, stream);
        match call {
            NativeCall::Responses if path.ends_with("/responses") => {
                Some(Native { target, codec: &self.codec, headers: &[], query: &[] })
            }
            NativeCall::Messages if path.ends_with("/messages") => Some(Native {
                target,
                codec: &Messages,
                headers: &["anthropic-beta", "anthropic-version"],
                query: &["beta"],
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn url(given: &str) -> String {
        let config = json!({"custom_provider_url": given, "bearer_token_auth": {"token": "{{secrets/a/b}}"}});
        let provider = build(config.as_object().unwrap(), &Defaults::default()).unwrap();
        provider.target("m", Task::Chat, false).url
    }

    #[test]
    fn the_operation_is_appended_only_where_it_is_missing() {
        assert_eq!(url("https://h/v1/chat/completions"), "https://h/v1/chat/completions");
        assert_eq!(url("https://h/v1"), "https://h/v1/chat/completions");
        assert_eq!(url("https://h/invocations?x=1"), "https://h/invocations?x=1");
        assert_eq!(url("https://h/v1/?api-version=2"), "https://h/v1/chat/completions?api-version=2");
    }

    #[test]
    fn exactly_one_way_to_authenticate() {
        let both = json!({"custom_provider_url": "https://h", "api_key_auth": {"key": "x", "value": "{{secrets/a/b}}"},
            "bearer_token_auth": {"token": "{{secrets/a/b}}"}});
        assert!(build(both.as_object().unwrap(), &Defaults::default()).is_err());
    }
}
