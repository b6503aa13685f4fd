//! A configured upstream: where to send, how to authenticate, which formats it speaks. All of it data.

use std::fmt;

use wire::Object;
use wire::raw::RawObject;

use crate::codec::{ChatCodec, Refused};
use crate::fields::{ConfigError, Field};
use crate::secret::SecretRef;

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

/// How a call is authorised, naming secrets, not holding them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    /// `Authorization: Bearer <secret>`.
    Bearer(SecretRef),
    /// The secret as the value of a header; the name in lower case.
    Header(String, SecretRef),
}

impl Auth {
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer(secret) | Self::Header(_, secret) => vec![secret],
        }
    }
}

/// How a streamed answer is cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Sse,
}

/// A configured upstream.
pub trait Provider: Send + Sync + fmt::Debug {
    fn target(&self, model: &str, task: Task, stream: bool) -> Target;

    /// The codec of a provider whose format is not the unified one.
    fn chat(&self) -> Option<&dyn ChatCodec> {
        None
    }

    /// The edit of a provider that speaks the unified format: its bytes pass through.
    fn splice(&self) -> Option<&dyn Splice> {
        None
    }
}

/// Same format in and out: only what must change is changed, nothing is dropped or re-ordered.
pub trait Splice: ChatCodec {
    fn splice(&self, model: &str, task: Task, stream: bool, body: &mut RawObject<'_>) -> Result<(), Refused>;
}

/// The server's configuration of a provider, for all endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Stands in for the provider's public address; an entity's own base goes before it.
    pub base_url: Option<String>,
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
    pub tasks: &'static [Task],
    pub fields: &'static [Field],
    /// Whether `[providers.<name>] base_url` of the server's configuration means anything.
    pub has_base_url: bool,
    pub build: Build,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("name", &self.name).finish_non_exhaustive()
    }
}
