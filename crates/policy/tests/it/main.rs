//! What must hold of guardrails on many texts.

mod encodings;
mod hostile;
mod positives;
mod splits;
