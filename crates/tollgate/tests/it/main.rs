//! The real binary over real sockets, and the rules of the code base.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the harness is test code that is not inside a #[test]"
)]

mod tidy;
mod world;

mod cancellation;
mod configuration;
mod demo;
mod drain;
mod first_start;
mod hostile;
mod limits;
mod observability;
mod streams;
mod survival;
mod tables;
mod telemetry;
mod tls;
mod tokens;
mod usage;
