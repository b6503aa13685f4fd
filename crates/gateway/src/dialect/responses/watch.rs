//! What is looked at in responses that pass through: usage, errors and the end.

use bytes::BytesMut;
use serde_json::{Value, json};
use wire::usage::{CompletionDetails, PromptDetails, Usage};

use crate::dialect::{Seen, Watch, characters, items, write};
use crate::error::ServeError;
use crate::shape::Shape;

pub(super) fn new() -> Box<dyn Watch> {
    Box::<Events>::default()
}

pub(super) fn usage(response: &Value) -> Option<Usage> {
    let usage = &response["usage"];
    let (input, output) = (usage["input_tokens"].as_u64()?, usage["output_tokens"].as_u64()?);
    let cached_tokens = usage["input_tokens_details"]["cached_tokens"].as_u64();
    let reasoning_tokens = usage["output_tokens_details"]["reasoning_tokens"].as_u64();
    Some(Usage {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input.saturating_add(output),
        prompt_tokens_details: cached_tokens
            .map(|_| PromptDetails { cached_tokens, ..PromptDetails::default() }),
        completion_tokens_details: reasoning_tokens
            .map(|_| CompletionDetails { reasoning_tokens, ..CompletionDetails::default() }),
        ..Usage::default()
    })
}

pub(super) fn written(response: &Value) -> u64 {
    let said = |item: &Value| {
        let parts = items(&item["content"]).chain(items(&item["summary"]));
        let parts = parts.flat_map(|part| ["text", "refusal"].map(|key| &part[key]));
        characters(parts.chain(["arguments", "input", "code"].map(|key| &item[key])))
    };
    items(&response["output"]).map(said).sum()
}

#[derive(Default)]
struct Events {
    usage: Option<Usage>,
    next: u64,
    ended: bool,
}

impl Watch for Events {
    fn see(&mut self, name: &str, data: &Value) -> Seen {
        if let Some(number) = data["sequence_number"].as_u64() {
            self.next = number.saturating_add(1);
        }
        let kind = data["type"].as_str().unwrap_or(name);
        match kind {
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.usage = usage(&data["response"]).or(self.usage.take());
                self.ended = true;
                if kind == "response.failed" { Seen::Failed } else { Seen::End }
            }
            // The fields of an error stand beside its type, or in an object of their own.
            "error" if data["error"].is_object() => Seen::Error(data.clone()),
            "error" => Seen::Error(json!({ "error": data })),
            _ => Seen::More { text: characters([&data["delta"]]) },
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn is_complete(&self) -> bool {
        self.ended
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        let said = Shape::OpenAi.body(error);
        let event = json!({"type": "error", "sequence_number": self.next, "code": said["error"]["code"],
            "message": said["error"]["message"], "param": null, "error_code": said["error_code"]});
        write(out, "error", &event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_in_the_last_event() {
        let mut events = Events::default();
        assert_eq!(
            events.see("", &json!({"type": "response.output_text.delta", "delta": "ab"})),
            Seen::More { text: 2 }
        );
        assert_eq!(events.see("", &json!({"type": "response.new_thing"})), Seen::NOTHING);
        assert!(!events.is_complete());
        let usage =
            json!({"input_tokens": 3, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}});
        assert_eq!(
            events.see("", &json!({"type": "response.completed", "response": {"usage": usage}})),
            Seen::End
        );
        let usage = events.usage().unwrap();
        assert_eq!((usage.total_tokens, usage.reasoning_tokens()), (5, Some(1)));
        let flat = json!({"type": "error", "code": "rate_limit_exceeded", "message": "m"});
        assert_eq!(events.see("error", &flat), Seen::Error(json!({ "error": flat })));
    }
}
