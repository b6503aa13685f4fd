//! Another format in, the unified format out.

use bytes::BytesMut;
use journal::{CountedUsage, Provenance};
use providers::names::Names;
use providers::{ChatStream, StreamFault};
use wire::chat::ChatChunk;
use wire::sse::{self, Event};
use wire::usage::Usage;

use super::Progress;

pub(crate) struct Translated {
    stream: Box<dyn ChatStream>,
    names: Names,
    created: i64,
    usage: Option<Usage>,
    /// Reused between events.
    chunks: Vec<ChatChunk>,
}

impl Translated {
    pub(super) fn new(stream: Box<dyn ChatStream>, names: Names, created: i64) -> Self {
        Self { stream, names, created, usage: None, chunks: Vec::new() }
    }

    pub(super) fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<Progress, StreamFault> {
        let result = self.stream.event(&event.name, &event.data, &mut self.chunks);
        self.write(out)?;
        result.map(|()| Progress::More)
    }

    pub(super) fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        let result = self.stream.finish(&mut self.chunks);
        self.write(out)?;
        Ok(result?)
    }

    fn write(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        for mut chunk in self.chunks.drain(..) {
            self.names.restore_chunk(&mut chunk);
            if chunk.created == 0 {
                chunk.created = self.created;
            }
            sse::write_json(out, &chunk)?;
            self.usage = chunk.usage.or(self.usage.take());
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> Option<CountedUsage> {
        self.usage.clone().map(|usage| CountedUsage { usage, provenance: Provenance::Provider })
    }
}
