//! What must hold of guardrails on many texts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod encodings;
mod further;
mod hostile;
mod positives;
mod quality;
mod splits;
