//! The data plane over real sockets: a client, the gateway, and upstreams that misbehave on demand.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the harness is test code that is not inside a #[test]"
)]

mod client;
mod raw;
mod unread;
mod world;
mod written;

mod aws;
mod broken;
mod cancellation;
mod chat;
mod circuits;
mod compressed;
mod conversation;
mod converse;
mod counts;
mod default_params;
mod draining;
mod embeddings;
mod entra;
mod explain;
mod fallback;
mod faults;
mod fixtures;
mod frames;
mod fuzz;
mod grid;
mod guarded_answers;
mod guardrails;
mod hosted;
mod judges;
mod leaks;
mod leaving;
mod limits;
mod names;
mod native;
mod optional_fields;
mod pressure;
mod provider_errors;
mod reasoning;
mod recorded;
mod refusals;
mod retries;
mod stored;
mod streams;
mod surfaces;
mod timeouts;
mod tls;
mod tokens;
