//! What the binary is made of: licences that we can meet, and no package that is banned in deny.toml. The
//! same is checked by cargo-deny, which not every machine has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use toml::Table;

use super::{cargo_metadata, none, read, run};

/// Name → licence of everything that is built into the binary on this platform, tests left out. `cargo tree`
/// and not `cargo metadata`, which also lists packages that only a weak feature (`ring?/std`) mentions.
fn packages() -> BTreeMap<String, String> {
    let format = "{p}\t{l}";
    let listed = run(
        env!("CARGO"),
        &[
            "tree",
            "--locked",
            "--offline",
            "--package",
            "tollgate",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            format,
        ],
    );
    let package = |line: &str| {
        let (name, licence) = line.trim_end_matches(" (*)").split_once('\t').unwrap();
        (name.split(' ').next().unwrap_or_default().to_owned(), licence.to_owned())
    };
    let packages: BTreeMap<String, String> = listed.lines().map(package).collect();
    assert!(packages.len() > 100, "only {} packages were found", packages.len());
    packages
}

fn deny() -> Table {
    read("deny.toml").parse().unwrap()
}

#[test]
fn every_licence_is_allowed() {
    let deny = deny();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    let packages = packages();
    let excepted = exceptions(&deny);
    let refused = packages.iter().filter(|(name, licence)| {
        let more = excepted.get(name.as_str()).into_iter().flatten();
        !satisfied(licence, &allowed.iter().chain(more).copied().collect::<Vec<_>>())
    });
    let refused = refused.map(|(name, licence)| format!("{name}: {licence:?}"));
    none(&refused.collect::<Vec<_>>(), "its licence cannot be met with those that deny.toml allows");
}

#[test]
fn banned_packages_stay_out() {
    let (deny, packages) = (deny(), packages());
    let bans = deny["bans"]["deny"].as_array().unwrap().iter();
    let bans = bans.filter(|ban| ban.get("wrappers").is_none());
    let bans = bans.map(|ban| (ban["crate"].as_str().unwrap(), ban["reason"].as_str().unwrap()));
    let found = bans.filter(|(name, _)| packages.contains_key(*name));
    let found =
        found.map(|(name, reason)| format!("{name}: {reason} (`cargo tree -i {name}` says who needs it)"));
    none(&found.collect::<Vec<_>>(), "deny.toml bans it from the binary");
}

/// Banned crates that some may bring, our own not among them: those who do are those that deny.toml names.
#[test]
fn what_some_may_bring_is_brought_by_them_alone() {
    let (deny, metadata) = (deny(), cargo_metadata(&["--filter-platform", "x86_64-unknown-linux-gnu"]));
    let mut differs = Vec::new();
    for ban in deny["bans"]["deny"].as_array().unwrap() {
        let Some(wrappers) = ban.get("wrappers") else { continue };
        let name = ban["crate"].as_str().unwrap();
        let named = wrappers.as_array().unwrap().iter().map(|wrapper| wrapper.as_str().unwrap()).collect();
        let found = parents(&metadata, name);
        assert!(!found.is_empty(), "{name} is brought by nobody: its ban needs no wrappers");
        let one_side = found.symmetric_difference(&named);
        differs.extend(one_side.map(|parent| format!("{parent}: {name}")));
    }
    none(&differs, "deny.toml names it and it does not bring the crate, or the other way round");
}

/// The packages that need `name` where it is not for tests alone.
fn parents<'a>(metadata: &'a Value, name: &str) -> BTreeSet<&'a str> {
    let packages = metadata["packages"].as_array().unwrap();
    let names: HashMap<&Value, &str> =
        packages.iter().map(|package| (&package["id"], package["name"].as_str().unwrap())).collect();
    let needs = |dependency: &Value| {
        let mut kinds = dependency["dep_kinds"].as_array().unwrap().iter();
        names[&dependency["pkg"]] == name && kinds.any(|kind| kind["kind"] != "dev")
    };
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter();
    let parents = nodes.filter(|node| node["deps"].as_array().unwrap().iter().any(needs));
    parents.map(|node| names[&node["id"]]).collect()
}

/// Licences that single packages may have besides.
fn exceptions(deny: &Table) -> BTreeMap<&str, Vec<&str>> {
    let listed = deny["licenses"].get("exceptions").and_then(|list| list.as_array()).into_iter().flatten();
    let each = listed.map(|exception| {
        let allow = exception["allow"].as_array().unwrap().iter().map(|licence| licence.as_str().unwrap());
        (exception["crate"].as_str().unwrap(), allow.collect())
    });
    each.collect()
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is the old way to write `OR`.
fn satisfied(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().collect::<Vec<_>>().into_iter().peekable();
    let satisfied = any_of(&mut words, allowed);
    assert!(words.next().is_none(), "not understood: {expression}");
    satisfied
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

fn any_of(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut is_met = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        is_met |= all_of(words, allowed);
    }
    is_met
}

fn all_of(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut is_met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        is_met &= one(words, allowed);
    }
    is_met
}

fn one(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let licence = words.next().unwrap_or_default();
    if licence == "(" {
        let is_met = any_of(words, allowed);
        assert_eq!(words.next(), Some(")"), "a parenthesis is open");
        return is_met;
    }
    if words.next_if_eq(&"WITH").is_some() {
        let exception = words.next().unwrap_or_default();
        // An exception only permits more: the plain licence is enough.
        return allowed.contains(&licence)
            || allowed.contains(&format!("{licence} WITH {exception}").as_str());
    }
    allowed.contains(&licence)
}

#[test]
fn expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "A WITH E"];
    for good in [
        "MIT",
        "GPL OR MIT",
        "GPL/MIT",
        "MIT AND Apache-2.0",
        "(GPL OR MIT) AND MIT",
        "A WITH E",
        "GPL AND X OR MIT",
    ] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["GPL", "MIT AND GPL", "A", "(MIT OR GPL) AND GPL", "A WITH F", ""] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
