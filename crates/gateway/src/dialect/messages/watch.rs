//! What is looked at in messages that pass through: usage, errors and the end.

use bytes::BytesMut;
use serde_json::Value;
use wire::usage::{PromptDetails, Usage};

use crate::dialect::{Seen, Watch, write};
use crate::error::ServeError;
use crate::shape::Shape;

pub(super) fn new() -> Box<dyn Watch> {
    Box::<Events>::default()
}

pub(super) fn usage(message: &Value) -> Option<Usage> {
    let mut counts = Counts::default();
    counts.merge(&message["usage"]);
    counts.usage()
}

/// Later counts are cumulative: each that is present replaces the earlier one.
#[derive(Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_written: Option<u64>,
}

impl Counts {
    fn merge(&mut self, usage: &Value) {
        let later = |key: &str, earlier: Option<u64>| usage[key].as_u64().or(earlier);
        self.input = later("input_tokens", self.input);
        self.output = later("output_tokens", self.output);
        self.cache_read = later("cache_read_input_tokens", self.cache_read);
        self.cache_written = later("cache_creation_input_tokens", self.cache_written);
    }

    /// The unified count includes cache reads and writes; `None` where nothing was counted.
    fn usage(&self) -> Option<Usage> {
        let inputs = [self.input, self.cache_read, self.cache_written];
        if inputs.iter().all(Option::is_none) && self.output.is_none() {
            return None;
        }
        let input = inputs.into_iter().flatten().fold(0, u64::saturating_add);
        let output = self.output.unwrap_or(0);
        let details = PromptDetails {
            cached_tokens: self.cache_read,
            cache_creation_tokens: self.cache_written,
            ..PromptDetails::default()
        };
        Some(Usage {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.saturating_add(output),
            prompt_tokens_details: (details != PromptDetails::default()).then_some(details),
            ..Usage::default()
        })
    }
}

#[derive(Default)]
struct Events {
    counts: Counts,
    stopped: bool,
}

impl Watch for Events {
    fn see(&mut self, name: &str, data: &Value) -> Seen {
        match data["type"].as_str().unwrap_or(name) {
            "message_start" => self.counts.merge(&data["message"]["usage"]),
            "message_delta" => self.counts.merge(&data["usage"]),
            "message_stop" => {
                self.stopped = true;
                return Seen::End;
            }
            "error" => return Seen::Error(data.clone()),
            "content_block_delta" => {
                let said = ["text", "thinking", "partial_json"]
                    .iter()
                    .filter_map(|key| data["delta"][*key].as_str());
                return Seen::More { text: said.map(|text| text.chars().count() as u64).sum() };
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
