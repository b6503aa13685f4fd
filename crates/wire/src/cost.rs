//! What a call cost.

use std::sync::Arc;

/// Money, and by which prices. What has no known price has no cost; it is never zero for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Billionths of a US dollar.
    pub nano_usd: u64,
    /// The version of the price table, or `entity` for prices of the entity's own.
    pub prices: Arc<str>,
}
