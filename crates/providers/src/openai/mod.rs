//! OpenAI, and the codec of its chat format, which is the unified one.

mod azure;
mod codec;
mod embeddings;
mod portable;

pub(crate) use codec::OpenAiChat;

use serde_json::json;
use wire::Object;
use wire::chat::ChatRequest;
use wire::raw::RawObject;

use crate::auth::Auth;
use crate::codec::{EmbeddingsCodec, Refused};
use crate::fields::{Block, ConfigError, Field, base_url};
use crate::native::{Native, NativeCall};
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Setting, Splice, Target, Task};
use crate::secret::SecretRef;

const DEFAULT_BASE: &str = "https://api.openai.com/v1";

const FIELDS: &[Field] = &[
    Field::secret("openai_api_key"),
    Field::text("openai_api_base"),
    Field::text("openai_organization"),
    Field::text("openai_api_type"),
    Field::text("openai_api_version"),
    Field::text("openai_deployment_name"),
    Field::text("microsoft_entra_tenant_id"),
    Field::text("microsoft_entra_client_id"),
    Field::secret("microsoft_entra_client_secret"),
];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "openai",
    config_field: "openai_config",
    tasks: &[Task::Chat, Task::Completions, Task::Embeddings],
    fields: FIELDS,
    settings: &[Setting::base_url(&["OPENAI_BASE_URL"]), azure::ENTRA_AUTHORITY],
    build,
};

#[derive(Debug)]
struct OpenAi {
    key: SecretRef,
    base: String,
    organization: Option<String>,
    codec: OpenAiChat,
}

fn build(config: &Object, defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    match block.text("openai_api_type")? {
        None | Some("openai") => {}
        Some(kind @ ("azure" | "azuread")) => return azure::build(&block, kind, defaults),
        Some(other) => {
            let reason = format!("{other:?} is none of openai, azure, azuread");
            return Err(ConfigError::new("openai_api_type", reason));
        }
    }
    let base = block.text("openai_api_base")?.or(defaults.base_url()).unwrap_or(DEFAULT_BASE);
    Ok(Box::new(OpenAi {
        key: block.required_secret("openai_api_key")?,
        base: base_url("openai_api_base", base, &["/chat/completions"])?,
        organization: block.text("openai_organization")?.map(str::to_owned),
        codec: OpenAiChat { edits: Edits::OpenAi { stream_usage: true } },
    }))
}

impl Provider for OpenAi {
    fn target(&self, _model: &str, task: Task, _stream: bool) -> Target {
        let organization = self.organization.iter().map(|o| ("openai-organization", o.clone()));
        Target {
            url: format!("{}/{}", self.base, task.operation()),
            headers: organization.collect(),
            auth: Auth::Bearer(self.key.clone()),
            framing: Framing::Sse,
        }
    }

    fn codec(&self, _model: &str, _task: Task) -> Option<Codec<'_>> {
        Some(Codec::Splice(&self.codec))
    }

    fn native(&self, model: &str, call: NativeCall, stream: bool) -> Option<Native<'_>> {
        let target = self.target(model, Task::Chat, stream);
        let url = match call {
            NativeCall::Responses => format!("{}/responses", self.base),
            _ => return None,
        };
        Some(Native { target: Target { url, ..target }, codec: &self.codec, headers: &[], query: &[] })
    }
}

/// How much of a request a provider of this format lets us change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Edits {
    /// Parameters that newer models renamed are renamed, and usage is asked for in streams, where the
    /// upstream knows how to be asked.
    OpenAi { stream_usage: bool },
    /// The model alone, of an engine that may have to be asked for the usage of a stream. A caller's own body is
    /// not changed for that; a request that was translated asks.
    Engine,
    /// The model alone.
    #[default]
    ModelOnly,
}

/// What a stream is asked for usage with.
const STREAM_OPTIONS: &str = "stream_options";

impl Splice for OpenAiChat {
    fn adopt(&self, model: &str, request: ChatRequest) -> Result<ChatRequest, Refused> {
        let mut request = portable::portable(request, model, self.edits)?;
        if self.edits == Edits::Engine && request.stream == Some(true) {
            request.extra.insert(STREAM_OPTIONS.to_owned(), json!({"include_usage": true}));
        }
        Ok(request)
    }

    fn optional(&self) -> &'static [&'static str] {
        if self.edits == Edits::Engine { &[STREAM_OPTIONS] } else { &[] }
    }

    fn splice(&self, model: &str, task: Task, stream: bool, body: &mut RawObject<'_>) -> Result<(), Refused> {
        let invalid = |field: &'static str| move |e: serde_json::Error| Refused::new(field, e.to_string());
        body.set("model", model).map_err(invalid("model"))?;
        let Edits::OpenAi { stream_usage } = self.edits else { return Ok(()) };
        // An empty list is a 400 upstream, and means the same as none; so is a choice among none.
        if body.raw("tools").is_some_and(|raw| is_empty_list(raw.get())) {
            ["tools", "tool_choice", "parallel_tool_calls"].iter().for_each(|key| drop(body.remove(key)));
        }
        if task == Task::Chat && renames_max_tokens(model) && is_absent(body, "max_completion_tokens") {
            body.remove("max_completion_tokens");
            body.rename("max_tokens", "max_completion_tokens");
        }
        if !stream_usage {
            body.remove(STREAM_OPTIONS);
        } else if stream && task != Task::Embeddings {
            let mut options: Object =
                body.get(STREAM_OPTIONS).map_err(invalid(STREAM_OPTIONS))?.unwrap_or_default();
            options.insert("include_usage".to_owned(), true.into());
            body.set(STREAM_OPTIONS, &options).map_err(invalid(STREAM_OPTIONS))?;
        }
        Ok(())
    }

    fn batches(&self) -> Option<(usize, &dyn EmbeddingsCodec)> {
        matches!(self.edits, Edits::OpenAi { .. })
            .then_some((embeddings::MAX_INPUTS, &embeddings::OpenAiEmbeddings))
    }
}

fn is_empty_list(raw: &str) -> bool {
    raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|inner| inner.trim().is_empty())
}

fn is_absent(body: &RawObject<'_>, key: &str) -> bool {
    body.raw(key).is_none_or(|raw| raw.get() == "null")
}

/// The reasoning models (`o1`, `o3-mini`, `gpt-5…`) refuse `max_tokens`.
fn renames_max_tokens(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    // A fine-tuned model is named after its base: `ft:o4-mini-2025-04-16:acme::id`.
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let mut bytes = name.bytes();
    let o_series = bytes.next() == Some(b'o') && bytes.next().is_some_and(|b| b.is_ascii_digit());
    let generation = name.strip_prefix("gpt-").and_then(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse::<u32>().ok()
    });
    o_series || generation.is_some_and(|g| g >= 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const OPENAI: Edits = Edits::OpenAi { stream_usage: true };

    fn spliced(model: &str, stream: bool, body: Value) -> Value {
        let text = body.to_string();
        let mut raw = RawObject::parse(text.as_bytes()).unwrap();
        OpenAiChat { edits: OPENAI }.splice(model, Task::Chat, stream, &mut raw).unwrap();
        serde_json::from_slice(&raw.to_vec().unwrap()).unwrap()
    }

    #[test]
    fn usage_is_asked_for_in_streams() {
        let got = spliced("gpt-4o", true, json!({"stream": true, "stream_options": {"x": 1}}));
        assert_eq!(got["stream_options"], json!({"x": 1, "include_usage": true}));
    }

    #[test]
    fn newer_models_get_the_new_name_of_the_bound() {
        assert_eq!(spliced("o3-mini", false, json!({"max_tokens": 5}))["max_completion_tokens"], 5);
        assert_eq!(spliced("gpt-4o", false, json!({"max_tokens": 5}))["max_tokens"], 5);
        assert_eq!(spliced("gpt-5.1", false, json!({"max_tokens": 5}))["max_completion_tokens"], 5);
        assert_eq!(
            spliced("ft:o4-mini:acme::1", false, json!({"max_tokens": 5}))["max_completion_tokens"],
            5
        );
        let both = json!({"max_tokens": 5, "max_completion_tokens": null});
        assert_eq!(spliced("o3", false, both), json!({"max_completion_tokens": 5, "model": "o3"}));
    }

    #[test]
    fn an_empty_list_of_tools_goes_with_the_choice_among_them() {
        let body = r#"{"tools":[ ],"tool_choice":"auto","parallel_tool_calls":true,"x":[]}"#;
        let mut raw = RawObject::parse(body.as_bytes()).unwrap();
        OpenAiChat { edits: OPENAI }.splice("m", Task::Chat, false, &mut raw).unwrap();
        assert_eq!(raw.to_vec().unwrap(), br#"{"x":[],"model":"m"}"#);
    }

    #[test]
    fn nothing_is_injected_that_was_not_sent() {
        assert_eq!(spliced("o3", false, json!({"messages": []})), json!({"messages": [], "model": "o3"}));
    }
}
