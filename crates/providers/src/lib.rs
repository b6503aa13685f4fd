//! One folder per upstream: where it is, how to authenticate, which formats it speaks. Pure: no I/O,
//! no clock, no environment, no secret values.
//!
//! A *codec* says a task in a format; a *provider* says where, with which credentials, which codec.
//! Adding a provider is a folder and one line in [`ALL`]; see `docs/adding-a-provider.md`.

pub mod auth;
pub mod codec;
pub mod fields;
pub mod names;
pub mod native;
pub mod provider;
pub mod secret;
mod tool_choice;
mod unified;

mod ai21labs;
mod amazon_bedrock;
mod anthropic;
mod cohere;
mod custom;
mod databricks_model_serving;
mod google;
mod google_cloud_vertex_ai;
mod openai;
mod palm;

pub use amazon_bedrock::converse_usage;
pub use anthropic::MessagesUsage;
pub use auth::Auth;
pub use codec::{
    ChatCodec, ChatStream, Embedded, EmbeddingsCodec, Encoded, Malformed, Refused, Reply, StreamFault,
    UpstreamError,
};
pub use fields::{ConfigError, Field};
pub use google::generate_content_usage;
pub use native::{Native, NativeCall, NativeCodec};
pub use provider::{Codec, Framing, Provider, Registration, Setting, Splice, Target, Task};
pub use secret::SecretRef;
pub use unified::SIGNED_ID;

/// Formats that more than one provider speaks, under the names of the formats.
pub(crate) use anthropic::{Messages, claude, hosted};

/// Every provider there is: the single source for parsing, validation, docs and tests.
pub const ALL: &[Registration] = &[
    openai::REGISTRATION,
    anthropic::REGISTRATION,
    amazon_bedrock::REGISTRATION,
    google_cloud_vertex_ai::REGISTRATION,
    google::REGISTRATION,
    cohere::REGISTRATION,
    ai21labs::REGISTRATION,
    databricks_model_serving::REGISTRATION,
    custom::REGISTRATION,
    palm::REGISTRATION,
];

/// The provider registered under `name`.
pub fn find(name: &str) -> Option<&'static Registration> {
    ALL.iter().find(|r| r.name == name)
}

/// The known spelling nearest to `given`, when one is near enough to be what was meant.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&given.to_lowercase(), name), name))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_near_name_only() {
        let names = || ALL.iter().map(|r| r.name);
        assert_eq!(nearest("open-ai", names()), Some("openai"));
        assert_eq!(nearest("Antropic", names()), Some("anthropic"));
        assert_eq!(nearest("zzz", names()), None);
    }
}
