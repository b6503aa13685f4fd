//! SCIM PATCH: operations on the JSON of a resource, which is then read as if it had been PUT.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use wire::Object;

use super::filter::Filter;

/// Attributes that are lists of items with a `value`.
const LISTS: [&str; 5] = ["members", "groups", "entitlements", "roles", "emails"];

#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    #[serde(alias = "Op")]
    op: String,
    #[serde(default, alias = "Path")]
    path: Option<String>,
    #[serde(default, alias = "Value")]
    value: Option<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Add,
    Replace,
}

/// `members[value eq "1"].display`: the attribute, which of its items, what of it.
#[derive(Debug, PartialEq)]
struct Place {
    attribute: String,
    filter: Option<Filter>,
    part: Option<String>,
}

/// Errors with a sentence that says what to correct; `resource` is then half changed and not to be used.
pub(crate) fn apply(resource: &mut Object, operations: Vec<Operation>) -> Result<(), String> {
    for (at, operation) in operations.into_iter().enumerate() {
        one(resource, operation).map_err(|e| format!("Operations[{at}]: {e}"))?;
    }
    Ok(())
}

fn one(resource: &mut Object, operation: Operation) -> Result<(), String> {
    let Operation { op, path, value } = operation;
    let path = path.filter(|p| !p.trim().is_empty());
    let act = match op.to_ascii_lowercase().as_str() {
        "add" => Act::Add,
        "replace" => Act::Replace,
        "remove" => {
            let path = path.ok_or("remove needs a path")?;
            remove(resource, Place::parse(&path)?, value);
            return Ok(());
        }
        _ => return Err(format!("op is {op:?}, it must be add, remove or replace")),
    };
    let value = value.ok_or_else(|| format!("{op} needs a value"))?;
    let Some(path) = path else {
        let Value::Object(fields) = value else {
            return Err(format!("{op} without a path needs an object as its value"));
        };
        for (key, value) in fields {
            set(resource, act, Place::parse(&key)?, value);
        }
        return Ok(());
    };
    set(resource, act, Place::parse(&path)?, value);
    Ok(())
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (head, rest) = text.split_at(text.find('[').unwrap_or(text.len()));
        // A name may carry its schema in front, and the schema holds dots.
        let head = if head.starts_with("urn:") { head.rsplit(':').next().unwrap_or(head) } else { head };
        let place = match rest.strip_prefix('[') {
            None => {
                let (attribute, part) = match head.split_once('.') {
                    Some((attribute, part)) => (attribute, Some(part.to_owned())),
                    None => (head, None),
                };
                Self { attribute: attribute.to_owned(), filter: None, part }
            }
            Some(rest) => {
                // The last bracket closes it: a text in the filter may hold others.
                let (filter, part) = rest
                    .rsplit_once(']')
                    .ok_or_else(|| format!("path {text:?} has a `[` that is not closed"))?;
                let filter = Filter::parse(filter).map_err(|e| format!("the filter in path {text:?} {e}"))?;
                let part = part.strip_prefix('.').map(str::to_owned);
                Self { attribute: head.to_owned(), filter: Some(filter), part }
            }
        };
        let legal = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$' || c == '-')
        };
        if legal(&place.attribute) && place.part.as_deref().is_none_or(legal) {
            return Ok(place);
        }
        Err(format!("path {text:?} names no attribute"))
    }
}

/// The name under which `object` has an attribute, whatever its case.
fn key_of(object: &Object, name: &str) -> String {
    object.keys().find(|key| key.eq_ignore_ascii_case(name)).map_or(name, String::as_str).to_owned()
}

/// The items of a list attribute, however they were written.
fn items(value: Value) -> Vec<Value> {
    let item = |value: Value| match value {
        Value::Object(_) => value,
        other => serde_json::json!({"value": other}),
    };
    match value {
        Value::Array(values) => values.into_iter().map(item).collect(),
        Value::Null => Vec::new(),
        other => vec![item(other)],
    }
}

fn id_of(item: &Value) -> Option<&str> {
    item.get("value").and_then(Value::as_str)
}

fn remove(resource: &mut Object, place: Place, value: Option<Value>) {
    let key = key_of(resource, &place.attribute);
    let Some(found) = resource.get_mut(&key) else { return };
    match (found, place.filter, place.part) {
        (Value::Array(list), Some(filter), Some(part)) => {
            for item in list.iter_mut().filter(|item| filter.matches(item)).filter_map(Value::as_object_mut) {
                let key = key_of(item, &part);
                item.remove(&key);
            }
        }
        (Value::Array(list), Some(filter), None) => list.retain(|item| !filter.matches(item)),
        (Value::Object(object), None, Some(part)) => {
            let key = key_of(object, &part);
            object.remove(&key);
        }
        // Some clients name the items to remove in the value.
        (Value::Array(list), None, None) if value.as_ref().is_some_and(|v| !v.is_null()) => {
            let gone = items(value.unwrap_or_default());
            let gone: HashSet<&str> = gone.iter().filter_map(id_of).collect();
            list.retain(|item| id_of(item).is_none_or(|id| !gone.contains(id)));
        }
        (_, None, None) => {
            resource.remove(&key);
        }
        _ => {}
    }
}

fn set(resource: &mut Object, act: Act, place: Place, value: Value) {
    let key = key_of(resource, &place.attribute);
    let is_list = LISTS.iter().any(|name| name.eq_ignore_ascii_case(&key));
    match (place.filter, place.part) {
        (Some(filter), part) => set_items(resource.get_mut(&key), &filter, part.as_deref(), value),
        (None, None) if is_list && act == Act::Add => {
            let mut list = items(resource.remove(&key).unwrap_or_default());
            let known: HashSet<String> = list.iter().filter_map(id_of).map(str::to_owned).collect();
            let mut seen = HashSet::new();
            let new = items(value).into_iter().filter(|item| {
                id_of(item).is_none_or(|id| !known.contains(id) && seen.insert(id.to_owned()))
            });
            list.extend(new);
            resource.insert(key, Value::Array(list));
        }
        (None, None) if is_list => {
            resource.insert(key, Value::Array(items(value)));
        }
        (None, None) => match (resource.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) if act == Act::Add => old.extend(new),
            (_, value) => {
                resource.insert(key, value);
            }
        },
        // `name.familyName`; a part of a list without saying of which item means nothing.
        (None, Some(_)) if is_list => {}
        (None, Some(part)) => {
            let object = resource.entry(key).or_insert_with(|| Value::Object(Object::new()));
            if let Some(object) = object.as_object_mut() {
                let key = key_of(object, &part);
                object.insert(key, value);
            }
        }
    }
}

fn set_items(list: Option<&mut Value>, filter: &Filter, part: Option<&str>, value: Value) {
    let Some(list) = list.and_then(Value::as_array_mut) else { return };
    for item in list.iter_mut().filter(|item| filter.matches(item)) {
        let Some(object) = item.as_object_mut() else { continue };
        match (part, &value) {
            (Some(part), value) => {
                let key = key_of(object, part);
                object.insert(key, value.clone());
            }
            (None, Value::Object(new)) => object.extend(new.clone()),
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn patched(resource: &Value, operations: Value) -> Result<Value, String> {
        let Value::Object(mut object) = resource.clone() else { panic!("an object") };
        apply(&mut object, serde_json::from_value(operations).unwrap())?;
        Ok(Value::Object(object))
    }

    #[track_caller]
    fn check(resource: Value, operation: Value, expected: Value) {
        assert_eq!(patched(&resource, json!([operation])).unwrap(), expected, "{operation}");
    }

    #[test]
    fn members_come_and_go() {
        let group = json!({"members": [{"value": "1", "display": "ann"}, {"value": "2"}]});
        check(
            group.clone(),
            json!({"op": "add", "path": "members", "value": [{"value": "3"}, {"value": "1"}, {"value": "3"}]}),
            json!({"members": [{"value": "1", "display": "ann"}, {"value": "2"}, {"value": "3"}]}),
        );
        for removal in [
            json!({"op": "remove", "path": "members[value eq \"1\"]"}),
            json!({"op": "Remove", "path": "Members[value eq '1']"}),
            json!({"op": "remove", "path": "members", "value": [{"value": "1"}]}),
            json!({"op": "remove", "path": "members", "value": "1"}),
            json!({"op": "replace", "path": "members", "value": [{"value": "2"}]}),
            json!({"op": "replace", "value": {"members": [{"value": "2"}]}}),
            json!({"op": "remove", "path": "members[display eq \"ann\" or value eq \"9\"]"}),
        ] {
            check(group.clone(), removal, json!({"members": [{"value": "2"}]}));
        }
        check(group.clone(), json!({"op": "remove", "path": "members"}), json!({}));
        check(group.clone(), json!({"op": "remove", "path": "members[value eq \"9\"]"}), group);
        check(
            json!({}),
            json!({"op": "add", "value": {"members": [{"value": "1"}]}}),
            json!({"members": [{"value": "1"}]}),
        );
    }

    #[test]
    fn scalars_and_parts() {
        let user = json!({"displayName": "a", "active": true, "name": {"givenName": "A"}});
        check(
            user.clone(),
            json!({"op": "replace", "path": "active", "value": "False"}),
            json!({"displayName": "a", "active": "False", "name": {"givenName": "A"}}),
        );
        check(
            user.clone(),
            json!({"op": "Replace", "value": {"DisplayName": "b", "name.familyName": "B"}}),
            json!({"displayName": "b", "active": true, "name": {"givenName": "A", "familyName": "B"}}),
        );
        check(
            user.clone(),
            json!({"op": "add", "path": "name", "value": {"familyName": "B"}}),
            json!({"displayName": "a", "active": true, "name": {"givenName": "A", "familyName": "B"}}),
        );
        check(
            user.clone(),
            json!({"op": "remove", "path": "urn:ietf:params:scim:schemas:core:2.0:User:name.givenName"}),
            json!({"displayName": "a", "active": true, "name": {}}),
        );
        check(
            user,
            json!({"op": "add", "path": "entitlements", "value": "workspace-access"}),
            json!({"displayName": "a", "active": true, "name": {"givenName": "A"},
                "entitlements": [{"value": "workspace-access"}]}),
        );
        check(
            json!({"emails": [{"value": "a", "type": "work"}, {"value": "b", "type": "home"}]}),
            json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": "c"}),
            json!({"emails": [{"value": "c", "type": "work"}, {"value": "b", "type": "home"}]}),
        );
    }

    #[test]
    fn what_cannot_be_done_says_why() {
        for (operation, says) in [
            (json!({"op": "move", "path": "x", "value": 1}), "add, remove or replace"),
            (json!({"op": "remove"}), "needs a path"),
            (json!({"op": "add", "path": "members"}), "needs a value"),
            (json!({"op": "add", "value": [1]}), "needs an object"),
            (json!({"op": "add", "path": "members[value eq", "value": 1}), "not closed"),
            (json!({"op": "remove", "path": "members[value]"}), "no operator"),
            (json!({"op": "remove", "path": "[value eq 1]"}), "names no attribute"),
            (json!({"op": "remove", "path": "a.b.c"}), "names no attribute"),
        ] {
            let error = patched(&json!({}), json!([operation])).unwrap_err();
            assert!(error.contains(says) && error.starts_with("Operations[0]"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_path_breaks_it(path in "[a-z.:\\[\\]\" é]{0,30}", op in "add|remove|replace") {
            let resource = json!({"members": [{"value": "1"}], "name": {"a": "b"}, "x": null});
            let _ = patched(&resource, json!([{"op": op, "path": path, "value": [{"value": "2"}]}]));
        }

        #[test]
        fn adding_then_removing_is_nothing(ids in proptest::collection::hash_set("[a-z\"\\\\]{1,8}", 0..8)) {
            let add: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
            let mut operations = vec![json!({"op": "add", "path": "members", "value": add})];
            operations.extend(ids.iter().map(|id| {
                let id = id.replace('\\', "\\\\").replace('"', "\\\"");
                json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")})
            }));
            prop_assert_eq!(patched(&json!({}), json!(operations)).unwrap(), json!({"members": []}));
        }
    }
}
