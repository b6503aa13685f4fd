//! What is looked at in candidates that pass through: usage, errors and the end.

use bytes::BytesMut;
use serde_json::Value;
use wire::usage::Usage;

use crate::dialect::{Seen, Watch, characters, items, write};
use crate::error::ServeError;
use crate::shape::Shape;

pub(super) fn new() -> Box<dyn Watch> {
    Box::<Events>::default()
}

pub(super) fn usage(response: &Value) -> Option<Usage> {
    providers::generate_content_usage(&response["usageMetadata"])
}

pub(super) fn written(response: &Value) -> u64 {
    let parts = items(&response["candidates"]).flat_map(|candidate| items(&candidate["content"]["parts"]));
    parts.map(|part| characters([&part["text"], &part["functionCall"]["args"]])).sum()
}

#[derive(Default)]
struct Events {
    usage: Option<Usage>,
    finished: bool,
}

impl Watch for Events {
    fn see(&mut self, _name: &str, data: &Value) -> Seen {
        if data["error"].is_object() {
            return Seen::Error(data.clone());
        }
        // Counts are cumulative: the last one is right.
        self.usage = usage(data).or(self.usage.take());
        let candidates = || items(&data["candidates"]);
        self.finished |= candidates().any(|c| c["finishReason"].is_string())
            || data["promptFeedback"]["blockReason"].is_string();
        Seen::More { text: written(data) }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn is_complete(&self) -> bool {
        self.finished
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        write(out, "", &Shape::GenerateContent.body(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_count_is_right_and_thoughts_are_counted_once() {
        let mut events = Events::default();
        events.see("", &json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": 4}}));
        assert!(!events.is_complete());
        let counts = json!({"promptTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 9});
        events.see("", &json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": counts}));
        assert!(events.is_complete());
        assert_eq!(events.usage().unwrap().completion_tokens, 5);
        let included = json!({"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 7}});
        assert_eq!(usage(&included).unwrap().completion_tokens, 3);
    }
}
