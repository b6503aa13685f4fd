//! Another format in, the unified format out.

use bytes::BytesMut;
use journal::{CountedUsage, Provenance};
use providers::names::Names;
use providers::{ChatStream, StreamFault};
use wire::chat::{ChatChunk, Delta};
use wire::sse::{self, Event};
use wire::usage::Usage;

use super::Progress;
use crate::estimate::Lengths;

pub(crate) struct Translated {
    stream: Box<dyn ChatStream>,
    names: Names,
    created: i64,
    usage: Option<Usage>,
    lengths: Lengths,
    /// Of the first chunk, for the usage chunk that we add.
    head: Option<Box<ChatChunk>>,
    /// Reused between events.
    chunks: Vec<ChatChunk>,
}

impl Translated {
    pub(super) fn new(stream: Box<dyn ChatStream>, names: Names, created: i64, lengths: Lengths) -> Self {
        Self { stream, names, created, usage: None, lengths, head: None, chunks: Vec::new() }
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
        if self.usage.is_none() {
            let head = self.head.take().unwrap_or_default();
            sse::write_json(out, &ChatChunk { usage: Some(self.lengths.usage()), ..*head })?;
        }
        Ok(())
    }

    fn write(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        for mut chunk in self.chunks.drain(..) {
            self.names.restore_chunk(&mut chunk);
            if chunk.created == 0 {
                chunk.created = self.created;
            }
            sse::write_json(out, &chunk)?;
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
            self.usage = chunk.usage.or(self.usage.take());
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> CountedUsage {
        match &self.usage {
            Some(usage) => CountedUsage { usage: usage.clone(), provenance: Provenance::Provider },
            None => self.lengths.counted(),
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
