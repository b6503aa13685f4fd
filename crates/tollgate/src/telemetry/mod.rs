//! Logs and metrics.

pub(crate) mod audit;
pub(crate) mod circuits;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod minute;
