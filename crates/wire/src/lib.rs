//! The JSON that travels between Tollgate and its clients.
//!
//! Types only: no I/O, no clock, no environment. Fields that we do not know are carried along
//! (`extra`), never dropped, so that a newer client or provider keeps working through us.

pub mod chat;
pub mod completions;
pub mod cost;
pub mod counts;
pub mod embeddings;
pub mod endpoint;
pub mod error;
pub mod eventstream;
pub mod raw;
pub mod scim;
pub mod secrets;
pub mod sse;
pub mod table;
pub mod tokens;
pub mod usage;

/// A JSON object whose keys keep their order.
pub type Object = serde_json::Map<String, serde_json::Value>;
