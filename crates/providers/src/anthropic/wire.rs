//! What the Messages API sends. Only the fields we act on.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::codec::Malformed;

/// Fields may be null where a gateway stands in for the API: null reads as absent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MessageReply {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) content: Option<Vec<Value>>,
    pub(super) stop_reason: Option<String>,
    pub(super) usage: Option<UsageCounts>,
}

/// Counts may be missing or null in any event; only those present say something.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct UsageCounts {
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) cache_creation_input_tokens: Option<u64>,
    pub(super) cache_creation: Option<CacheCreation>,
    pub(super) output_tokens_details: Option<OutputDetails>,
}

/// How long what was written to the cache stays.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct CacheCreation {
    pub(super) ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct OutputDetails {
    pub(super) thinking_tokens: Option<u64>,
}

impl UsageCounts {
    /// Later counts are cumulative: each that is present replaces the earlier one.
    pub(super) fn merge(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens =
            later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }
}

/// One event of a stream, its parts unread: what they mean depends on the kind, and in a kind we do not
/// know they may be anything.
#[derive(Debug, Deserialize)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> StreamEvent<'a> {
    /// The kind, which the data tells; the SSE event name stands in where it does not.
    pub(super) fn kind(&self, name: &'a str) -> Cow<'a, str> {
        let told = self.kind.and_then(|raw| serde_json::from_str::<Cow<'a, str>>(raw.get()).ok());
        match told {
            Some(kind) => kind,
            None if name.is_empty() && self.error.is_some() => Cow::Borrowed("error"),
            None => Cow::Borrowed(name),
        }
    }

    pub(super) fn index(&self) -> Result<u64, Malformed> {
        let raw =
            self.index.ok_or_else(|| Malformed("the event of a content block has no index".to_owned()))?;
        Ok(serde_json::from_str(raw.get())?)
    }
}

/// A part of an event; the default where it is absent.
pub(super) fn part<'a, T: Deserialize<'a> + Default>(raw: Option<&'a RawValue>) -> Result<T, Malformed> {
    raw.map_or_else(|| Ok(T::default()), |raw| Ok(serde_json::from_str(raw.get())?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum BlockDelta {
    TextDelta {
        text: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    #[default]
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct MessageDelta {
    pub(super) stop_reason: Option<String>,
    /// Older versions of the API put the counts here.
    pub(super) usage: Option<UsageCounts>,
}
