//! Pre-rendered pieces of a response body.

use bytes::Bytes;
use serde::Serialize;

/// What a frame is to the scripts and to the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Comes before the first chunk, and at once.
    Head,
    /// A chunk of the answer: paced, and what `cut_after` and `error_after` count.
    Chunk,
    /// Follows the chunk before it without a pause.
    Tail,
    /// The terminator, which `no_done` leaves out.
    Done,
}

/// One body frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) bytes: Bytes,
}

/// Renders the frames of one stream into one buffer, which they then share.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    buffer: Vec<u8>,
    ends: Vec<(Kind, usize)>,
}

impl FrameWriter {
    /// A server-sent event with an optional event name.
    pub(crate) fn sse<T: Serialize>(
        &mut self,
        kind: Kind,
        event: Option<&str>,
        data: &T,
    ) -> Result<(), serde_json::Error> {
        if let Some(event) = event {
            self.buffer.extend_from_slice(b"event: ");
            self.buffer.extend_from_slice(event.as_bytes());
            self.buffer.push(b'\n');
        }
        self.buffer.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut self.buffer, data)?;
        self.raw(kind, b"\n\n");
        Ok(())
    }

    /// A frame of these bytes.
    pub(crate) fn raw(&mut self, kind: Kind, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.ends.push((kind, self.buffer.len()));
    }

    /// The frames, as slices of one allocation.
    pub(crate) fn finish(self) -> Vec<Frame> {
        let all = Bytes::from(self.buffer);
        let mut start = 0;
        let cut = |(kind, end): (Kind, usize)| {
            let bytes = all.slice(start..end);
            start = end;
            Frame { kind, bytes }
        };
        self.ends.into_iter().map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_share_one_buffer() {
        let mut writer = FrameWriter::default();
        writer.sse(Kind::Chunk, None, &1).unwrap();
        writer.sse(Kind::Tail, Some("ping"), &"x").unwrap();
        writer.raw(Kind::Done, b"end");
        let frames = writer.finish();
        let texts: Vec<&[u8]> = frames.iter().map(|frame| frame.bytes.as_ref()).collect();
        assert_eq!(texts, [&b"data: 1\n\n"[..], b"event: ping\ndata: \"x\"\n\n", b"end"]);
        assert_eq!(frames[2].kind, Kind::Done);
    }
}
