//! A configured upstream: where to send, how to authenticate, which formats it speaks. All of it data.

use std::collections::BTreeMap;
use std::fmt;

use wire::Object;
use wire::chat::ChatRequest;
use wire::raw::RawObject;

use crate::auth::Auth;
use crate::codec::{ChatCodec, EmbeddingsCodec, Refused};
use crate::fields::{ConfigError, Field};
use crate::native::{Native, NativeCall};

/// What an endpoint does. The names on the wire are `llm/v1/…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    Chat,
    Completions,
    Embeddings,
}

impl Task {
    pub const ALL: [Self; 3] = [Self::Chat, Self::Completions, Self::Embeddings];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "llm/v1/chat",
            Self::Completions => "llm/v1/completions",
            Self::Embeddings => "llm/v1/embeddings",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == text)
    }

    /// The last segments of the OpenAI path of the task.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
        }
    }
}

/// Where one kind of call goes and how it is authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub url: String,
    /// Headers that are no secrets. Lower-case names.
    pub headers: Vec<(&'static str, String)>,
    pub auth: Auth,
    pub framing: Framing,
}

/// How a streamed answer is cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// `application/vnd.amazon.eventstream`: an event's name is its `:event-type`; an exception's is
    /// `exception:` and its `:exception-type`.
    AwsEventStream,
}

/// A configured upstream.
pub trait Provider: Send + Sync + fmt::Debug {
    fn target(&self, model: &str, task: Task, stream: bool) -> Target;

    /// What OpenTelemetry calls it in `gen_ai.provider.name`, where that is not the name it is registered under.
    fn telemetry_name(&self) -> Option<&'static str> {
        None
    }

    /// How `task` is said to `model`; `None` when the provider does not serve it with that model.
    fn codec(&self, model: &str, task: Task) -> Option<Codec<'_>>;

    /// How `call`, which is in a client's own format, is passed on to `model`; `None` where the provider
    /// does not speak that format, and the call is translated.
    fn native(&self, _model: &str, _call: NativeCall, _stream: bool) -> Option<Native<'_>> {
        None
    }
}

/// In which way a provider is spoken to.
#[derive(Clone, Copy, Debug)]
pub enum Codec<'a> {
    /// It speaks the unified format: its bytes pass through.
    Splice(&'a dyn Splice),
    /// Chat in a format of its own; for completions: the prompt goes as a message of the user.
    Chat(&'a dyn ChatCodec),
    /// Embeddings in a format of its own.
    Embeddings(&'a dyn EmbeddingsCodec),
}

/// Same format in and out: only what must change is changed, nothing is dropped or re-ordered.
pub trait Splice: ChatCodec {
    fn splice(&self, model: &str, task: Task, stream: bool, body: &mut RawObject<'_>) -> Result<(), Refused>;

    /// A request that was translated from another client's format, made acceptable: what of the unified
    /// format is beyond the upstream's own is put in other words, left out where it is a hint, or refused.
    fn adopt(&self, _model: &str, request: ChatRequest) -> Result<ChatRequest, Refused> {
        Ok(request)
    }

    /// Fields that [`Splice::adopt`] adds and that an upstream of this format may not know. One that refuses them is
    /// asked again without.
    fn optional(&self) -> &'static [&'static str] {
        &[]
    }

    /// Most inputs that one call for embeddings takes, and the codec that splits what is more; `None` where
    /// the caller's body is not to be taken apart.
    fn batches(&self) -> Option<(usize, &dyn EmbeddingsCodec)> {
        None
    }
}

/// The server's configuration of a provider, for all endpoints: values of its [`Setting`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    values: BTreeMap<String, String>,
}

impl Defaults {
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: values.into_iter().collect() }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Stands in for the provider's public address; an entity's own base goes before it.
    pub fn base_url(&self) -> Option<&str> {
        self.get(BASE_URL)
    }
}

const BASE_URL: &str = "base_url";

/// One key of `[providers.<name>]` in the server's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub key: &'static str,
    /// Variables of the provider's own tools that mean the same, the first that is set counts.
    pub variables: &'static [&'static str],
    pub doc: &'static str,
}

impl Setting {
    /// The setting of nearly all: where the provider is.
    pub const fn base_url(variables: &'static [&'static str]) -> Self {
        let doc = "stands in for the provider's public address; an entity's own base goes before it";
        Self { key: BASE_URL, variables, doc }
    }
}

/// Reads a provider's config block.
pub type Build = fn(&Object, &Defaults) -> Result<Box<dyn Provider>, ConfigError>;

/// One line of [`crate::ALL`].
#[derive(Clone, Copy)]
pub struct Registration {
    /// The value of `external_model.provider`.
    pub name: &'static str,
    /// The key of the provider's block in `external_model`.
    pub config_field: &'static str,
    /// Empty for a provider that is gone: `build` refuses every block, saying what to use instead.
    pub tasks: &'static [Task],
    pub fields: &'static [Field],
    pub settings: &'static [Setting],
    pub build: Build,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("name", &self.name).finish_non_exhaustive()
    }
}
