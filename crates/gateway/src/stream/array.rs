//! Events as the elements of one JSON array, for clients that take a stream so.

use bytes::BytesMut;
use serde::de::IgnoredAny;

/// How an event that was written by us begins and ends.
const DATA: &[u8] = b"data: ";
const END: &[u8] = b"\n\n";

#[derive(Debug, Default)]
pub(super) struct Array {
    begun: bool,
}

impl Array {
    /// Makes elements of the whole events in `out`.
    pub(super) fn take(&mut self, out: &mut BytesMut) {
        let events = out.split();
        let mut rest = &events[..];
        while let Some(end) = memchr::memmem::find(rest, END) {
            self.element(&rest[..end], out);
            rest = &rest[end + END.len()..];
        }
    }

    fn element(&mut self, event: &[u8], out: &mut BytesMut) {
        let lines = event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(DATA));
        let data = lines.collect::<Vec<_>>().join(&b'\n');
        // What is no JSON has no place in an array.
        if serde_json::from_slice::<IgnoredAny>(&data).is_err() {
            return;
        }
        out.extend_from_slice(if self.begun { b",\r\n" } else { b"[" });
        self.begun = true;
        out.extend_from_slice(&data);
        out.extend_from_slice(b"\n");
    }

    pub(super) fn close(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(if self.begun { b"]\n" } else { b"[]\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn events_are_elements_however_they_come() {
        let (mut array, mut got) = (Array::default(), BytesMut::new());
        for piece in [
            "data: {\"a\": 1}\n\n: ping\n\ndata: no json\n\ndata: {\ndata: \"b\":2}\n\n",
            "",
            "data: {\"c\":3}\n\n",
        ] {
            let mut out = BytesMut::from(piece);
            array.take(&mut out);
            got.extend_from_slice(&out);
        }
        array.close(&mut got);
        assert_eq!(str::from_utf8(&got).unwrap(), "[{\"a\": 1}\n,\r\n{\n\"b\":2}\n,\r\n{\"c\":3}\n]\n");
        let value: Value = serde_json::from_slice(&got).unwrap();
        assert_eq!(value, json!([{"a": 1}, {"b": 2}, {"c": 3}]));
    }

    #[test]
    fn nothing_is_an_empty_array() {
        let mut out = BytesMut::new();
        Array::default().close(&mut out);
        assert_eq!(&out[..], b"[]\n");
    }
}
