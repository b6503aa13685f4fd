//! Vertex AI: Google's own models, those of other makers that it hosts, embeddings. Wire facts: the
//! `google-genai` and `anthropic` Python SDKs (`AnthropicVertex`) and `cloud.google.com/vertex-ai/docs`.

mod hosted;

use wire::Object;

use crate::auth::{Auth, GoogleServiceAccount};
use crate::fields::{Block, ConfigError, Field, base_url, path_segment};
use crate::google::{EmbedContent, Gemini, Predict, chat_method, native_method};
use crate::hosted::BETA;
use crate::native::{Native, NativeCall, NativeCodec};
use crate::openai::{Edits, OpenAiChat};
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Setting, Target, Task};
use crate::secret::SecretRef;
use hosted::{BareModel, Claude, CountClaude};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

const FIELDS: &[Field] = &[
    Field::text("project_id"),
    Field::text("region"),
    Field::secret("private_key"),
    Field::extension("vertex_api_base"),
];

const TOKEN_URI: Setting = Setting {
    key: "token_uri",
    variables: &[],
    doc: "where the tokens of service accounts are got; goes before the `token_uri` of their keys",
};

pub(crate) const REGISTRATION: Registration = Registration {
    name: "google-cloud-vertex-ai",
    config_field: "google_cloud_vertex_ai_config",
    tasks: &[Task::Chat, Task::Embeddings],
    fields: FIELDS,
    settings: &[Setting::base_url(&["GOOGLE_VERTEX_BASE_URL"]), TOKEN_URI],
    build,
};

#[derive(Debug)]
struct Vertex {
    /// Up to and with the location.
    base: String,
    account: GoogleServiceAccount,
    openai: OpenAiChat,
    bare: BareModel,
}

fn build(config: &Object, defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    let key: SecretRef = block.required_secret("private_key")?;
    let region = block.required("region")?;
    // It goes into the host: anything else in it could send the token elsewhere.
    if !region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(ConfigError::new(
            "region",
            format!("{region:?} is no region, which is like us-central1"),
        ));
    }
    let base = match block.text("vertex_api_base")?.or(defaults.base_url()) {
        Some(base) => base_url("vertex_api_base", base, &["/v1"])?,
        None => format!("https://{}", host(region)),
    };
    let project = path_segment(block.required("project_id")?);
    let token_uri = defaults.get("token_uri").map(|uri| base_url("token_uri", uri, &[])).transpose()?;
    Ok(Box::new(Vertex {
        base: format!("{base}/v1/projects/{project}/locations/{region}"),
        account: GoogleServiceAccount { key, scope: SCOPE, token_uri },
        openai: OpenAiChat { edits: Edits::OpenAi { stream_usage: true } },
        bare: BareModel(OpenAiChat { edits: Edits::ModelOnly }),
    }))
}

fn host(region: &str) -> String {
    match region {
        "global" => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{region}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    }
}

/// Whose a model is, which decides how it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker<'a> {
    Google(&'a str),
    Claude(&'a str),
    /// Served under its maker's own path, with OpenAI's bodies.
    Mistral(&'a str),
    /// Served by the OpenAI-compatible endpoint.
    Other,
}

fn maker(model: &str) -> Maker<'_> {
    match model.split_once('/') {
        Some(("google", name)) => Maker::Google(name),
        Some(("anthropic", name)) => Maker::Claude(name),
        Some(("mistralai", name)) => Maker::Mistral(name),
        Some(_) => Maker::Other,
        None if model.starts_with("claude") => Maker::Claude(model),
        None => Maker::Google(model),
    }
}

/// The models that `:predict` does not serve.
fn embeds_by_content(name: &str) -> bool {
    name.starts_with("gemini-embedding") && !name.starts_with("gemini-embedding-001")
}

impl Provider for Vertex {
    fn target(&self, model: &str, task: Task, stream: bool) -> Target {
        let raw = if stream { "streamRawPredict" } else { "rawPredict" };
        let (publisher, name, method) = match maker(model) {
            Maker::Google(name) if task != Task::Embeddings => ("google", name, chat_method(stream)),
            Maker::Google(name) if embeds_by_content(name) => ("google", name, "embedContent"),
            Maker::Google(name) => ("google", name, "predict"),
            Maker::Claude(name) => ("anthropic", name, raw),
            Maker::Mistral(name) => ("mistralai", name, raw),
            Maker::Other => return self.at("endpoints/openapi/chat/completions"),
        };
        self.at(&format!("publishers/{publisher}/models/{}:{method}", path_segment(name)))
    }

    fn telemetry_name(&self) -> Option<&'static str> {
        Some("gcp.vertex_ai")
    }

    fn codec(&self, model: &str, task: Task) -> Option<Codec<'_>> {
        match (task, maker(model)) {
            (Task::Chat, Maker::Google(_)) => Some(Codec::Chat(&Gemini { call_ids: false })),
            (Task::Chat, Maker::Claude(_)) => Some(Codec::Chat(&Claude)),
            (Task::Chat, Maker::Mistral(_)) => Some(Codec::Splice(&self.bare)),
            (Task::Chat, Maker::Other) => Some(Codec::Splice(&self.openai)),
            (Task::Embeddings, Maker::Google(name)) => Some(Codec::Embeddings(if embeds_by_content(name) {
                &EmbedContent
            } else if name.starts_with("gemini") {
                &Predict { most: 1 }
            } else {
                &Predict { most: 250 }
            })),
            _ => None,
        }
    }

    fn native(&self, model: &str, call: NativeCall, stream: bool) -> Option<Native<'_>> {
        match maker(model) {
            Maker::Google(name) => {
                let method = native_method(call, stream)?;
                let target = self.at(&format!("publishers/google/models/{}:{method}", path_segment(name)));
                Some(Native { target, codec: &Gemini { call_ids: false }, headers: &[], query: &[] })
            }
            Maker::Claude(_) => {
                let (target, codec): (_, &dyn NativeCodec) = match call {
                    NativeCall::Messages => (self.target(model, Task::Chat, stream), &Claude),
                    NativeCall::CountMessages => {
                        (self.at("publishers/anthropic/models/count-tokens:rawPredict"), &CountClaude)
                    }
                    _ => return None,
                };
                Some(Native { target, codec, headers: &[BETA], query: &[] })
            }
            Maker::Mistral(_) | Maker::Other => None,
        }
    }
}

impl Vertex {
    fn at(&self, path: &str) -> Target {
        Target {
            url: format!("{}/{path}", self.base),
            headers: Vec::new(),
            auth: Auth::GoogleServiceAccount(self.account.clone()),
            framing: Framing::Sse,
        }
    }
}

#[cfg(test)]
mod tests;
