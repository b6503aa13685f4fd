//! The control plane through its router, over a store in a folder that goes away.

#![expect(clippy::unwrap_used, reason = "the harness is test code that is not inside a #[test]")]

mod audit;
mod catalog;
mod endpoints;
mod escalation;
mod explain;
mod federation;
mod groups;
mod matrix;
mod oauth;
mod openapi;
mod scim;
mod secrets;
mod tokens;
mod updates;
mod usage;
mod workspace;
mod world;
