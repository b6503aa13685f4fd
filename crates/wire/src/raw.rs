//! A JSON object read only at its top level, so that one field can be changed and every other byte kept.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The top-level fields of an object, in order, their values unparsed.
///
/// A key that occurs twice keeps its first place and its last value, as most parsers read it: what we
/// judge is then what the upstream reads.
#[derive(Clone, Debug, Default)]
pub struct RawObject<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, RawValue>)>,
}

impl<'a> RawObject<'a> {
    /// Reads `body`. Errors when it is not one JSON object.
    pub fn parse(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_ref())
    }

    pub fn contains(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// The value of `key`; `None` when absent or null. Errors when it has another type than asked.
    pub fn get<'s, T: Deserialize<'s>>(&'s self, key: &str) -> Result<Option<T>, serde_json::Error> {
        self.raw(key).map_or(Ok(None), |raw| serde_json::from_str::<Option<T>>(raw.get()))
    }

    /// Sets `key` in its place, or at the end when it is new.
    pub fn set<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        let raw = serde_json::value::to_raw_value(value)?;
        self.set_raw(Cow::Borrowed(key), Cow::Owned(raw));
        Ok(())
    }

    /// As [`Self::set`], for a key that is not known at compile time.
    pub fn set_raw(&mut self, key: Cow<'a, str>, value: Cow<'a, RawValue>) {
        match self.fields.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.fields.push((key, value)),
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Cow<'a, RawValue>> {
        let at = self.fields.iter().position(|(k, _)| k == key)?;
        Some(self.fields.remove(at).1)
    }

    /// Renames `from` to `to`, keeping value and place. Nothing happens when `from` is absent.
    pub fn rename(&mut self, from: &str, to: &'static str) {
        if let Some((key, _)) = self.fields.iter_mut().find(|(k, _)| k == from) {
            *key = Cow::Borrowed(to);
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(k, _)| k.as_ref())
    }

    pub fn to_vec(&self) -> Result<Vec<u8>, serde_json::Error> {
        let values: usize = self.fields.iter().map(|(k, v)| k.len() + v.get().len() + 4).sum();
        let mut out = Vec::with_capacity(values + 64);
        serde_json::to_writer(&mut out, self)?;
        Ok(out)
    }
}

impl Serialize for RawObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for (key, value) in &self.fields {
            map.serialize_entry(key, value.as_ref())?;
        }
        map.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = RawObject<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(16);
        while let Some(Key(key)) = map.next_key()? {
            fields.push((key, Cow::Borrowed(map.next_value::<&'de RawValue>()?)));
        }
        drop_duplicates(&mut fields);
        Ok(RawObject { fields })
    }
}

/// Keeps the last value of a repeated key in the place of its first. Sorting keeps a body of 100,000
/// keys from costing their square.
fn drop_duplicates<'a>(fields: &mut Vec<(Cow<'a, str>, Cow<'a, RawValue>)>) {
    let mut order: Vec<usize> = (0..fields.len()).collect();
    order.sort_by(|&a, &b| fields[a].0.cmp(&fields[b].0).then(a.cmp(&b)));
    let runs: Vec<&[usize]> =
        order.chunk_by(|&a, &b| fields[a].0 == fields[b].0).filter(|run| run.len() > 1).collect();
    if runs.is_empty() {
        return;
    }
    let mut gone = vec![false; fields.len()];
    for run in runs {
        fields[run[0]].1 = fields[run[run.len() - 1]].1.clone();
        run[1..].iter().for_each(|&at| gone[at] = true);
    }
    let mut gone = gone.into_iter();
    fields.retain(|_| !gone.next().unwrap_or_default());
}

/// A key, borrowed unless it holds an escape.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(object: &RawObject<'_>) -> String {
        String::from_utf8(object.to_vec().unwrap()).unwrap()
    }

    #[test]
    fn changes_one_field_and_keeps_every_other_byte() {
        let body = br#"{"a": 1.50, "model":"x","deep":{"b" : [1, 2]},"u":"\u00e9"}"#;
        let mut object = RawObject::parse(body).unwrap();
        object.set("model", "gpt").unwrap();
        assert_eq!(text(&object), r#"{"a":1.50,"model":"gpt","deep":{"b" : [1, 2]},"u":"\u00e9"}"#);
    }

    #[test]
    fn a_repeated_key_keeps_its_last_value() {
        let object = RawObject::parse(br#"{"model":"a","x":1,"model":"b","model":"c"}"#).unwrap();
        assert_eq!(text(&object), r#"{"model":"c","x":1}"#);
    }

    #[test]
    fn escaped_keys_are_read() {
        let object = RawObject::parse(br#"{"mod\u0065l":"a"}"#).unwrap();
        assert_eq!(object.get::<String>("model").unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn refuses_what_is_no_object() {
        for body in ["", "[]", "1", "{\"a\":1} x", "{\"a\":NaN}", "{a:1}"] {
            assert!(RawObject::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn null_reads_as_absent_and_a_wrong_type_is_an_error() {
        let object = RawObject::parse(br#"{"stream":null,"n":"x"}"#).unwrap();
        assert_eq!(object.get::<bool>("stream").unwrap(), None);
        assert!(object.get::<u32>("n").is_err());
    }
}
