//! Logs, metrics and traces.

pub(crate) mod audit;
pub(crate) mod circuits;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod minute;
pub(crate) mod otlp;
pub(crate) mod trace;
