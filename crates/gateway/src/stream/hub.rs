//! Unified format in and out: the data of each event goes on as it came.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::BytesMut;
use journal::inference::{FinishReasons, Response};
use journal::{CountedUsage, Provenance};
use providers::{Malformed, StreamFault};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::sse::{self, Event};
use wire::usage::Usage;

use super::{Progress, ReadError};
use crate::estimate::{Lengths, characters};

pub(crate) struct Hub {
    read_error: ReadError,
    pub(super) lengths: Lengths,
    usage: Option<Usage>,
    /// Choices that have begun and not told why they ended.
    open: BTreeSet<u64>,
    finished: bool,
    ended: bool,
    /// Whether the client is told what was used.
    tells_usage: bool,
    /// Of the first chunk, for the usage chunk that we add.
    head: Option<Head>,
    finish_reasons: FinishReasons,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Head {
    id: String,
    object: String,
    created: i64,
    model: String,
}

/// What we look at in a chunk; everything else passes unread.
#[derive(Default, Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    usage: Option<Usage>,
    #[serde(borrow)]
    choices: Option<Vec<ChoicePeek<'a>>>,
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
    index: Option<u64>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<DeltaPeek<'a>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DeltaPeek<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

/// The same of a chunk in which one of the fields has a type of its own: the others still count.
#[derive(Deserialize)]
struct Rough<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

/// The chunk that carries usage where the upstream sent none.
#[derive(Serialize)]
struct UsageChunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: [(); 0],
    usage: &'a Usage,
}

impl<'a> Peek<'a> {
    /// `None` for valid JSON that is no object.
    fn read(data: &'a [u8]) -> Result<Option<Self>, Malformed> {
        // Strings that nobody reads are not checked by the parser, and would reach the client as they are.
        let text = str::from_utf8(data).map_err(|e| Malformed(format!("an event is not UTF-8: {e}")))?;
        match serde_json::from_str(text) {
            Ok(peek) => Ok(Some(peek)),
            Err(error) if error.is_data() => {
                // The reader stopped at a type: what comes after it may still be no JSON.
                serde_json::from_str::<IgnoredAny>(text)?;
                Ok(serde_json::from_str::<Rough<'_>>(text).ok().map(Self::of))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The chunk that the upstream was asked for besides.
    fn is_only_usage(&self) -> bool {
        self.usage.is_some() && self.choices.as_ref().is_some_and(Vec::is_empty)
    }

    fn of(rough: Rough<'a>) -> Self {
        fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
            serde_json::from_str(raw?.get()).ok()
        }
        Self {
            error: rough.error,
            usage: read(rough.usage),
            choices: read(rough.choices),
            id: read(rough.id),
            object: read(rough.object),
            created: None,
            model: read(rough.model),
        }
    }
}

impl DeltaPeek<'_> {
    fn length(&self) -> u64 {
        let length = |text: Option<&RawValue>| text.map_or(0, characters);
        // Two names of one text: engines that changed from one to the other send both.
        let reasoning = length(self.reasoning_content).max(length(self.reasoning));
        length(self.content) + reasoning + length(self.tool_calls)
    }
}

impl Hub {
    pub(super) fn new(lengths: Lengths, read_error: ReadError, tells_usage: bool) -> Self {
        Self {
            read_error,
            lengths,
            usage: None,
            open: BTreeSet::new(),
            finished: false,
            ended: false,
            tells_usage,
            head: None,
            finish_reasons: FinishReasons::default(),
        }
    }

    pub(super) fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<Progress, StreamFault> {
        match event.data.trim_ascii() {
            b"[DONE]" => {
                self.ended = true;
                return Ok(Progress::Ended);
            }
            // A keep-alive.
            b"" => return Ok(Progress::More),
            _ => {}
        }
        let peek = Peek::read(&event.data)?;
        let says_error = |peek: &Peek<'_>| peek.error.is_some() || peek.object.as_deref() == Some("error");
        if event.name == "error" || peek.as_ref().is_some_and(says_error) {
            return Err(StreamFault::Upstream((self.read_error)(&event.data)));
        }
        // Valid JSON of a shape that we do not know travels on.
        let only_usage = peek.as_ref().is_some_and(Peek::is_only_usage);
        if let Some(peek) = peek {
            self.watch(peek);
        }
        if self.tells_usage || !only_usage {
            sse::write_data(out, &event.data);
        }
        Ok(Progress::More)
    }

    fn watch(&mut self, peek: Peek<'_>) {
        // Last wins: counts are cumulative where an engine sends several.
        self.usage = peek.usage.filter(Usage::is_told).or(self.usage.take());
        let choices = peek.choices.unwrap_or_default();
        for choice in &choices {
            let index = choice.index.unwrap_or_default();
            if let Some(reason) = choice.finish_reason {
                self.finish_reasons.note(reason.get().trim_matches('"'));
                self.finished = true;
                self.open.remove(&index);
            } else {
                self.open.insert(index);
            }
            self.lengths.answer +=
                choice.delta.as_ref().map_or(0, DeltaPeek::length) + choice.text.map_or(0, characters);
        }
        if !choices.is_empty() {
            self.head.get_or_insert_with(|| Head {
                id: peek.id.map(Cow::into_owned).unwrap_or_default(),
                object: peek.object.map(Cow::into_owned).unwrap_or_default(),
                created: peek.created.unwrap_or_default(),
                model: peek.model.map(Cow::into_owned).unwrap_or_default(),
            });
        }
    }

    fn is_complete(&self) -> bool {
        self.ended || (self.finished && self.open.is_empty())
    }

    pub(super) fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        if !self.is_complete() {
            return Err(Malformed("the stream ended before a finish reason".to_owned()).into());
        }
        if self.usage.is_none() && self.tells_usage {
            let head = self.head.take().unwrap_or_default();
            let usage = self.lengths.usage();
            sse::write_json(out, &UsageChunk { head: &head, choices: [], usage: &usage })?;
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> CountedUsage {
        match &self.usage {
            Some(usage) if self.is_complete() => {
                CountedUsage { usage: usage.clone(), provenance: Provenance::Provider }
            }
            told => self.lengths.cut(told.as_ref()),
        }
    }

    pub(super) fn response(&self) -> Response {
        let told = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let head = self.head.as_ref();
        Response {
            id: head.and_then(|head| told(&head.id)),
            model: head.and_then(|head| told(&head.model)),
            finish_reasons: self.finish_reasons.clone(),
            ..Response::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use providers::UpstreamError;
    use serde_json::Value;

    fn hub(prompt: u64) -> Hub {
        let read_error = Box::new(|data: &[u8]| UpstreamError::read(429, data, |_| None));
        Hub::new(Lengths { prompt, answer: 0 }, read_error, true)
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
        let counted = hub.usage();
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
        assert_eq!(hub.usage().provenance, Provenance::Estimated);
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
        let named = Event { name: "error".to_owned(), data: r#"{"message":"m"}"#.into() };
        for error in
            [named, event(r#"{"object":"error","message":"m"}"#), event(r#"{"error":{},"choices":7}"#)]
        {
            assert!(hub.event(&error, &mut out).is_err(), "{error:?}");
        }
        assert!(hub.event(&event("{oops"), &mut out).is_err());
        for broken in ["null {}", "[1] x", r#"{"usage":"?", oops"#] {
            assert!(hub.event(&event(broken), &mut out).is_err(), "{broken}");
        }
        let latin = Event { name: String::new(), data: (&b"{\"x\":\"\xe9\"}"[..]).into() };
        assert!(hub.event(&latin, &mut out).is_err());
        assert!(hub.event(&event(r#"["new","shape"]"#), &mut out).is_ok());
    }

    #[test]
    fn keep_alives_and_odd_fields_are_harmless() {
        let (mut hub, mut out) = (hub(0), BytesMut::new());
        for data in [
            "",
            r#"{"type":"ping"}"#,
            r#"{"choices":null,"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
            r#"{"id":"a","created":1.5,"usage":"soon","choices":[{"delta":null,"finish_reason":"stop"}]}"#,
        ] {
            hub.event(&event(data), &mut out).unwrap();
        }
        hub.finish(&mut out).unwrap();
        assert_eq!(hub.usage().usage.total_tokens, 3);
        assert!(!out.windows(8).any(|w| w == b"data: \n\n"), "an empty event went on");
    }

    #[test]
    fn one_finished_choice_of_two_is_a_cut_stream() {
        let (mut hub, mut out) = (hub(0), BytesMut::new());
        hub.event(&event(r#"{"choices":[{"index":0,"delta":{}},{"index":1,"delta":{}}]}"#), &mut out)
            .unwrap();
        hub.event(&event(r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#), &mut out).unwrap();
        assert!(hub.finish(&mut out).is_err());
        hub.event(&event(r#"{"choices":[{"index":1,"finish_reason":"stop"}]}"#), &mut out).unwrap();
        assert!(hub.finish(&mut out).is_ok());
    }
}
