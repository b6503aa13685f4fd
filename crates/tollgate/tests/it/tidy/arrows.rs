//! Which crate may know which: the arrows of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cargo_metadata;

/// Every crate and what it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("egress", &[]),
    ("simulator", &[]),
    ("providers", &["wire"]),
    ("journal", &["wire"]),
    ("policy", &["wire", "providers"]),
    ("store", &["wire", "journal"]),
    ("tables", &["wire", "journal"]),
    ("gateway", &["wire", "providers", "policy", "journal", "egress"]),
    ("control", &["wire", "providers", "policy", "journal", "store", "egress"]),
    (
        "tollgate",
        &[
            "wire",
            "egress",
            "simulator",
            "providers",
            "journal",
            "policy",
            "store",
            "tables",
            "gateway",
            "control",
        ],
    ),
];

/// Arrows that the architecture draws and the code may still lack. Any other that is missing is an error as
/// well: then the documented architecture is not the real one.
const UNUSED: &[(&str, &str)] = &[];

#[test]
fn arrows_go_down() {
    let allowed: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(from, to)| ((*from).to_owned(), to.iter().map(|to| (*to).to_owned()).collect()))
        .collect();
    let found = found();
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        allowed.keys().collect::<Vec<_>>(),
        "a crate is in the workspace or in the architecture, and not in both: change ARCHITECTURE.md first"
    );
    for (from, to) in &found {
        let forbidden: Vec<_> = to.difference(&allowed[from]).collect();
        assert!(
            forbidden.is_empty(),
            "{from} must not depend on {forbidden:?}: arrows only go down (ARCHITECTURE.md, crates)"
        );
        let unexplained: Vec<_> = allowed[from]
            .difference(to)
            .filter(|to| !UNUSED.contains(&(from.as_str(), to.as_str())))
            .collect();
        assert!(
            unexplained.is_empty(),
            "{from} does not use {unexplained:?}, which the architecture draws: change ARCHITECTURE.md or UNUSED"
        );
    }
}

/// Crate → its dependencies in the workspace; what only its tests use is left out.
fn found() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo_metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().unwrap();
    let short = |value: &Value| value.as_str().unwrap().trim_start_matches("tollgate-").to_owned();
    let names: BTreeSet<String> = packages.iter().map(|package| short(&package["name"])).collect();
    let of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let product = dependencies.filter(|dependency| dependency["kind"] != "dev");
        product.map(|dependency| short(&dependency["name"])).filter(|name| names.contains(name)).collect()
    };
    packages.iter().map(|package| (short(&package["name"]), of(package))).collect()
}
