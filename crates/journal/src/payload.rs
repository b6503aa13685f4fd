//! The bodies of a call, where the endpoint has a table for them.

use bytes::Bytes;

/// What was asked and what was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    pub request: Captured,
    /// Of a stream, the bytes of all its events.
    pub response: Captured,
}

/// A body, as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Captured {
    /// There was none.
    #[default]
    Absent,
    Whole(Bytes),
    /// It was longer than what is kept of a body.
    TooLong,
    /// It was left out, since there was no room for it.
    Dropped,
}
