//! Another format in, chunks of the unified one between, the client's format out.

use std::sync::Arc;

use bytes::BytesMut;
use journal::inference::{FinishReasons, Response};
use journal::{CountedUsage, Provenance};
use providers::names::Names;
use providers::{ChatStream, StreamFault};
use wire::chat::{ChatChunk, Delta};
use wire::sse::Event;
use wire::usage::Usage;

use super::Progress;
use crate::dialect::DialectStream;
use crate::error::ServeError;
use crate::estimate::Lengths;
use crate::reasoning;

pub(crate) struct Translated {
    stream: Box<dyn ChatStream>,
    names: Names,
    origin: Origin,
    client: Box<dyn DialectStream>,
    usage: Option<Box<Usage>>,
    /// Whether the answer has come to its end: a count before that is not the last one.
    complete: bool,
    pub(super) lengths: Lengths,
    /// Of the first chunk, for the usage chunk that we add.
    head: Option<Box<ChatChunk>>,
    finish_reasons: FinishReasons,
    /// Reused between events.
    chunks: Vec<ChatChunk>,
}

/// Stands in for what a format does not say.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) id: String,
    /// Seconds since the epoch.
    pub(crate) created: i64,
    pub(crate) model: String,
    /// Of the entity, for the reasoning that it signs.
    pub(crate) mark: Arc<str>,
}

impl Translated {
    pub(crate) fn new(
        stream: Box<dyn ChatStream>,
        names: Names,
        origin: Origin,
        client: Box<dyn DialectStream>,
        lengths: Lengths,
    ) -> Self {
        Self {
            stream,
            names,
            origin,
            client,
            usage: None,
            complete: false,
            lengths,
            head: None,
            finish_reasons: FinishReasons::default(),
            chunks: Vec::new(),
        }
    }

    pub(super) fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<Progress, StreamFault> {
        let result = self.stream.event(&event.name, &event.data, &mut self.chunks);
        self.write(out)?;
        result.map(|()| if self.stream.ended() { Progress::Ended } else { Progress::More })
    }

    pub(super) fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        let result = self.stream.finish(&mut self.chunks);
        self.write(out)?;
        result?;
        self.complete = true;
        if self.usage.is_none() {
            let head = self.head.take().unwrap_or_default();
            self.client.chunk(ChatChunk { usage: Some(self.lengths.usage()), ..*head }, out)?;
        }
        self.client.finish(out)?;
        Ok(())
    }

    pub(super) fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        self.client.fail(error, out);
    }

    fn write(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        for mut chunk in self.chunks.drain(..) {
            self.names.restore_chunk(&mut chunk);
            self.origin.complete(&mut chunk);
            reasoning::mark_chunk(&mut chunk, &self.origin.mark);
            self.lengths.answer += chunk.choices.iter().map(|choice| length(&choice.delta)).sum::<u64>();
            self.head.get_or_insert_with(|| {
                Box::new(ChatChunk {
                    id: chunk.id.clone(),
                    object: chunk.object.clone(),
                    created: chunk.created,
                    model: chunk.model.clone(),
                    ..ChatChunk::default()
                })
            });
            let ended = chunk.choices.iter().filter_map(|choice| choice.finish_reason.as_deref());
            ended.for_each(|reason| self.finish_reasons.note(reason));
            if let Some(usage) = chunk.usage.as_ref().filter(|usage| usage.is_told()) {
                self.usage = Some(Box::new(usage.clone()));
            }
            self.client.chunk(chunk, out)?;
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> CountedUsage {
        match &self.usage {
            Some(usage) if self.complete => {
                CountedUsage { usage: (**usage).clone(), provenance: Provenance::Provider }
            }
            Some(told) => self.lengths.cut(Some(told)),
            None => self.lengths.cut(self.stream.counted().as_ref()),
        }
    }

    pub(super) fn response(&self) -> Response {
        let (id, model) = self.head.as_ref().map(|head| (head.id.clone(), head.model.clone())).unzip();
        Response { id, model, finish_reasons: self.finish_reasons.clone(), ..Response::default() }
    }
}

impl Origin {
    fn complete(&self, chunk: &mut ChatChunk) {
        if chunk.id.is_empty() {
            chunk.id.clone_from(&self.id);
        }
        if chunk.created == 0 {
            chunk.created = self.created;
        }
        if chunk.model.is_empty() {
            chunk.model.clone_from(&self.model);
        }
    }
}

/// Characters that the model wrote.
fn length(delta: &Delta) -> u64 {
    let text = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count() as u64);
    let calls = delta.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref());
    text(&delta.content)
        + text(&delta.reasoning_content)
        + calls.map(|function| text(&function.arguments)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::unified;
    use providers::{Malformed, Task};
    use wire::chat::ChunkChoice;
    use wire::raw::RawObject;

    /// Counts along with what it says, and is whole after as many events as this.
    struct Counting(u64);

    impl ChatStream for Counting {
        fn event(&mut self, _: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
            self.0 = self.0.saturating_sub(1);
            let delta = Delta { content: str::from_utf8(data).ok().map(str::to_owned), ..Delta::default() };
            let choices = vec![ChunkChoice { delta, ..ChunkChoice::default() }];
            out.push(ChatChunk { choices, usage: Some(Usage::new(9, 1)), ..ChatChunk::default() });
            Ok(())
        }

        fn finish(&mut self, _: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
            if self.0 == 0 { Ok(()) } else { Err(Malformed("cut".to_owned())) }
        }
    }

    #[test]
    fn a_count_that_is_not_the_last_one_is_not_the_providers() {
        for (events, output, provenance) in [(1, 1, Provenance::Provider), (2, 5, Provenance::Counted)] {
            let origin = Origin { id: "c".into(), created: 0, model: "m".into(), mark: "aa".into() };
            let client = unified(Task::Chat).stream(&RawObject::parse(b"{}").unwrap());
            let stream = Box::new(Counting(events));
            let mut translated =
                Translated::new(stream, Names::default(), origin, client, Lengths::default());
            let mut out = BytesMut::new();
            let said = Event { name: String::new(), data: "twenty characters...".into() };
            translated.event(&said, &mut out).unwrap();
            assert_eq!(translated.usage().provenance, Provenance::Counted);
            assert_eq!(translated.finish(&mut out).is_ok(), provenance == Provenance::Provider);
            let counted = translated.usage();
            assert_eq!((counted.tokens().input(), counted.tokens().output()), (9, output));
            assert_eq!(counted.provenance, provenance);
        }
    }
}
