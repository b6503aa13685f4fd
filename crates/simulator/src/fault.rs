//! Faults of the bytes and of the connection, each with a name: what no status and no pause can say.
//!
//! Those of the body go through HTTP as any answer does; the others take the socket away from it (`stage`).

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use http::StatusCode;

use crate::exchange::Sending;
use crate::format::Refusal;
use crate::frames::{Frame, Kind};
use crate::pace::Ending;
use crate::stage::{Close, Take};

/// A gzip bomb inflates to this many blocks of blanks, 256 MiB; it is sent as a quarter of a megabyte.
const BLOCKS: usize = 256;
const BLOCK: usize = 1 << 20;
/// Deflated, without a name, a time or flags.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `none`: undoes a fault of a lower precedence.
    None,
    /// `reset`: the connection is reset in place of an answer.
    Reset,
    /// `reset_body`: the connection is reset in the middle of the body.
    ResetBody,
    /// `close`: the connection is closed in place of an answer.
    Close,
    /// `garbage`: bytes that are no HTTP, and a close.
    Garbage,
    /// `long_length`: a `content-length` of more than comes, and a close.
    LongLength,
    /// `short_length`: a `content-length` of half of what comes; the connection stays.
    ShortLength,
    /// `empty`: a body of no bytes.
    Empty,
    /// `wrong_type`: the answer, said to be `application/octet-stream`.
    WrongType,
    /// `gzip_bomb`: a compressed answer before which there are 256 MiB of blanks.
    GzipBomb,
    /// `end_early`: the stream ends in good order after half of its events.
    EndEarly,
    /// `cut_event`: the connection is dropped in the middle of the last chunk's event.
    CutEvent,
    /// `cut_rune`: the connection is dropped after the first byte of the first character of several.
    CutRune,
    /// `mixed_lines`: line ends of all three kinds, and comments between the events.
    MixedLines,
    /// `drip`: the body byte by byte, a second apart unless `chunk_ms` says otherwise.
    Drip,
}

/// By their names in a script.
const NAMES: &[(&str, Fault)] = &[
    ("none", Fault::None),
    ("reset", Fault::Reset),
    ("reset_body", Fault::ResetBody),
    ("close", Fault::Close),
    ("garbage", Fault::Garbage),
    ("long_length", Fault::LongLength),
    ("short_length", Fault::ShortLength),
    ("empty", Fault::Empty),
    ("wrong_type", Fault::WrongType),
    ("gzip_bomb", Fault::GzipBomb),
    ("end_early", Fault::EndEarly),
    ("cut_event", Fault::CutEvent),
    ("cut_rune", Fault::CutRune),
    ("mixed_lines", Fault::MixedLines),
    ("drip", Fault::Drip),
];

impl Fault {
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(named, _)| *named == name).map(|(_, fault)| *fault)
    }

    /// Makes what is to be sent wrong; refused where this answer cannot have the fault.
    pub(crate) fn play(self, mut sending: Sending) -> Result<Sending, Refusal> {
        match self {
            Self::None | Self::Drip => {}
            Self::Reset => sending.take(Bytes::new(), Close::Reset),
            Self::Close => sending.take(Bytes::new(), Close::Orderly),
            Self::Garbage => sending.take(Bytes::from_static(b"SSH-2.0-OpenSSH_9.2\r\n"), Close::Orderly),
            Self::ResetBody => {
                let length = sending.length();
                let bytes = sending.rendered(length, length / 2);
                sending.take(bytes, Close::Reset);
            }
            Self::LongLength => {
                let length = sending.length();
                let bytes = sending.rendered(length + 10, length);
                sending.take(bytes, Close::Orderly);
            }
            Self::ShortLength => {
                let length = sending.length();
                let bytes = sending.rendered(length / 2, length);
                sending.take(bytes, Close::Never);
            }
            Self::Empty => {
                sending.play.frames.clear();
                sending.play.length = Some(0);
            }
            Self::WrongType => sending.content_type = "application/octet-stream",
            Self::GzipBomb => bomb(&mut sending)?,
            Self::EndEarly => end_early(&mut sending)?,
            Self::CutEvent => cut_event(&mut sending),
            Self::CutRune => cut_rune(&mut sending)?,
            Self::MixedLines => mix_lines(&mut sending)?,
        }
        Ok(sending)
    }
}

impl Sending {
    fn take(&mut self, bytes: Bytes, close: Close) {
        self.take = Some(Take { bytes, close });
    }

    fn length(&self) -> usize {
        self.play.frames.iter().map(|frame| frame.bytes.len()).sum()
    }

    /// The answer as HTTP has it on the wire, with an announced length that need not be true.
    fn rendered(&self, announced: usize, sent: usize) -> Bytes {
        let Self { status, content_type, .. } = self;
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {announced}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        let whole = bytes.len() + sent;
        for frame in &self.play.frames {
            bytes.extend_from_slice(&frame.bytes);
        }
        bytes.truncate(whole);
        bytes.into()
    }

    fn must_be_events(&self, fault: &str) -> Result<(), Refusal> {
        if self.content_type.starts_with("text/event-stream") {
            return Ok(());
        }
        Err(Refusal::bad_request(format!("the fault {fault} is one of streams of server-sent events")))
    }
}

/// A gzip file of blanks and then the answer. Each block of blanks but the first is compressed to the same bytes.
fn gzip_bomb(answer: &[u8]) -> io::Result<Vec<u8>> {
    let blanks = vec![b' '; BLOCK];
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let (mut crc, mut of_block) = (Crc::new(), Crc::new());
    of_block.update(&blanks);
    encoder.write_all(&blanks)?;
    encoder.flush()?;
    let first = encoder.get_ref().len();
    encoder.write_all(&blanks)?;
    encoder.flush()?;
    let second = encoder.get_ref().len();
    encoder.write_all(answer)?;
    let packed = encoder.finish()?;
    let mut bomb = GZIP_HEAD.to_vec();
    for block in 0..BLOCKS {
        let bytes = if block == 0 { packed.get(..first) } else { packed.get(first..second) };
        bomb.extend_from_slice(bytes.unwrap_or_default());
        crc.combine(&of_block);
    }
    bomb.extend_from_slice(packed.get(second..).unwrap_or_default());
    crc.update(answer);
    bomb.extend_from_slice(&crc.sum().to_le_bytes());
    bomb.extend_from_slice(&crc.amount().to_le_bytes());
    Ok(bomb)
}

fn bomb(sending: &mut Sending) -> Result<(), Refusal> {
    let answer: Vec<u8> = sending.play.frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
    let bytes = gzip_bomb(&answer).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be compressed: {error}"))
    })?;
    sending.encoding = Some("gzip");
    sending.play.length = Some(bytes.len() as u64);
    sending.play.frames = vec![Frame { kind: Kind::Chunk, bytes: bytes.into() }];
    Ok(())
}

fn end_early(sending: &mut Sending) -> Result<(), Refusal> {
    sending.must_be_events("end_early")?;
    let frames = &mut sending.play.frames;
    frames.truncate(frames.len() / 2);
    Ok(())
}

/// Drops the connection where the frame `at` was sent up to its byte `end`.
fn cut(sending: &mut Sending, at: usize, end: usize) {
    sending.play.frames.truncate(at + 1);
    if let Some(frame) = sending.play.frames.last_mut() {
        frame.bytes.truncate(end);
    }
    sending.play.ending = Ending::Cut;
}

fn cut_event(sending: &mut Sending) {
    let frames = &sending.play.frames;
    let last = frames.iter().rposition(|frame| frame.kind == Kind::Chunk).unwrap_or_default();
    let length = frames.get(last).map_or(0, |frame| frame.bytes.len());
    cut(sending, last, length / 2);
}

fn cut_rune(sending: &mut Sending) -> Result<(), Refusal> {
    let frames = sending.play.frames.iter().enumerate();
    let mut leading =
        frames.filter_map(|(at, frame)| Some((at, frame.bytes.iter().position(|byte| !byte.is_ascii())?)));
    let Some((at, byte)) = leading.next() else {
        return Err(Refusal::bad_request("the answer has no character of several bytes to cut"));
    };
    drop(leading);
    cut(sending, at, byte + 1);
    Ok(())
}

fn mix_lines(sending: &mut Sending) -> Result<(), Refusal> {
    sending.must_be_events("mixed_lines")?;
    for (frame, end) in sending.play.frames.iter_mut().zip(["\r\n", "\n", "\r"].into_iter().cycle()) {
        let text = String::from_utf8_lossy(&frame.bytes);
        frame.bytes = Bytes::from(format!(": comment\n\n{text}").replace('\n', end));
    }
    Ok(())
}
