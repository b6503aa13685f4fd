//! AI21 Labs: Jamba's chat, which is like OpenAI's with fewer fields, and the older completions of Jurassic-2.
//! Wire facts: the `ai21` Python SDK.

mod chat;
mod completions;

use wire::Object;

use crate::auth::Auth;
use crate::fields::{Block, ConfigError, Field, base_url, path_segment};
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Setting, Target, Task};
use crate::secret::SecretRef;

const DEFAULT_BASE: &str = "https://api.ai21.com/studio/v1";

const FIELDS: &[Field] = &[Field::secret("ai21labs_api_key"), Field::extension("ai21labs_api_base")];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "ai21labs",
    config_field: "ai21labs_config",
    tasks: &[Task::Chat, Task::Completions],
    fields: FIELDS,
    settings: &[Setting::base_url(&["AI21_API_HOST"])],
    build,
};

#[derive(Debug)]
struct Ai21 {
    key: SecretRef,
    base: String,
}

fn build(config: &Object, defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    let base = block.text("ai21labs_api_base")?.or(defaults.base_url()).unwrap_or(DEFAULT_BASE);
    let mut base = base_url("ai21labs_api_base", base, &["/chat/completions"])?;
    // The SDK's variable names the host alone.
    if !base.ends_with("/v1") {
        base.push_str("/studio/v1");
    }
    Ok(Box::new(Ai21 { key: block.required_secret("ai21labs_api_key")?, base }))
}

/// The models that complete and do not chat.
fn is_jurassic(model: &str) -> bool {
    model.starts_with("j2-")
}

impl Provider for Ai21 {
    fn target(&self, model: &str, task: Task, _stream: bool) -> Target {
        let base = &self.base;
        let url = match task {
            Task::Completions => format!("{base}/{}/complete", path_segment(model)),
            Task::Chat | Task::Embeddings => format!("{base}/chat/completions"),
        };
        Target { url, headers: Vec::new(), auth: Auth::Bearer(self.key.clone()), framing: Framing::Sse }
    }

    fn telemetry_name(&self) -> Option<&'static str> {
        Some("ai21")
    }

    fn codec(&self, model: &str, task: Task) -> Option<Codec<'_>> {
        match task {
            Task::Chat if !is_jurassic(model) => Some(Codec::Chat(&chat::Jamba)),
            Task::Completions if is_jurassic(model) => Some(Codec::Chat(&completions::Jurassic)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_model_serves_its_task_alone() {
        let config = json!({"ai21labs_api_key": "{{secrets/a/b}}", "ai21labs_api_base": "http://h:1"});
        let provider = build(config.as_object().unwrap(), &Defaults::default()).unwrap();
        let serves = |model, task| provider.codec(model, task).is_some();
        assert!(serves("jamba-large", Task::Chat) && !serves("jamba-large", Task::Completions));
        assert!(serves("j2-ultra", Task::Completions) && !serves("j2-ultra", Task::Chat));
        assert!(!serves("jamba-large", Task::Embeddings));
        let url = |model, task| provider.target(model, task, false).url;
        assert_eq!(url("jamba-large", Task::Chat), "http://h:1/studio/v1/chat/completions");
        assert_eq!(url("j2-ultra", Task::Completions), "http://h:1/studio/v1/j2-ultra/complete");
    }
}
