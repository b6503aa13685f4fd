//! The conformance suite: what every provider of `ALL` must do, told by its fixtures.
//!
//! A provider brings `src/<name>/fixtures/`; the requests are shared, in `fixtures/`. `UPDATE_FIXTURES=1`
//! writes the expected outputs anew: read every line of that diff before it is committed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod answer;
mod capabilities;
mod chat;
mod config;
mod corpus;
mod docs;
mod embeddings;
mod hostile;
mod kit;
mod splice;
mod stream;
mod usage;
