//! What is looked at in turns that pass through: usage, errors and the end.

use bytes::BytesMut;
use serde_json::Value;
use wire::usage::Usage;

use crate::dialect::{Seen, Watch, characters, items};
use crate::error::ServeError;

pub(super) fn new() -> Box<dyn Watch> {
    Box::<Events>::default()
}

pub(super) fn usage(turn: &Value) -> Option<Usage> {
    providers::converse_usage(&turn["usage"])
}

pub(super) fn written(turn: &Value) -> u64 {
    let said = |block: &Value| {
        characters([
            &block["text"],
            &block["toolUse"]["input"],
            &block["reasoningContent"]["reasoningText"]["text"],
        ])
    };
    items(&turn["output"]["message"]["content"]).map(said).sum()
}

#[derive(Default)]
struct Events {
    usage: Option<Usage>,
    stopped: bool,
}

impl Watch for Events {
    fn see(&mut self, name: &str, data: &Value) -> Seen {
        if let Some(exception) = name.strip_prefix("exception:").or_else(|| name.strip_prefix("error:")) {
            let mut said = data.clone();
            if let Some(fields) = said.as_object_mut() {
                fields.insert("__type".to_owned(), exception.into());
            }
            return Seen::Error(said);
        }
        match name {
            "messageStop" => self.stopped = true,
            // It follows the end.
            "metadata" => {
                self.usage = usage(data).or(self.usage.take());
                return if self.stopped { Seen::End } else { Seen::NOTHING };
            }
            "contentBlockDelta" => {
                let delta = &data["delta"];
                let said = [&delta["text"], &delta["toolUse"]["input"], &delta["reasoningContent"]["text"]];
                return Seen::More { text: characters(said) };
            }
            _ => {}
        }
        Seen::NOTHING
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn is_complete(&self) -> bool {
        self.stopped
    }

    fn fail(&mut self, error: &ServeError, out: &mut BytesMut) {
        super::fail(error, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use wire::counts::TokenKind;

    #[test]
    fn usage_follows_the_end() {
        let mut events = Events::default();
        let delta = json!({"contentBlockIndex": 0, "delta": {"text": "né"}});
        assert_eq!(events.see("contentBlockDelta", &delta), Seen::More { text: 2 });
        assert!(!events.is_complete());
        assert_eq!(events.see("messageStop", &json!({"stopReason": "end_turn"})), Seen::NOTHING);
        let usage = json!({"inputTokens": 3, "outputTokens": 2, "totalTokens": 6, "cacheReadInputTokens": 1});
        assert_eq!(events.see("metadata", &json!({ "usage": usage })), Seen::End);
        let usage = events.usage().unwrap();
        assert_eq!((usage.prompt_tokens, usage.total_tokens, usage.cached_tokens()), (4, 6, Some(1)));
        assert_eq!(usage.counts().get(TokenKind::CacheRead), 1);
        let written = json!({"usage": {"inputTokens": 1, "outputTokens": 2, "cacheWriteInputTokens": 9,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 5}, {"ttl": "5m", "inputTokens": 4}]}});
        for usage in [super::usage(&written), {
            events.see("metadata", &written);
            events.usage()
        }] {
            let counts = usage.unwrap().counts();
            let of = |kind| counts.get(kind);
            assert_eq!(
                (of(TokenKind::CacheWrite1h), of(TokenKind::CacheWrite5m), counts.input()),
                (5, 4, 10)
            );
        }
        let seen = events.see("exception:throttlingException", &json!({"message": "slow"}));
        assert_eq!(seen, Seen::Error(json!({"message": "slow", "__type": "throttlingException"})));
        assert_eq!(events.see("hologram", &json!({})), Seen::NOTHING);
    }
}
