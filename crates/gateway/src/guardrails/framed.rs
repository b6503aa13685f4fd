//! The events of a stream as they stand in its bytes: server-sent events, or AWS's frames, whose names are no part of what
//! they hold.

use bytes::BytesMut;
use providers::Framing;
use serde_json::{Value, json};
use wire::eventstream;
use wire::sse::{self, Event};

use crate::dialect::Format;
use crate::stream::Frames;

/// Longest event that is looked into.
const MAX_EVENT: usize = 64 << 20;

pub(super) fn frames(format: Format) -> Frames {
    let framing = if format == Format::Converse { Framing::AwsEventStream } else { Framing::Sse };
    Frames::new(framing, MAX_EVENT)
}

/// What an event says, if that is an object; where events do not say themselves what they are, under its name.
pub(super) fn read(format: Format, event: &Event) -> Option<Value> {
    let value = serde_json::from_slice::<Value>(&event.data).ok().filter(Value::is_object)?;
    Some(if format == Format::Converse { json!({ &event.name: value }) } else { value })
}

/// Writes an event as it is.
pub(super) fn pass(out: &mut BytesMut, format: Format, event: &Event) {
    if format != Format::Converse {
        return sse::write_event(out, &event.name, &event.data);
    }
    // Errors only for what is longer than a frame can be, which nothing is that came in one.
    if let Ok(frame) = eventstream::frame(event) {
        out.extend_from_slice(&frame);
    }
}

/// Writes what [`read`] gives of an event; its name is its type where the format has names.
pub(super) fn write(out: &mut BytesMut, format: Format, value: &Value) {
    let name = match format {
        Format::Messages | Format::Responses => value["type"].as_str().unwrap_or_default(),
        Format::Chat | Format::Completions | Format::Contents => "",
        Format::Converse => {
            for (name, said) in value.as_object().into_iter().flatten() {
                pass(out, format, &Event { name: name.clone(), data: said.to_string().into() });
            }
            return;
        }
    };
    // Writing JSON into memory fails for no value that is JSON already.
    let _ = sse::write_event_json(out, name, value);
}
