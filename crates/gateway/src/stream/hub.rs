//! Unified format in and out: the data of each event goes on as it came.

use std::borrow::Cow;

use bytes::BytesMut;
use journal::{CountedUsage, Provenance};
use policy::estimate;
use providers::{Malformed, StreamFault};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::sse::{self, Event};
use wire::usage::Usage;

use super::{Progress, ReadError};

pub(crate) struct Hub {
    read_error: ReadError,
    prompt_characters: u64,
    answer_characters: u64,
    usage: Option<Usage>,
    finished: bool,
    ended: bool,
    /// Of the first chunk, for the usage chunk that we add.
    head: Option<Head>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Head {
    id: String,
    object: String,
    created: i64,
    model: String,
}

/// What we look at in a chunk; everything else passes unread.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    usage: Option<Usage>,
    #[serde(default, borrow)]
    choices: Vec<ChoicePeek<'a>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    created: Option<i64>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ChoicePeek<'a> {
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delta: Option<DeltaPeek<'a>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct DeltaPeek<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// The chunk that carries usage where the upstream sent none.
#[derive(Serialize)]
struct UsageChunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: [(); 0],
    usage: &'a Usage,
}

impl Hub {
    pub(super) fn new(prompt_characters: u64, read_error: ReadError) -> Self {
        Self {
            read_error,
            prompt_characters,
            answer_characters: 0,
            usage: None,
            finished: false,
            ended: false,
            head: None,
        }
    }

    pub(super) fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<Progress, StreamFault> {
        if event.data.trim_ascii() == b"[DONE]" {
            self.ended = true;
            return Ok(Progress::Ended);
        }
        match serde_json::from_slice::<Peek<'_>>(&event.data) {
            Ok(peek) => self.watch(peek, event)?,
            // Valid JSON of a shape we do not know travels on; what is no JSON does not.
            Err(error) if error.is_data() => {}
            Err(error) => return Err(Malformed::from(error).into()),
        }
        sse::write_data(out, &event.data);
        Ok(Progress::More)
    }

    fn watch(&mut self, peek: Peek<'_>, event: &Event) -> Result<(), StreamFault> {
        if peek.error.is_some() {
            return Err(StreamFault::Upstream((self.read_error)(&event.data)));
        }
        // Last wins: counts are cumulative where an engine sends several.
        self.usage = peek.usage.or(self.usage.take());
        for choice in &peek.choices {
            self.finished |= choice.finish_reason.is_some();
            let content = choice
                .delta
                .as_ref()
                .and_then(|d| d.content)
                .map_or(0, |raw| raw.get().len().saturating_sub(2));
            self.answer_characters += (content + choice.text.as_deref().map_or(0, str::len)) as u64;
        }
        self.head.get_or_insert_with(|| Head {
            id: peek.id.map(Cow::into_owned).unwrap_or_default(),
            object: peek.object.map(Cow::into_owned).unwrap_or_default(),
            created: peek.created.unwrap_or_default(),
            model: peek.model.map(Cow::into_owned).unwrap_or_default(),
        });
        Ok(())
    }

    pub(super) fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        if !self.finished && !self.ended {
            return Err(Malformed("the stream ended before a finish reason".to_owned()).into());
        }
        if self.usage.is_none() {
            let usage = self.estimated();
            let head = self.head.clone().unwrap_or_default();
            sse::write_json(out, &UsageChunk { head: &head, choices: [], usage: &usage })?;
        }
        Ok(())
    }

    fn estimated(&self) -> Usage {
        Usage::new(estimate::tokens(self.prompt_characters), estimate::tokens(self.answer_characters))
    }

    pub(super) fn usage(&self) -> Option<CountedUsage> {
        match &self.usage {
            Some(usage) => Some(CountedUsage { usage: usage.clone(), provenance: Provenance::Provider }),
            None if self.head.is_some() => {
                Some(CountedUsage { usage: self.estimated(), provenance: Provenance::Estimated })
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use providers::UpstreamError;
    use serde_json::Value;

    fn hub(prompt_characters: u64) -> Hub {
        Hub::new(prompt_characters, Box::new(|data| UpstreamError::read(429, data, |_| None)))
    }

    fn event(data: &str) -> Event {
        Event { name: String::new(), data: data.to_owned().into() }
    }

    #[test]
    fn data_goes_on_as_it_came_and_usage_is_read() {
        let (mut hub, mut out) = (hub(0), BytesMut::new());
        let first = r#"{"id":"a",  "choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],"odd":1.50}"#;
        hub.event(&event(first), &mut out).unwrap();
        hub.event(
            &event(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#),
            &mut out,
        )
        .unwrap();
        hub.finish(&mut out).unwrap();
        assert!(out.starts_with(format!("data: {first}\n\n").as_bytes()));
        let counted = hub.usage().unwrap();
        assert_eq!((counted.usage.total_tokens, counted.provenance), (4, Provenance::Provider));
    }

    #[test]
    fn a_missing_usage_is_estimated_and_said() {
        let (mut hub, mut out) = (hub(40), BytesMut::new());
        hub.event(&event(r#"{"id":"a","model":"m","choices":[{"delta":{"content":"12345678"},"finish_reason":"stop"}]}"#), &mut out)
            .unwrap();
        out.clear();
        hub.finish(&mut out).unwrap();
        let chunk: Value = serde_json::from_slice(out.strip_prefix(b"data: ").unwrap()).unwrap();
        assert_eq!(
            (chunk["usage"]["prompt_tokens"].as_u64(), chunk["usage"]["completion_tokens"].as_u64()),
            (Some(10), Some(2))
        );
        assert_eq!((chunk["id"].as_str(), chunk["choices"].as_array().map(Vec::len)), (Some("a"), Some(0)));
        assert_eq!(hub.usage().unwrap().provenance, Provenance::Estimated);
    }

    #[test]
    fn a_cut_stream_is_no_clean_end() {
        let (mut hub, mut out) = (hub(0), BytesMut::new());
        hub.event(&event(r#"{"choices":[{"delta":{"content":"x"}}]}"#), &mut out).unwrap();
        assert!(hub.finish(&mut out).is_err());
    }

    #[test]
    fn errors_inside_the_stream_are_errors() {
        let (mut hub, mut out) = (hub(0), BytesMut::new());
        let fault = hub
            .event(&event(r#"{"error":{"message":"slow","type":"rate_limit_error"}}"#), &mut out)
            .unwrap_err();
        assert!(matches!(fault, StreamFault::Upstream(e) if e.status == 429));
        assert!(hub.event(&event("{oops"), &mut out).is_err());
        assert!(hub.event(&event(r#"["new","shape"]"#), &mut out).is_ok());
    }
}
