//! What a call cost.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Money, and by which prices. What has no known price has no cost; it is never zero for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Billionths of a US dollar.
    pub nano_usd: u64,
    /// The version of the price table, or `entity` for prices of the entity's own.
    #[serde(serialize_with = "written", deserialize_with = "read")]
    pub prices: Arc<str>,
}

fn written<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Arc::from)
}
