//! Text that several records share, to serde and back.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Text, without a string in between.
struct Shared(Arc<str>);

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Shared;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Shared, E> {
                Ok(Shared(text.into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// `Arc<str>` as a string.
pub(crate) mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        super::Shared::deserialize(deserializer).map(|text| text.0)
    }
}

/// `Option<Arc<str>>` as a string or null.
pub(crate) mod optional_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        text: &Option<Arc<str>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<super::Shared>::deserialize(deserializer)?.map(|text| text.0))
    }
}

/// `Vec<Arc<str>>` as a list of strings.
pub(crate) mod texts {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(texts: &[Arc<str>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(texts.iter().map(|text| &**text))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Arc<str>>, D::Error> {
        Ok(Vec::<super::Shared>::deserialize(deserializer)?.into_iter().map(|text| text.0).collect())
    }
}

/// What was wrong with an attempt, of a few words.
pub(crate) mod fault {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Fault;

    const FAULTS: [&str; 4] = ["timeout", "connection", "refused", "cancelled"];

    pub(crate) fn serialize<S: Serializer>(fault: &Option<Fault>, serializer: S) -> Result<S::Ok, S::Error> {
        fault.serialize(serializer)
    }

    /// A word of another version is none.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Fault>, D::Error> {
        let told = Option::<String>::deserialize(deserializer)?;
        Ok(told.and_then(|told| FAULTS.into_iter().find(|fault| *fault == told)))
    }
}
