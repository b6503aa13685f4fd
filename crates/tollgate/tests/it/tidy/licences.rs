//! What the binary is made of: licences that we can meet, and no package that is banned in deny.toml. The
//! same is checked by cargo-deny, which not every machine has.

use std::collections::BTreeMap;

use toml::Table;

use super::{none, read, run};

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
    let refused = packages.iter().filter(|(_, licence)| !satisfied(licence, &allowed));
    let refused = refused.map(|(name, licence)| format!("{name}: {licence:?}"));
    none(&refused.collect::<Vec<_>>(), "its licence cannot be met with those that deny.toml allows");
}

#[test]
fn banned_packages_stay_out() {
    let (deny, packages) = (deny(), packages());
    let bans = deny["bans"]["deny"].as_array().unwrap().iter();
    let bans = bans.map(|ban| (ban["crate"].as_str().unwrap(), ban["reason"].as_str().unwrap()));
    let found = bans.filter(|(name, _)| packages.contains_key(*name));
    let found =
        found.map(|(name, reason)| format!("{name}: {reason} (`cargo tree -i {name}` says who needs it)"));
    none(&found.collect::<Vec<_>>(), "deny.toml bans it from the binary");
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
