//! What things may be called, and where a provider may be named.

use super::{Source, files, none, product};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "core", "xtask", "misc"];

/// Parts of the names of registered providers. Not `openai`, which is also the name of the unified format.
const PROVIDERS: &[&str] = &["anthropic", "bedrock", "cohere", "ai21", "vertex", "palm"];
/// A whole name only: the word `databricks` is everywhere.
const WHOLE_NAMES: &[&str] = &["databricks-model-serving", "databricks_model_serving"];

/// Crates that do not know which providers there are.
const UNAWARE: &[&str] = &["wire", "egress", "journal", "policy", "store", "tables", "gateway", "control"];

#[test]
fn names_say_something() {
    let mut empty: Vec<String> = files()
        .into_iter()
        .filter(|path| {
            let mut parts = path.split('/').map(|part| part.split('.').next().unwrap_or_default());
            parts.any(|part| EMPTY_NAMES.contains(&part))
        })
        .collect();
    for source in product() {
        let words: Vec<(usize, &str)> = source.scanned.words().collect();
        let modules = words.windows(2).filter(|pair| pair[0].1 == "mod" && EMPTY_NAMES.contains(&pair[1].1));
        empty.extend(modules.map(|pair| format!("{}:{}: mod {}", source.path, pair[1].0, pair[1].1)));
    }
    none(&empty, "a name such as `utils` attracts everything: name it after what is inside");
}

#[test]
fn the_simulator_is_for_the_demo() {
    let product = product();
    let others =
        product.iter().filter(|source| source.is_in(&["tollgate"]) && !source.path.contains("/src/demo/"));
    let named = others.flat_map(|source| {
        let words = source.scanned.words().filter(|(_, word)| word.eq_ignore_ascii_case("simulator"));
        words.map(|(line, _)| format!("{}:{line}", source.path))
    });
    none(&named.collect::<Vec<_>>(), "the simulator has no part in serving: only `demo` and tests start it");
}

#[test]
fn providers_are_named_in_their_folders_only() {
    let violations: Vec<String> = product().iter().flat_map(violations).collect();
    none(
        &violations,
        "a provider is named in crates/providers/src/<its folder>/ and in ALL only: elsewhere it would be a \
         special case that the next provider needs too",
    );
}

/// Where the paths of clients are written down: which vendor's format a path is of is a fact of the wire.
const CLIENT_PATHS: &[&str] =
    &["crates/gateway/src/surface/", "crates/control/src/openapi/", "crates/control/src/endpoints/models.rs"];

/// Whether a string is the path of a request, or its end as a list of formats has it: `anthropic/v1/messages`.
fn is_request_path(text: &str) -> bool {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/-_.{}".contains(c);
    text.contains('/') && text.chars().all(is_path)
}

fn violations(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    let unaware = source.is_in(UNAWARE) || (source.is_in(&["tollgate"]) && !path.contains("/src/demo/"));
    let registry = source.is_in(&["providers"]) && path != "crates/providers/src/lib.rs";
    if !unaware && !registry {
        return Vec::new();
    }
    // The folder, or the file of a provider that needs no folder.
    let own = path.split('/').nth(3).unwrap_or_default();
    let is_foreign = |name: &str| !(registry && own.contains(name));
    // A cloud that serves other makers' models names them in its addresses and bodies: a wire fact of its own.
    let in_a_folder = registry && path.split('/').count() > 4;
    let strings = source.scanned.strings.iter().map(|(line, text)| (*line, text.as_str()));
    let strings = strings.filter(|_| !in_a_folder);
    let has_client_paths = CLIENT_PATHS.iter().any(|beginning| path.starts_with(beginning));
    let strings = strings.filter(|(_, text)| !(has_client_paths && is_request_path(text)));
    let named = source.scanned.words().chain(strings).filter(|(_, word)| {
        let word = word.to_lowercase();
        PROVIDERS.iter().any(|name| is_foreign(name) && names(&word, name))
            || WHOLE_NAMES.iter().any(|name| is_foreign("databricks") && word.contains(name))
    });
    named.map(|(line, word)| format!("{path}:{line}: {word:?}")).collect()
}

#[test]
fn a_named_provider_is_found() {
    let found = |path: &str, text: &str| {
        violations(&Source { path: path.to_owned(), scanned: super::scan::Scanned::new(text) }).len()
    };
    let text = "struct AnthropicConfig; // palm\nlet a = \"amazon-bedrock\"; let b = \"incoherent\";";
    for path in ["crates/gateway/src/a.rs", "crates/providers/src/a.rs", "crates/tollgate/src/config/mod.rs"]
    {
        assert_eq!(found(path, text), 2, "{path}");
    }
    let anothers = "struct PalmConfig; // anthropic\nlet a = \"publishers/palm/models\";";
    assert_eq!(
        found("crates/providers/src/anthropic/mod.rs", anothers),
        1,
        "another's name as a word of the code"
    );
    assert_eq!(found("crates/policy/src/a.rs", "\"databricks-model-serving\" \"databricks\""), 1);
    for path in
        ["crates/providers/src/lib.rs", "crates/simulator/src/a.rs", "crates/tollgate/src/demo/seed.rs"]
    {
        assert_eq!(found(path, text), 0, "{path}");
    }
}

#[test]
fn a_client_s_path_may_name_a_vendor_and_nothing_else_there_may() {
    let found = |path: &str, text: &str| {
        violations(&Source { path: path.to_owned(), scanned: super::scan::Scanned::new(text) }).len()
    };
    let path = "let a = \"/ai-gateway/anthropic/v1/messages\"; let b = \"anthropic/v1/messages\";";
    assert_eq!(found("crates/gateway/src/surface/messages.rs", path), 0);
    assert_eq!(found("crates/gateway/src/dialect/messages.rs", path), 2);
    for other in ["let a = \"anthropic\";", "let a = \"see /anthropic/v1 there\";", "struct Anthropic;"] {
        assert_eq!(found("crates/gateway/src/surface/messages.rs", other), 1, "{other}");
    }
}

/// Whether `word` holds the name, and not just a word that begins like it.
fn names(word: &str, name: &str) -> bool {
    let mut found = word.match_indices(name);
    found.any(|(at, _)| !["nt", "nce"].iter().any(|ending| word[at + name.len()..].starts_with(ending)))
}
