//! Sums over a JSON text while it is read, so that a long one is not built up in memory only to be measured.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What is summed up.
pub(crate) trait Tally: Copy {
    /// What a string that is a value counts.
    fn text(self, text: &str) -> u64;

    /// What a number counts.
    fn number(self) -> u64 {
        0
    }

    /// What a key counts, and how its value is counted; `None` where that counts nothing.
    fn key(self, key: &str) -> (u64, Option<Self>);

    /// Whether `key` is one of several names of one text, of which the longest counts.
    fn is_other_name(self, _key: &str) -> bool {
        false
    }
}

/// Errors where `raw` cannot be read, as when it is nested too deep.
pub(crate) fn tally<T: Tally>(raw: &RawValue, what: T) -> Result<u64, serde_json::Error> {
    Sum(what).deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
}

#[derive(Clone, Copy)]
struct Sum<T>(T);

impl<'de, T: Tally> DeserializeSeed<'de> for Sum<T> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Tally> Visitor<'de> for Sum<T> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<u64, E> {
        Ok(self.0.text(text))
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_bool<E>(self, _: bool) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_i64<E>(self, _: i64) -> Result<u64, E> {
        Ok(self.0.number())
    }

    fn visit_u64<E>(self, _: u64) -> Result<u64, E> {
        Ok(self.0.number())
    }

    fn visit_f64<E>(self, _: f64) -> Result<u64, E> {
        Ok(self.0.number())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
        let mut sum = 0;
        while let Some(count) = items.next_element_seed(self)? {
            sum += count;
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let (mut sum, mut longest) = (0, 0);
        while let Some((key, value, is_other_name)) = map.next_key_seed(Key(self.0))? {
            sum += key;
            match value {
                Some(value) if is_other_name => longest = longest.max(map.next_value_seed(Sum(value))?),
                Some(value) => sum += map.next_value_seed(Sum(value))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(sum + longest)
    }
}

struct Key<T>(T);

impl<'de, T: Tally> DeserializeSeed<'de> for Key<T> {
    type Value = (u64, Option<T>, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T: Tally> Visitor<'_> for Key<T> {
    type Value = (u64, Option<T>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let (count, value) = self.0.key(key);
        Ok((count, value, self.0.is_other_name(key)))
    }
}
