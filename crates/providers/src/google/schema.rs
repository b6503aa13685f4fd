//! JSON schema to the subset of OpenAPI 3.0 that models before 2.0 take; see `Schema` in the API's
//! reference.

use std::cell::Cell;
use std::collections::HashSet;

use ::wire::Object;
use serde_json::Value;

/// How deep a schema is followed: one that refers to itself has no end.
const MAX_DEPTH: usize = 24;
/// How many schemas are followed in all: one that refers to itself twice doubles at each level.
const MAX_SCHEMAS: usize = 4_000;

/// How much is copied in all, about in bytes: one that is referred to again and again, or that is of many
/// types, is copied for each.
const MAX_COPIED: usize = 16 << 20;
/// What a value takes in memory besides its text.
const NODE: usize = 32;

/// Fields that pass as they are.
const KEPT: [&str; 12] = [
    "description",
    "nullable",
    "required",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "pattern",
];

pub(super) fn reduce(schema: &Value) -> Value {
    Reducer { root: schema, left: Cell::new(MAX_SCHEMAS), copies: Cell::new(MAX_COPIED) }.schema(schema, 0)
}

struct Reducer<'a> {
    root: &'a Value,
    /// How many more may be followed.
    left: Cell<usize>,
    /// How much more may be copied.
    copies: Cell<usize>,
}

impl Reducer<'_> {
    /// Whether one more schema may be followed.
    fn spend(&self, depth: usize) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0 && depth <= MAX_DEPTH
    }

    /// Whether a copy of the fields may be made. Looks no further than what is left.
    fn spend_copy<'v>(&self, mut fields: impl Iterator<Item = (&'v String, &'v Value)>) -> bool {
        let mut left = self.copies.get();
        let fits = fields.all(|(key, value)| take(&mut left, key.len()) && charge(value, &mut left));
        self.copies.set(if fits { left } else { 0 });
        fits
    }

    fn schema(&self, schema: &Value, depth: usize) -> Value {
        if !self.spend(depth) {
            return any();
        }
        let Value::Object(given) = schema else { return any() };
        let given = self.whole(given, depth);
        let mut out = Object::new();
        for key in KEPT {
            if let Some(value) = given.get(key).filter(|v| !v.is_null()) {
                out.insert(key.to_owned(), value.clone());
            }
        }
        self.alternatives(&given, &mut out, depth);
        kind(&given, &mut out);
        choices(&given, &mut out);
        self.members(&given, &mut out, depth);
        if let Some(Value::Array(required)) = out.get_mut("required") {
            let mut seen = HashSet::new();
            required.retain(|name| seen.insert(name.clone()));
        }
        Value::Object(out)
    }

    /// The schema with what it refers to and all that it is made of.
    fn whole(&self, given: &Object, depth: usize) -> Object {
        let mut whole = Object::new();
        if !self.spend(depth) {
            return whole;
        }
        let reference = given.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|r| self.root.pointer(r.strip_prefix('#')?));
        let parts = given.get("allOf").and_then(Value::as_array).into_iter().flatten();
        for part in target.into_iter().chain(parts).filter_map(Value::as_object) {
            merge(&mut whole, self.whole(part, depth + 1));
        }
        let own = given.iter().filter(|(key, _)| *key != "$ref" && *key != "allOf");
        if !self.spend_copy(own.clone()) {
            return whole;
        }
        merge(&mut whole, own.map(|(key, value)| (key.clone(), value.clone())).collect());
        whole
    }

    /// `anyOf` and `oneOf`; null among them says `nullable`, and one that is left stands for all.
    fn alternatives(&self, given: &Object, out: &mut Object, depth: usize) {
        let any_of = given.get("anyOf").or_else(|| given.get("oneOf")).and_then(Value::as_array);
        let types = given.get("type").and_then(Value::as_array);
        let (schemas, nullable): (Vec<Value>, bool) = match (any_of, types) {
            (Some(any_of), _) => {
                let is_null = |s: &&Value| s["type"] == "null";
                let others = any_of.iter().filter(|s| !is_null(s)).map(|s| self.schema(s, depth + 1));
                (others.collect(), any_of.iter().any(|s| is_null(&s)))
            }
            (None, Some(types)) => {
                let rest = given.iter().filter(|(key, _)| *key != "type");
                let others = types.iter().filter(|t| *t != "null").map_while(|t| {
                    let has_room = self.left.get() > 0 && self.spend_copy(rest.clone());
                    let rest =
                        has_room.then(|| rest.clone().map(|(key, value)| (key.clone(), value.clone())));
                    let one = std::iter::once(("type".to_owned(), t.clone())).chain(rest?).collect();
                    Some(self.schema(&Value::Object(one), depth + 1))
                });
                (others.collect(), types.iter().any(|t| t == "null"))
            }
            (None, None) => return,
        };
        if nullable {
            out.insert("nullable".to_owned(), true.into());
        }
        match <[Value; 1]>::try_from(schemas) {
            Ok([Value::Object(only)]) => merge(out, only),
            Ok(_) => {}
            Err(several) if several.is_empty() => {}
            Err(several) => drop(out.insert("anyOf".to_owned(), Value::Array(several))),
        }
    }

    fn members(&self, given: &Object, out: &mut Object, depth: usize) {
        if let Some(properties) = given.get("properties").and_then(Value::as_object) {
            let reduced = properties.iter().map(|(name, s)| (name.clone(), self.schema(s, depth + 1)));
            let reduced: Object = reduced.collect();
            let order = reduced.keys().map(|name| Value::from(name.as_str())).collect();
            out.entry("type").or_insert_with(|| "object".into());
            out.insert("propertyOrdering".to_owned(), order);
            out.insert("properties".to_owned(), Value::Object(reduced));
        }
        if out.get("type").is_some_and(|t| t == "array") {
            let items = given.get("items").map_or_else(any, |items| self.schema(items, depth + 1));
            out.insert("items".to_owned(), items);
        }
    }
}

/// Whether what `value` takes is within `left`, of which it is taken.
fn charge(value: &Value, left: &mut usize) -> bool {
    let text = if let Value::String(text) = value { text.len() } else { 0 };
    take(left, NODE + text)
        && match value {
            Value::Array(items) => items.iter().all(|item| charge(item, left)),
            Value::Object(fields) => {
                fields.iter().all(|(key, value)| take(left, key.len()) && charge(value, left))
            }
            _ => true,
        }
}

fn take(left: &mut usize, size: usize) -> bool {
    let fits = size <= *left;
    *left = left.saturating_sub(size);
    fits
}

/// What stands for a schema that says nothing: a type is required.
fn any() -> Value {
    Value::Object(Object::from_iter([("type".to_owned(), "string".into())]))
}

/// Properties and what is required add up; anything else is said by the later one.
fn merge(into: &mut Object, from: Object) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(before)), Value::Object(more)) if key == "properties" => before.extend(more),
            (Some(Value::Array(before)), Value::Array(more)) if key == "required" => {
                before.extend(more);
            }
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

fn kind(given: &Object, out: &mut Object) {
    if let Some(Value::String(kind)) = given.get("type") {
        out.insert("type".to_owned(), kind.as_str().into());
    } else if !out.contains_key("type") && !out.contains_key("anyOf") {
        let constant = given.get("const").or_else(|| given.get("enum").and_then(|e| e.get(0)));
        let kind = match constant {
            Some(Value::Bool(_)) => "boolean",
            Some(Value::Number(number)) if number.is_f64() => "number",
            Some(Value::Number(_)) => "integer",
            _ if given.contains_key("items") => "array",
            _ if given.contains_key("properties") => "object",
            _ => "string",
        };
        out.insert("type".to_owned(), kind.into());
    }
}

/// Choices are of strings only, and `enum` and `date-time` the only formats of these.
fn choices(given: &Object, out: &mut Object) {
    if out.get("type").is_none_or(|t| t != "string") {
        return;
    }
    let constant = given.get("const").map(std::slice::from_ref);
    let listed = given.get("enum").and_then(Value::as_array).map(Vec::as_slice);
    let texts: Vec<Value> =
        constant.or(listed).unwrap_or_default().iter().filter(|v| v.is_string()).cloned().collect();
    if !texts.is_empty() {
        out.insert("format".to_owned(), "enum".into());
        out.insert("enum".to_owned(), Value::Array(texts));
    } else if let Some(format) = given.get("format").filter(|f| *f == "date-time") {
        out.insert("format".to_owned(), format.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_subset_lacks_is_left_out() {
        let schema = json!({"$schema": "x", "title": "T", "type": "object", "additionalProperties": false,
            "properties": {"b": {"type": "string", "default": "z", "format": "uri"}, "a": {"type": "integer"}},
            "required": ["b"], "strict": true});
        let expected = json!({"required": ["b"], "type": "object", "propertyOrdering": ["b", "a"],
            "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}});
        assert_eq!(reduce(&schema), expected);
    }

    #[test]
    fn null_is_said_by_nullable() {
        assert_eq!(reduce(&json!({"type": ["string", "null"]})), json!({"nullable": true, "type": "string"}));
        let any_of = json!({"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "d"});
        assert_eq!(reduce(&any_of), json!({"description": "d", "nullable": true, "type": "integer"}));
        let two = reduce(&json!({"type": ["string", "integer"]}));
        assert_eq!(two, json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}));
    }

    #[test]
    fn references_are_put_in_and_recursion_ends() {
        let schema = json!({"type": "object", "properties": {"n": {"$ref": "#/$defs/node"}},
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}});
        let reduced = reduce(&schema);
        assert_eq!(reduced["properties"]["n"]["properties"]["next"]["type"], "object");
        assert!(!reduced.to_string().contains("$ref"));
        let endless = json!({"$ref": "#", "allOf": [{"$ref": "#"}]});
        assert_eq!(reduce(&endless), json!({"type": "string"}));
    }

    #[test]
    fn all_of_is_merged() {
        let schema = json!({"allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}]});
        let reduced = reduce(&schema);
        assert_eq!(reduced["required"], json!(["a", "b"]));
        assert_eq!(reduced["propertyOrdering"], json!(["a", "b"]));
    }

    #[test]
    fn constants_are_choices_of_one() {
        let string = json!({"type": "string", "format": "enum", "enum": ["x"]});
        assert_eq!(reduce(&json!({"const": "x"})), string);
        assert_eq!(reduce(&json!({"const": 3})), json!({"type": "integer"}));
        assert_eq!(reduce(&json!({"type": "integer", "enum": [1, 2]})), json!({"type": "integer"}));
        assert_eq!(reduce(&json!({"type": "array"})), json!({"type": "array", "items": {"type": "string"}}));
    }

    #[test]
    fn a_schema_that_doubles_at_each_level_is_cut() {
        let tree = json!({"type": "object", "properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}});
        let merged = json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]});
        for schema in [tree, merged] {
            assert!(reduce(&schema).to_string().len() < 1 << 20);
        }
    }

    #[test]
    fn what_is_required_is_said_once() {
        let part = json!({"properties": {"a": {"type": "string"}}, "required": ["a"]});
        let twice = json!({"allOf": [part, part], "type": ["object", "null"], "required": ["a"]});
        assert_eq!(reduce(&twice)["required"], json!(["a"]));
    }

    #[test]
    fn what_is_copied_again_and_again_is_cut() {
        let names: Vec<String> = (0..10_000).map(|n| format!("name_{n}")).collect();
        let types = json!({"type": names, "description": "d".repeat(10_000)});
        let refs: Vec<Value> = names.iter().map(|_| json!({"$ref": "#/$defs/all"})).collect();
        let merged =
            json!({"allOf": refs, "$defs": {"all": {"required": names, "description": "d".repeat(10_000)}}});
        let each = json!({"anyOf": refs, "$defs": {"all": {"required": names, "properties": {"a": {}}}}});
        for schema in [types, merged, each] {
            assert!(reduce(&schema).to_string().len() < MAX_COPIED * 2);
        }
    }
}
