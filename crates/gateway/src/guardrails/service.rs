//! The mark of a service policy in a stream.

use bytes::BytesMut;
use serde_json::Value;

use super::framed::{frames, pass, read, write};
use crate::dialect::Format;

/// `events`, of which the last that is an object tells the policy.
pub(super) fn with_policy(events: &[u8], format: Format, policy: &Value) -> BytesMut {
    let mut frames = frames(format);
    frames.push(events);
    let mut all = Vec::new();
    while let Ok(Some(event)) = frames.next_event() {
        all.push(event);
    }
    let mut out = BytesMut::with_capacity(events.len() + 256);
    let count = all.len();
    for (at, event) in all.into_iter().enumerate() {
        match read(format, &event).filter(|_| at + 1 == count) {
            Some(mut value) => {
                let told = if format == Format::Converse { &mut value[&event.name] } else { &mut value };
                told["databricks_service_policy"] = policy.clone();
                write(&mut out, format, &value);
            }
            None => pass(&mut out, format, &event),
        }
    }
    out
}
