//! The OpenAPI document says all that is served, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

const HEALTH: [(&str, &str); 3] = [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")];

const METHODS: [&str; 6] = ["get", "put", "post", "delete", "patch", "head"];

/// A file of the documentation.
pub(crate) fn doc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// Compares a generated file with the one in `docs/`; `UPDATE_DOCS=1` writes it instead.
#[expect(clippy::disallowed_methods, reason = "tests read this one variable, as insta reads its own")]
pub(crate) fn compare(name: &str, generated: &str) {
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(doc(name), generated).unwrap();
    }
    let kept = std::fs::read_to_string(doc(name)).unwrap_or_default();
    assert!(kept == generated, "docs/{name} is not what the code says: run this test with UPDATE_DOCS=1");
}

/// Method, path and what is said of them.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, methods)| {
        let methods =
            methods.as_object().unwrap().iter().filter(|(name, _)| METHODS.contains(&name.as_str()));
        methods.map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    });
    all.collect()
}

#[test]
fn every_route_is_described_and_no_other() {
    let document = tollgate_control::openapi_document();
    // OpenAPI knows no parameter with slashes in it.
    let control = tollgate_control::routes().map(|r| (r.method.to_string(), r.path.replace("{*", "{")));
    let gateway = gateway::routes().map(|r| (r.method.to_string(), r.path.to_owned()));
    let health = HEALTH.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned()));
    let served: BTreeSet<_> = control.chain(gateway).chain(health).collect();
    let operations = operations(&document);
    let described: BTreeSet<_> = operations
        .iter()
        .filter(|(_, _, operation)| operation["operationId"].is_string())
        .map(|(method, path, _)| (method.clone(), path.clone()))
        .collect();
    let missing: Vec<_> = served.difference(&described).collect();
    let invented: Vec<_> = described.difference(&served).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "describe these routes in crates/control/src/openapi: {missing:#?}; nobody serves these: {invented:#?}"
    );
    let ids: BTreeSet<_> = operations.iter().filter_map(|(_, _, o)| o["operationId"].as_str()).collect();
    assert_eq!(ids.len(), operations.len(), "two operations have the same operationId");
}

#[test]
fn every_operation_has_what_clients_and_people_read() {
    let document = tollgate_control::openapi_document();
    for (method, path, operation) in operations(&document) {
        let what = format!("{method} {path}");
        assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{what} has no summary");
        assert!(operation["tags"][0].is_string(), "{what} has no tag");
        assert!(operation["x-tollgate-needs"].is_string(), "{what} does not say what it needs");
        let responses = operation["responses"].as_object().unwrap();
        assert!(!responses.is_empty(), "{what} has no responses");
        let nobody = operation["x-tollgate-needs"] == "nothing";
        assert_eq!(nobody, operation["security"].is_array(), "{what}: what it needs and its security differ");
        assert_eq!(
            !nobody,
            responses.contains_key("401") && responses.contains_key("403"),
            "{what}: 401, 403"
        );
    }
}

#[test]
fn references_lead_somewhere_and_every_schema_is_used() {
    let document = tollgate_control::openapi_document();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    for reference in &references {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap().keys();
    let unused: Vec<_> =
        schemas.filter(|name| !references.contains(&format!("#/components/schemas/{name}"))).collect();
    assert!(unused.is_empty(), "schemas that nothing refers to: {unused:?}");
}

fn collect(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "$ref" => drop(out.insert(text.clone())),
                    other => collect(other, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        _ => {}
    }
}

#[test]
fn the_document_is_the_one_in_the_docs() {
    let mut text = serde_json::to_string_pretty(&tollgate_control::openapi_document()).unwrap();
    text.push('\n');
    compare("openapi.json", &text);
}
