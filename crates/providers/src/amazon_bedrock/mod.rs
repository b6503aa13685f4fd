//! Amazon Bedrock: chat by Converse, embeddings by InvokeModel. Wire facts: botocore's service model of
//! `bedrock-runtime`, and the model parameters of the Bedrock user guide.

mod content;
mod embeddings;
mod hosted;
mod reasoning;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;
mod tools;

use ::wire::Object;
use ::wire::chat::{ChatRequest, ChatResponse};
use ::wire::raw::RawObject;

use crate::auth::{Auth, AwsCredentials, SigV4};
use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, UpstreamError};
use crate::fields::{Block, ConfigError, Field, base_url, path_segment};
use crate::hosted::BETA;
use crate::native::{Native, NativeCall, NativeCodec};
use crate::nearest;
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Setting, Target, Task};
use embeddings::Embeddings;

pub use response::converse_usage;

const FIELDS: &[Field] = &[
    Field::text("aws_region"),
    Field::text("bedrock_provider"),
    Field::secret("aws_access_key_id"),
    Field::secret("aws_secret_access_key"),
    Field::text("instance_profile_arn"),
    Field::text("uc_service_credential_name"),
    Field::extension("bedrock_runtime_endpoint"),
];

const SETTINGS: &[Setting] = &[
    Setting::base_url(&["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"]),
    Setting {
        key: "sts_endpoint",
        variables: &["AWS_ENDPOINT_URL_STS"],
        doc: "stands in for the token service of the entity's region, where roles are assumed",
    },
    Setting {
        key: "instance_profiles",
        variables: &[],
        doc: "the profiles whose roles may be assumed for `instance_profile_arn`, several separated by commas; the machine's own needs no listing",
    },
    Setting {
        key: "service_credentials",
        variables: &[],
        doc: "what `uc_service_credential_name` may name: `name=arn:aws:iam::…:role/…`, several separated by commas",
    },
];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "amazon-bedrock",
    config_field: "amazon_bedrock_config",
    tasks: &[Task::Chat, Task::Completions, Task::Embeddings],
    fields: FIELDS,
    settings: SETTINGS,
    build,
};

/// Who made the models: one of the values of `bedrock_provider`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maker(&'static str);

const MAKERS: [&str; 4] = ["anthropic", "cohere", "ai21labs", "amazon"];

impl Maker {
    fn read(text: &str) -> Result<Self, ConfigError> {
        let found = MAKERS.iter().find(|name| name.eq_ignore_ascii_case(text));
        found.map(|name| Self(name)).ok_or_else(|| {
            let hint = match nearest(text, MAKERS) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known are {}", MAKERS.join(", ")),
            };
            ConfigError::new("bedrock_provider", format!("unknown provider {text:?}, {hint}"))
        })
    }
}

#[derive(Debug)]
struct Bedrock {
    base: String,
    region: String,
    credentials: AwsCredentials,
    converse: Converse,
    embeddings: Embeddings,
}

fn build(config: &Object, defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    let credentials = credentials(&block, defaults)?;
    let region = block.required("aws_region")?.to_lowercase();
    // It becomes part of a host.
    if !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(ConfigError::new("aws_region", format!("{region:?} is no region, such as us-east-1")));
    }
    let maker = Maker::read(block.required("bedrock_provider")?)?;
    let base = block.text("bedrock_runtime_endpoint")?.or(defaults.base_url());
    let base = match base {
        Some(base) => base_url("bedrock_runtime_endpoint", base, &[])?,
        None => format!("https://bedrock-runtime.{region}.amazonaws.com"),
    };
    Ok(Box::new(Bedrock {
        base,
        region,
        credentials,
        converse: Converse { maker },
        embeddings: Embeddings { maker },
    }))
}

/// Keys, or an instance profile, or a credential that the server's configuration names: one of them.
fn credentials(block: &Block<'_>, defaults: &Defaults) -> Result<AwsCredentials, ConfigError> {
    let profile = block.text("instance_profile_arn")?;
    let name = block.text("uc_service_credential_name")?;
    let sts_endpoint = defaults.get("sts_endpoint").map(|e| base_url("sts_endpoint", e, &[])).transpose()?;
    let keys =
        block.secret("aws_access_key_id")?.is_some() || block.secret("aws_secret_access_key")?.is_some();
    match (keys, profile, name) {
        (true, None, None) => Ok(AwsCredentials::Keys {
            access_key_id: block.required_secret("aws_access_key_id")?,
            secret_access_key: block.required_secret("aws_secret_access_key")?,
        }),
        (false, Some(profile), None) => Ok(AwsCredentials::Chain {
            role_arn: role_of(profile, defaults.get("instance_profiles").unwrap_or_default())?,
            instance_profile_arn: Some(profile.to_owned()),
            sts_endpoint,
        }),
        (false, None, Some(name)) => {
            let role_arn = Some(named_role(name, defaults.get("service_credentials").unwrap_or_default())?);
            Ok(AwsCredentials::Chain { role_arn, instance_profile_arn: None, sts_endpoint })
        }
        (false, None, None) => Err(ConfigError::new(
            "",
            "set aws_access_key_id and aws_secret_access_key, or instance_profile_arn, or uc_service_credential_name",
        )),
        _ => Err(ConfigError::new(
            "",
            "set one of the access keys, instance_profile_arn and uc_service_credential_name, not several",
        )),
    }
}

/// `arn:aws:iam::<account>:instance-profile/<name>` holds the role of that name unless somebody renamed it;
/// the ARN of a role is taken as it is.
///
/// Whoever may create endpoints must not thereby use every role that the machine may assume: without a
/// listing in the server's configuration there is no role, and only the machine's own profile will do.
fn role_of(profile: &str, listed: &str) -> Result<Option<String>, ConfigError> {
    let is_arn = profile.starts_with("arn:") && profile.splitn(6, ':').count() == 6;
    if is_arn && (profile.contains(":instance-profile/") || profile.contains(":role/")) {
        let is_listed = listed.split(',').any(|known| known.trim() == profile);
        return Ok(is_listed.then(|| profile.replace(":instance-profile/", ":role/")));
    }
    let reason = format!(
        "{profile:?} is no ARN of an instance profile, such as arn:aws:iam::123456789012:instance-profile/name"
    );
    Err(ConfigError::new("instance_profile_arn", reason))
}

/// The role that the server's configuration gives the name.
fn named_role(name: &str, configured: &str) -> Result<String, ConfigError> {
    let pairs = configured.split(',').filter_map(|pair| pair.trim().split_once('='));
    let pairs: Vec<(&str, &str)> = pairs.map(|(name, role)| (name.trim(), role.trim())).collect();
    if let Some((_, role)) = pairs.iter().find(|(known, _)| *known == name) {
        return Ok((*role).to_owned());
    }
    let hint = match nearest(name, pairs.iter().map(|(known, _)| *known)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "the server's configuration names them in service_credentials of this provider".to_owned(),
    };
    Err(ConfigError::new("uc_service_credential_name", format!("unknown credential {name:?}, {hint}")))
}

impl Provider for Bedrock {
    fn target(&self, model: &str, task: Task, stream: bool) -> Target {
        let operation = match (task, stream) {
            (Task::Embeddings, _) => "invoke",
            (Task::Chat | Task::Completions, false) => "converse",
            (Task::Chat | Task::Completions, true) => "converse-stream",
        };
        Target {
            // Ids hold colons, and ARNs slashes: one segment all the same.
            url: format!("{}/model/{}/{operation}", self.base, path_segment(model)),
            headers: Vec::new(),
            auth: Auth::SigV4(SigV4 {
                region: self.region.clone(),
                service: "bedrock",
                credentials: self.credentials.clone(),
            }),
            framing: if stream { Framing::AwsEventStream } else { Framing::Sse },
        }
    }

    fn telemetry_name(&self) -> Option<&'static str> {
        Some("aws.bedrock")
    }

    fn codec(&self, model: &str, task: Task) -> Option<Codec<'_>> {
        match task {
            Task::Embeddings => self.embeddings.format(model).map(|_| Codec::Embeddings(&self.embeddings)),
            Task::Chat | Task::Completions if self.embeddings.named(model).is_some() => None,
            Task::Chat | Task::Completions => Some(Codec::Chat(&self.converse)),
        }
    }

    fn native(&self, model: &str, call: NativeCall, stream: bool) -> Option<Native<'_>> {
        if self.embeddings.named(model).is_some() {
            return None;
        }
        let target = self.target(model, Task::Chat, stream);
        match call {
            NativeCall::Converse => Some(Native { target, codec: &self.converse, headers: &[], query: &[] }),
            NativeCall::Messages if self.converse.family(model) == Family::Claude => {
                let operation = if stream { "invoke-with-response-stream" } else { "invoke" };
                let url = format!("{}/model/{}/{operation}", self.base, path_segment(model));
                let target = Target { url, ..target };
                Some(Native { target, codec: &hosted::Claude, headers: &[BETA], query: &[] })
            }
            _ => None,
        }
    }
}

impl NativeCodec for Converse {
    /// The path names the model, the body does not.
    fn pass(&self, _model: &str, _body: &mut RawObject<'_>) -> Result<(), Refused> {
        Ok(())
    }

    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError {
        response::failure(status, body)
    }
}

/// The codec of Converse, the format that Bedrock has for all models of text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Converse {
    maker: Maker,
}

impl Converse {
    /// What the model is made on: parameters beyond Converse's own differ. An ARN tells nothing, the
    /// configured maker does.
    fn family(self, model: &str) -> Family {
        let names_none = model.starts_with("arn:") && !model.contains("foundation-model/");
        match () {
            () if model.contains("claude") || (names_none && self.maker.0 == "anthropic") => Family::Claude,
            () if model.contains("nova-2") => Family::Nova2,
            () if model.contains("gpt-oss") => Family::GptOss,
            () => Family::Other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Claude,
    Nova2,
    GptOss,
    Other,
}

impl ChatCodec for Converse {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        request::encode(model, self.family(model), request)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        response::decode(body)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Box::<stream::ConverseStream>::default()
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        response::error(status, body)
    }
}
