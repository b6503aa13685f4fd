//! From a journal to Delta tables in a folder, with crashes, alterations and others who write.

#![expect(clippy::unwrap_used, reason = "the harness is test code that is not inside a #[test]")]

mod altered;
mod crashes;
mod journals;
mod kept;
mod known;
mod listed;
mod pieces;
mod upgraded;
mod world;
mod writers;
