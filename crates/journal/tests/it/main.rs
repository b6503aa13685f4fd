//! The journal over a real folder: what is in it after each way to end.

#![expect(clippy::unwrap_used, reason = "the harness is test code that is not inside a #[test]")]

mod audit;
mod full;
mod restart;
mod simulation;
mod world;
