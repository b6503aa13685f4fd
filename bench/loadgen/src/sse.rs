//! Reads the text out of a stream of events, whichever provider's format it is in.

use protocol::text;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The fields that matter of an OpenAI or Anthropic event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, alias = "content")]
    text: Option<Cow<'a, str>>,
}

/// The part of a stream read so far.
#[derive(Default)]
pub(crate) struct Sse {
    unread: Vec<u8>,
    pub(crate) text: String,
    /// The terminal event was seen.
    pub(crate) ended: bool,
    /// Chunks with text.
    pub(crate) tokens: u64,
}

impl Sse {
    /// Takes body bytes as they arrive; calls `stamped` with each stamp found in the text.
    pub(crate) fn feed(&mut self, data: &[u8], mut stamped: impl FnMut(u64)) -> Result<(), String> {
        self.unread.extend_from_slice(data);
        let unread = std::mem::take(&mut self.unread);
        let mut rest = unread.as_slice();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if let Some(data) = rest[..end].strip_prefix(b"data:") {
                self.event(data.trim_ascii(), &mut stamped)?;
            }
            rest = &rest[end + 1..];
        }
        self.unread = rest.to_vec();
        Ok(())
    }

    fn event(&mut self, data: &[u8], stamped: &mut impl FnMut(u64)) -> Result<(), String> {
        if data == b"[DONE]" {
            self.ended = true;
            return Ok(());
        }
        let shown = || String::from_utf8_lossy(data).chars().take(300).collect::<String>();
        let event: Event<'_> =
            serde_json::from_slice(data).map_err(|e| format!("{e} in event `{}`", shown()))?;
        if event.error.is_some() {
            return Err(format!("error event `{}`", shown()));
        }
        if event.r#type == "message_stop" {
            self.ended = true;
        }
        for delta in event.choices.into_iter().map(|choice| choice.delta).chain([event.delta]).flatten() {
            let Some(text) = delta.text.filter(|text| !text.is_empty()) else { continue };
            self.tokens += 1;
            text::unstamp(&text, &mut self.text, &mut *stamped);
        }
        Ok(())
    }

    /// Whether the stream was whole and said exactly `expected`.
    pub(crate) fn check(&self, expected: &str) -> Result<(), String> {
        if let Some(difference) = text::difference(&self.text, expected) {
            return Err(difference);
        }
        if !self.ended {
            return Err("the terminal event is missing".to_owned());
        }
        if !self.unread.is_empty() {
            return Err(format!(
                "the stream ends within a line: `{}`",
                String::from_utf8_lossy(&self.unread)
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_in_any_pieces() {
        let chat = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"@T00000000000000000007@tok-0\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\" tok-1\"}}]}\n\ndata: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
        let messages = "event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"@T00000000000000000007@tok-0 tok-1\"}}\r\n\r\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\r\n\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n";
        for wire in [chat, messages] {
            for step in 1..wire.len() {
                let (mut sse, mut stamps) = (Sse::default(), Vec::new());
                for piece in wire.as_bytes().chunks(step) {
                    sse.feed(piece, |ns| stamps.push(ns)).unwrap();
                }
                assert_eq!(sse.check("tok-0 tok-1"), Ok(()));
                assert_eq!(stamps, [7]);
            }
        }
    }

    #[test]
    fn short_and_failed_streams_are_refused() {
        let mut sse = Sse::default();
        sse.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"tok-0\"}}]}\n\n", |_| {}).unwrap();
        assert!(sse.check("tok-0").is_err_and(|e| e.contains("terminal")));
        assert!(sse.check("tok-0 tok-1").is_err_and(|e| e.contains("differs")));
        assert!(sse.feed(b"data: {\"error\":{\"message\":\"x\"}}\n\n", |_| {}).is_err());
    }
}
