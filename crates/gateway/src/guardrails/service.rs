//! The mark of a service policy in a stream.

use bytes::BytesMut;
use serde_json::Value;
use wire::sse::{self, Parser};

/// `events`, of which the last that is an object tells the policy.
pub(super) fn with_policy(events: &[u8], policy: &Value) -> BytesMut {
    let mut parser = Parser::new(events.len() + 1);
    parser.push(events);
    let mut all = Vec::new();
    while let Ok(Some(event)) = parser.next_event() {
        all.push(event);
    }
    let mut out = BytesMut::with_capacity(events.len() + 256);
    let count = all.len();
    for (at, event) in all.into_iter().enumerate() {
        let last = at + 1 == count;
        match serde_json::from_slice::<Value>(&event.data) {
            Ok(mut value) if last && value.is_object() => {
                value["databricks_service_policy"] = policy.clone();
                // Writing JSON into memory fails for no value that is JSON already.
                let _ = sse::write_event_json(&mut out, &event.name, &value);
            }
            _ => sse::write_event(&mut out, &event.name, &event.data),
        }
    }
    out
}
