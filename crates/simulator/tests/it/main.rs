//! The simulator over HTTP, as a gateway meets it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the harness is test code that is not inside a #[test]"
)]

mod anthropic;
mod cancellation;
mod faults;
mod gemini;
mod harness;
mod openai;
mod plans;
mod providers;
mod scripts;
