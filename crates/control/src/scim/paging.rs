//! Which resources a list shows, in which order, and what of them.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::Value;
use wire::error::ApiError;
use wire::scim::{LIST_SCHEMA, List};

use super::filter::{Filter, attribute};

/// The query of a list.
#[derive(Debug, Default)]
pub(super) struct Query {
    filter: Option<Filter>,
    start: usize,
    count: Option<usize>,
    sort_by: Option<String>,
    descending: bool,
    pub(super) fields: Fields,
}

/// Which attributes are shown.
#[derive(Debug, Default)]
pub(super) struct Fields {
    only: Vec<String>,
    without: Vec<String>,
}

fn get<'q>(query: &'q HashMap<String, String>, name: &str) -> Option<&'q str> {
    let found = query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

fn number(query: &HashMap<String, String>, name: &str) -> Result<Option<usize>, ApiError> {
    let Some(text) = get(query, name) else { return Ok(None) };
    let number: i64 =
        text.parse().map_err(|_| ApiError::invalid(format!("{name} is {text:?}, it must be an integer")))?;
    // SCIM: what is below the least counts as the least.
    Ok(Some(usize::try_from(number).unwrap_or(0)))
}

impl Fields {
    pub(super) fn read(query: &HashMap<String, String>) -> Self {
        // Of `name.familyName` the whole `name` is meant.
        let names = |text: Option<&str>| -> Vec<String> {
            let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| part.split('.').next().unwrap_or(part).to_owned()).collect()
        };
        Self { only: names(get(query, "attributes")), without: names(get(query, "excludedAttributes")) }
    }

    pub(super) fn keep(&self, resource: Value) -> Value {
        let Value::Object(fields) = resource else { return resource };
        let named = |names: &[String], key: &str| names.iter().any(|name| name.eq_ignore_ascii_case(key));
        let kept = |key: &str| {
            let wanted = (self.only.is_empty() || named(&self.only, key)) && !named(&self.without, key);
            // `applicationId` too: the Terraform provider names `userName` and reads it.
            matches!(key, "id" | "schemas" | "applicationId") || wanted
        };
        Value::Object(fields.into_iter().filter(|(key, _)| kept(key)).collect())
    }
}

impl Query {
    pub(super) fn read(query: &HashMap<String, String>) -> Result<Self, ApiError> {
        let filter = get(query, "filter").map(|text| {
            let shown: String = text.chars().take(200).collect();
            Filter::parse(text).map_err(|e| ApiError::invalid(format!("the filter `{shown}` {e}")))
        });
        let descending = match get(query, "sortOrder").map(str::to_ascii_lowercase).as_deref() {
            None | Some("ascending") => false,
            Some("descending") => true,
            Some(other) => {
                let message = format!("sortOrder is {other:?}, it must be ascending or descending");
                return Err(ApiError::invalid(message));
            }
        };
        Ok(Self {
            filter: filter.transpose()?,
            start: number(query, "startIndex")?.unwrap_or(1).max(1),
            count: number(query, "count")?,
            sort_by: get(query, "sortBy").map(str::to_owned),
            descending,
            fields: Fields::read(query),
        })
    }

    /// A start beyond the end gives an empty page: SDKs ask until they get one.
    pub(super) fn page(self, mut resources: Vec<Value>) -> List {
        if let Some(filter) = &self.filter {
            resources.retain(|resource| filter.matches(resource));
        }
        if let Some(by) = &self.sort_by {
            resources.sort_by_cached_key(|resource| Key(sort_text(resource, by)));
        }
        if self.descending {
            resources.reverse();
        }
        let total_results = resources.len();
        let page = resources.into_iter().skip(self.start - 1).take(self.count.unwrap_or(usize::MAX));
        let resources: Vec<Value> = page.map(|resource| self.fields.keep(resource)).collect();
        List {
            schemas: [LIST_SCHEMA],
            total_results,
            start_index: self.start,
            items_per_page: resources.len(),
            resources,
        }
    }
}

#[derive(PartialEq, Eq)]
struct Key(Option<String>);

impl Ord for Key {
    /// Those without a value come last.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.is_none(), &self.0).cmp(&(other.0.is_none(), &other.0))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn sort_text(resource: &Value, path: &str) -> Option<String> {
    let value = path.split('.').try_fold(resource, attribute)?;
    match value {
        Value::String(text) => Some(text.to_lowercase()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(query: &[(&str, &str)]) -> Result<List, ApiError> {
        let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let users = ["bob", "Ann", "eve", "dan"].iter().enumerate();
        let users = users.map(|(at, name)| json!({"id": at.to_string(), "userName": name, "active": at > 1}));
        Ok(Query::read(&query)?.page(users.collect()))
    }

    fn names(query: &[(&str, &str)]) -> String {
        let list = page(query).unwrap();
        assert_eq!(list.items_per_page, list.resources.len());
        let names = list.resources.iter().filter_map(|u| u.get("userName")?.as_str());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pages_are_cut_and_sorted() {
        assert_eq!(names(&[]), "bob Ann eve dan");
        assert_eq!(names(&[("startIndex", "2"), ("count", "2")]), "Ann eve");
        assert_eq!(names(&[("startIndex", "4"), ("count", "2")]), "dan");
        assert_eq!(names(&[("startIndex", "-3"), ("count", "1")]), "bob");
        assert_eq!(names(&[("sortBy", "username")]), "Ann bob dan eve");
        assert_eq!(names(&[("sortBy", "userName"), ("sortOrder", "Descending"), ("count", "2")]), "eve dan");
        assert_eq!(names(&[("filter", "active eq true"), ("sortBy", "userName")]), "dan eve");
    }

    #[test]
    fn beyond_the_end_is_an_empty_page() {
        for query in [("startIndex", "5"), ("startIndex", "9000"), ("count", "0"), ("count", "-1")] {
            let list = page(&[query]).unwrap();
            assert_eq!((list.total_results, list.resources.len()), (4, 0), "{query:?}");
        }
    }

    #[test]
    fn attributes_are_chosen() {
        let keys = |query: &[(&str, &str)]| {
            let list = page(query).unwrap();
            let keys: Vec<String> = list.resources[0].as_object().unwrap().keys().cloned().collect();
            keys.join(" ")
        };
        assert_eq!(keys(&[("attributes", "username")]), "id userName");
        assert_eq!(keys(&[("attributes", "active, userName.x")]), "id userName active");
        assert_eq!(keys(&[("excludedAttributes", "active,id")]), "id userName");
    }

    #[test]
    fn an_application_id_is_always_shown() {
        let query = HashMap::from([("attributes".to_owned(), "userName".to_owned())]);
        let shown = Fields::read(&query).keep(json!({"id": "1", "applicationId": "a", "displayName": "d"}));
        assert_eq!(shown, json!({"id": "1", "applicationId": "a"}));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, says) in [
            (("count", "many"), "count is \"many\""),
            (("startIndex", "1.5"), "startIndex"),
            (("sortOrder", "up"), "ascending"),
            (("filter", "userName"), "`userName` has no operator"),
        ] {
            let error = page(&[query]).unwrap_err();
            assert!(error.status == 400 && error.message.contains(says), "{error}");
        }
    }
}
