//! A response body that is passed on frame by frame and read along for its usage.

use crate::records::Record;
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use memchr::{memchr, memmem};
use serde::Deserialize;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::mpsc;

#[derive(Deserialize)]
struct Usage {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct WithUsage {
    usage: Option<Usage>,
}

pub(crate) struct Tap {
    body: Incoming,
    kept: BytesMut,
    streamed: bool,
    record: Option<Record>,
    since: Instant,
    records: mpsc::Sender<Record>,
}

impl Tap {
    pub(crate) fn new(
        body: Incoming,
        streamed: bool,
        record: Record,
        since: Instant,
        records: mpsc::Sender<Record>,
    ) -> Self {
        Self { body, kept: BytesMut::new(), streamed, record: Some(record), since, records }
    }

    fn keep(&mut self, data: &Bytes) {
        const TAIL: usize = 1024;
        self.kept.extend_from_slice(data);
        // Of a stream only the end can hold the usage; trimmed seldom, so that it costs little.
        if self.streamed && self.kept.len() > 4 * TAIL {
            self.kept.advance(self.kept.len() - TAIL);
        }
    }

    fn usage(&self) -> Option<Usage> {
        if !self.streamed {
            return serde_json::from_slice::<WithUsage>(&self.kept).ok()?.usage;
        }
        let rest = &self.kept[memmem::rfind(&self.kept, b"\"usage\":{")? + 8..];
        serde_json::from_slice(&rest[..=memchr(b'}', rest)?]).ok()
    }

    fn finish(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        if let Some(usage) = self.usage() {
            record.input_tokens = usage.prompt_tokens.unwrap_or(0);
            record.output_tokens = usage.completion_tokens.unwrap_or(0);
        }
        record.latency_us = self.since.elapsed().as_micros() as u64;
        // A full queue loses the record rather than hold the response up.
        self.records.try_send(record).ok();
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Body for Tap {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                }
            }
            Poll::Ready(None) => self.finish(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
