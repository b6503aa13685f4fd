//! The files: what is wanted.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use super::spelling::modern;

/// What all files together ask for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    /// As `POST /api/2.0/serving-endpoints` takes them, and `permissions`.
    pub(super) endpoints: Vec<Map<String, Value>>,
    /// `{name, acls?}`.
    pub(super) scopes: Vec<Map<String, Value>>,
}

/// Beginnings of keys that providers and Databricks give out.
const KEY_PREFIXES: [&str; 8] = ["sk-", "dapi", "AKIA", "ASIA", "AIza", "ghp_", "xoxb-", "-----BEGIN"];

pub(super) fn read(path: &Path) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted::default();
    for file in list(path)? {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
        let document: Value = serde_saphyr::from_str(&text).with_context(|| format!("{name} is no YAML"))?;
        take(document, &mut wanted).with_context(|| name.clone())?;
    }
    for endpoint in &wanted.endpoints {
        let name = endpoint.get("name").and_then(Value::as_str).unwrap_or_default();
        refuse_literals("", &Value::Object(endpoint.clone()))
            .with_context(|| format!("endpoint {name:?}"))?;
    }
    for endpoint in &mut wanted.endpoints {
        let name = endpoint.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        modern(endpoint).with_context(|| format!("endpoint {name:?}"))?;
    }
    Ok(wanted)
}

fn list(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds no .yml or .yaml file", path.display());
    }
    files.sort();
    Ok(files)
}

fn take(document: Value, wanted: &mut Wanted) -> anyhow::Result<()> {
    let Value::Object(mut document) = document else { bail!("must be a mapping") };
    if let Some(Value::Object(mut resources)) = document.remove("resources") {
        wanted.endpoints.extend(named(resources.remove("model_serving_endpoints"))?);
        wanted.scopes.extend(named(resources.remove("secret_scopes"))?);
    }
    wanted.endpoints.extend(listed(document.remove("serving_endpoints"), "serving_endpoints")?);
    wanted.scopes.extend(listed(document.remove("secret_scopes"), "secret_scopes")?);
    // A bundle's own sections are its CLI's business.
    let known = ["bundle", "targets", "variables", "workspace", "include"];
    match document.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => bail!("unknown section {key:?}: use serving_endpoints, secret_scopes or resources"),
        None => Ok(()),
    }
}

/// The bundle's form: a mapping of keys to resources; a resource without a name is named by its key.
fn named(section: Option<Value>) -> anyhow::Result<Vec<Map<String, Value>>> {
    let Some(section) = section else { return Ok(Vec::new()) };
    let Value::Object(section) = section else { bail!("a section of resources must be a mapping") };
    let resource = |(key, value): (String, Value)| {
        let Value::Object(mut resource) = value else { bail!("resource {key:?} must be a mapping") };
        resource.entry("name").or_insert_with(|| key.into());
        Ok(resource)
    };
    section.into_iter().map(resource).collect()
}

fn listed(section: Option<Value>, name: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    let Some(section) = section else { return Ok(Vec::new()) };
    let Value::Array(items) = section else { bail!("{name} must be a list") };
    let item = |value: Value| match value {
        Value::Object(item) if item.get("name").is_some_and(Value::is_string) => Ok(item),
        _ => bail!("each entry of {name} must be a mapping with a name"),
    };
    items.into_iter().map(item).collect()
}

/// Keys do not belong into files: only references do.
fn refuse_literals(path: &str, value: &Value) -> anyhow::Result<()> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if key.ends_with("_plaintext") {
                bail!("{path}: secrets do not belong into files; put it into a scope and refer to it");
            }
            refuse_literals(&path, value)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(at, value)| refuse_literals(&format!("{path}[{at}]"), value)),
        Value::String(text) if looks_like_key(text) => {
            bail!("{path} looks like a key: put it into a scope and write {{{{secrets/<scope>/<key>}}}} here")
        }
        _ => Ok(()),
    }
}

fn looks_like_key(text: &str) -> bool {
    let text = text.trim();
    text.len() >= 16 && KEY_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) && !text.contains(' ')
        || text.starts_with("-----BEGIN")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> anyhow::Result<Wanted> {
        let mut wanted = Wanted::default();
        take(serde_saphyr::from_str(text)?, &mut wanted)?;
        Ok(wanted)
    }

    #[test]
    fn both_forms_are_read() {
        let plain = wanted(
            "serving_endpoints:\n- name: a\n  config: {served_entities: []}\nsecret_scopes:\n- name: s\n",
        )
        .unwrap();
        let bundle = wanted(
            "bundle: {name: b}\nresources:\n  model_serving_endpoints:\n    a:\n      config: {served_entities: []}\n  \
             secret_scopes:\n    one: {name: s}\n",
        )
        .unwrap();
        assert_eq!(plain.endpoints[0]["name"], bundle.endpoints[0]["name"]);
        assert_eq!(plain.scopes[0]["name"], bundle.scopes[0]["name"]);
        assert!(wanted("endpoints: []").is_err());
    }

    #[test]
    fn literals_that_look_like_keys_are_refused_without_showing_them() {
        let value = serde_json::json!({"config": {"k": ["sk-aaaaaaaaaaaaaaaaaaaa"]}});
        let error = refuse_literals("", &value).unwrap_err().to_string();
        assert!(error.starts_with("config.k[0]") && !error.contains("aaaa"), "{error}");
        assert!(refuse_literals("", &serde_json::json!({"k": "{{secrets/a/b}}", "m": "sk-learn"})).is_ok());
        assert!(refuse_literals("", &serde_json::json!({"k_plaintext": "x"})).is_err());
    }
}
