//! What is looked at in messages that pass through: usage, errors and the end.

use bytes::BytesMut;
use providers::MessagesUsage;
use serde_json::Value;
use wire::usage::Usage;

use crate::dialect::{Seen, Watch, characters, items, write};
use crate::error::ServeError;
use crate::shape::Shape;

pub(super) fn new() -> Box<dyn Watch> {
    Box::<Events>::default()
}

pub(super) fn usage(message: &Value) -> Option<Usage> {
    let mut counts = MessagesUsage::default();
    counts.read(&message["usage"]);
    counts.usage()
}

pub(super) fn written(message: &Value) -> u64 {
    let said = |block: &Value| characters(["text", "thinking", "input"].map(|key| &block[key]));
    items(&message["content"]).map(said).sum()
}

#[derive(Default)]
struct Events {
    counts: MessagesUsage,
    stopped: bool,
}

impl Watch for Events {
    fn see(&mut self, name: &str, data: &Value) -> Seen {
        match data["type"].as_str().unwrap_or(name) {
            "message_start" => self.counts.read(&data["message"]["usage"]),
            "message_delta" => self.counts.read(&data["usage"]),
            "message_stop" => {
                self.stopped = true;
                return Seen::End;
            }
            "error" => return Seen::Error(data.clone()),
            "content_block_delta" => {
                let said = ["text", "thinking", "partial_json"].map(|key| &data["delta"][key]);
                return Seen::More { text: characters(said) };
            }
            _ => {}
        }
        Seen::NOTHING
    }

    fn usage(&self) -> Option<Usage> {
        self.counts.usage()
    }

    fn is_complete(&self) -> bool {
        self.stopped
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        write(out, "error", &Shape::Messages.body(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_add_up_over_the_events() {
        let mut events = Events::default();
        events.see("", &json!({"type": "message_start", "message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}}}));
        assert_eq!(
            events.see(
                "",
                &json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "né"}})
            ),
            Seen::More { text: 2 }
        );
        events.see("", &json!({"type": "message_delta", "usage": {"output_tokens": 9}}));
        assert!(!events.is_complete());
        assert_eq!(events.see("message_stop", &json!({"type": "message_stop"})), Seen::End);
        let usage = events.usage().unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens()), (7, 9, Some(2)));
        assert!(matches!(events.see("error", &json!({"type": "error", "error": {}})), Seen::Error(_)));
        assert_eq!(events.see("new_event", &json!({"type": "new_event"})), Seen::NOTHING);
    }
}
